"""A teacher answers and is not changed; several answer as one."""

import pytest
import torch
from tests.tiny_data import MEAN, STD, tiny_config, tiny_net, tiny_split
from torch.nn import functional as F

from understudy.data.batches import Batch, TrainBatches, plain_batches
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.models.base import Outputs
from understudy.teachers import EnsembleTeacher, FrozenTeacher, Teacher, renormalisation

CPU = torch.device("cpu")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Saying(Teacher):
    """A teacher that always says the same."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.prepared: list[int] = []

    def prepare(self, epoch: int, views: Views, progress: object = None) -> None:
        self.prepared.append(epoch)

    def outputs(self, batch: Batch) -> Outputs:
        return Outputs(self.logits)


def some_batch() -> Batch:
    return next(plain_batches(tiny_split(), tiny_config(), 12, CPU))


def random_logits(seed: int, num: int = 6) -> torch.Tensor:
    return 3 * torch.randn(num, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_network_given_in_training_mode_is_frozen_in_eval_mode() -> None:
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
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()), "batch norm did not move"
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_outputs_carry_no_gradient_but_can_stand_in_a_loss() -> None:
    answer = FrozenTeacher(tiny_net()).outputs(some_batch())
    assert answer.embedding is not None
    for tensor in (answer.logits, *answer.features, answer.embedding):
        assert not tensor.requires_grad and not tensor.is_inference()


def test_the_answer_is_the_networks_own_in_eval_mode() -> None:
    network, batch = tiny_net(), some_batch()
    answer = FrozenTeacher(network).outputs(batch)
    with torch.no_grad():
        assert torch.equal(answer.logits, network.eval()(batch.images))


def test_bf16_changes_the_arithmetic_and_not_the_type_of_the_logits() -> None:
    batch = some_batch()
    exact, rounded = (FrozenTeacher(tiny_net(), precision=p).outputs(batch).logits for p in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_renormalised_images_are_the_bytes_normalised_for_the_teacher() -> None:
    seen = []
    network = tiny_net()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.outputs = lambda images: (seen.append(images), Outputs(images.mean((2, 3))))[1]
    FrozenTeacher(network, renormalise=renormalisation(MEAN, STD, *IMAGENET, CPU)).outputs(some_batch())
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    expected = (tiny_split().images[:12].float() / 255 - mean) / std
    torch.testing.assert_close(seen[-1], expected, rtol=1e-5, atol=1e-5)


def test_the_same_normalisation_needs_no_work() -> None:
    assert renormalisation(MEAN, STD, list(MEAN), list(STD), CPU) is None


def test_a_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"teacher.mean has 1 channels, the images have 3"):
        renormalisation(MEAN, STD, (0.5,), (0.5,), CPU)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weights", [None, [3.0, 1.0, 0.0]])
def test_an_ensemble_says_the_mean_of_the_probabilities(temperature: float, weights: list[float] | None) -> None:
    said = [random_logits(seed) for seed in range(3)]
    answer = EnsembleTeacher([Saying(z) for z in said], temperature, weights).outputs(some_batch())
    shares = torch.tensor(weights or [1, 1, 1], dtype=torch.float64) / sum(weights or [1, 1, 1])
    mean = sum(share * (z / temperature).softmax(1) for share, z in zip(shares, said, strict=True))
    torch.testing.assert_close((answer.logits / temperature).softmax(1), mean, rtol=1e-6, atol=1e-7)
    assert answer.features == () and answer.embedding is None


def test_learning_from_the_ensemble_is_learning_from_all_of_its_members() -> None:
    temperature, said = 4.0, [random_logits(seed) for seed in range(3)]
    student = random_logits(9).requires_grad_()

    def gradient(*teachers: torch.Tensor) -> torch.Tensor:
        log_q = (student / temperature).log_softmax(1)
        terms = [F.kl_div(log_q, (z / temperature).softmax(1), reduction="batchmean") for z in teachers]
        return torch.autograd.grad(sum(terms) / len(terms), student)[0]

    ensemble = EnsembleTeacher([Saying(z) for z in said], temperature).outputs(some_batch()).logits
    torch.testing.assert_close(gradient(ensemble), gradient(*said), rtol=1e-5, atol=1e-8)


def test_an_ensemble_of_one_is_that_teacher() -> None:
    said = random_logits(0)
    answer = EnsembleTeacher([Saying(said)], 2.0).outputs(some_batch()).logits
    torch.testing.assert_close(answer.softmax(1), said.softmax(1))


def test_an_ensemble_prepares_its_members() -> None:
    members = [Saying(random_logits(seed)) for seed in range(2)]
    EnsembleTeacher(members, 1.0).prepare(3, Views())
    assert [m.prepared for m in members] == [[3], [3]]


def test_an_impossible_ensemble_is_refused() -> None:
    one = Saying(random_logits(0))
    with pytest.raises(UnderstudyError, match="at least one teacher"):
        EnsembleTeacher([], 1.0)
    for weights in ([1.0, 1.0], [-1.0], [0.0]):
        with pytest.raises(UnderstudyError, match="one weight of at least 0"):
            EnsembleTeacher([one], 1.0, weights)
