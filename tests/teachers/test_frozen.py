"""A teacher answers and is not changed."""

import pytest
import torch
from tests.worlds import MEAN, STD, tiny_config, tiny_net, tiny_split
from torch.nn import functional as F

from understudy.data.loader import Batch, TrainBatches, plain_batches
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.models.base import Outputs
from understudy.models.ensemble import Ensemble
from understudy.teachers.frozen import FrozenTeacher, renormalisation

CPU = torch.device("cpu")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def some_batch() -> Batch:
    return next(plain_batches(tiny_split(), tiny_config(), 12, CPU))


def test_network_given_in_training_mode_is_frozen_in_eval_mode() -> None:
    network = tiny_net().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    teacher = FrozenTeacher(network)
    student = tiny_net(seed=1).train()
    for batch in TrainBatches(tiny_split(), tiny_config(), 8, 0, CPU).epoch(
        0, Views(top=torch.ones(24).long(), left=torch.ones(24).long())
    ):
        answer = teacher.outputs(batch)
        F.mse_loss(student(batch.images), answer.logits).backward()
    assert not any(module.training for module in network.modules())
    assert all(
        torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()
    ), "batch norm did not move"
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_outputs_have_no_gradient_but_can_be_used_in_a_loss() -> None:
    answer = FrozenTeacher(tiny_net()).outputs(some_batch())
    assert answer.embedding is not None
    for tensor in (answer.logits, *answer.features, answer.embedding):
        assert not tensor.requires_grad and not tensor.is_inference()


def test_outputs_are_those_of_the_network_in_eval_mode() -> None:
    network, batch = tiny_net(), some_batch()
    answer = FrozenTeacher(network).outputs(batch)
    with torch.no_grad():
        assert torch.equal(answer.logits, network.eval()(batch.images))


def test_bf16_changes_the_arithmetic_but_logits_stay_fp32() -> None:
    batch = some_batch()
    exact, rounded = (
        FrozenTeacher(tiny_net(), precision=p).outputs(batch).logits for p in ("fp32", "bf16")
    )
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_renormalised_images_equal_bytes_normalised_for_the_teacher() -> None:
    seen = []
    network = tiny_net()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.outputs = lambda images: (seen.append(images), Outputs(images.mean((2, 3))))[1]
    FrozenTeacher(network, renormalise=renormalisation(MEAN, STD, *IMAGENET, CPU)).outputs(
        some_batch()
    )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    expected = (tiny_split().images[:12].float() / 255 - mean) / std
    torch.testing.assert_close(seen[-1], expected, rtol=1e-5, atol=1e-5)


def test_equal_normalisation_needs_no_renormalisation() -> None:
    assert renormalisation(MEAN, STD, list(MEAN), list(STD), CPU) is None


def test_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"teacher.mean has 1 channels, the images have 3"):
        renormalisation(MEAN, STD, (0.5,), (0.5,), CPU)


def test_default_is_fp32_and_no_renormalisation() -> None:
    teacher = FrozenTeacher(tiny_net())
    assert (teacher.renormalise, teacher.precision, teacher.description) == (None, "fp32", "")
    assert teacher.prepare(0, Views()) is None, "a network has nothing to get ready"


def test_features_embedding_and_members_pass_under_autocast() -> None:
    network, batch = Ensemble([tiny_net(), tiny_net(1)], [1, 3]), some_batch()
    answer = FrozenTeacher(network, precision="bf16").outputs(batch)
    assert len(answer.members) == 2 and all(
        one.logits.dtype == torch.float32 for one in answer.members
    )
    assert all(
        one.features[0].dtype == torch.bfloat16 and one.embedding is not None
        for one in answer.members
    )
    single = FrozenTeacher(tiny_net()).outputs(batch)
    with torch.no_grad():
        expected = tiny_net().eval().outputs(batch.images)
    assert torch.equal(single.features[0], expected.features[0]) and torch.equal(
        single.embedding, expected.embedding
    )


def test_scale_and_shift_convert_one_normalisation_to_the_other() -> None:
    scale, shift = renormalisation((0.5, 0.4), (0.25, 0.2), (0.1, 0.4), (0.5, 0.8), CPU)
    assert (
        scale.shape == shift.shape == (1, 2, 1, 1) and scale.dtype == shift.dtype == torch.float32
    )
    torch.testing.assert_close(scale.flatten(), torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(shift.flatten(), torch.tensor([0.8, 0.0]))


@pytest.mark.parametrize(
    ("own_mean", "own_std"), [((0.5, 0.4, 0.31), STD), (MEAN, (0.25, 0.2, 0.31))]
)
def test_mean_or_deviation_alone_needs_renormalisation(
    own_mean: tuple[float, ...], own_std: tuple[float, ...]
) -> None:
    assert renormalisation(MEAN, STD, own_mean, own_std, CPU) is not None
