"""Hints: the regressor reaches the teacher's shape from any other, and the term is a plain mean
squared error."""

import pytest
import torch
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods.feature_pairs import require_norm_samples
from understudy.methods.fitnets import Regressor, fitnets_loss


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_is_the_mean_squared_error():
    regressed, teacher = random_map(2, 3, 4, 4), random_map(2, 3, 4, 4, seed=1)
    expected = ((regressed.double() - teacher.double()) ** 2).sum() / (2 * 3 * 4 * 4)
    torch.testing.assert_close(fitnets_loss(regressed, teacher).double(), expected)
    assert fitnets_loss(teacher, teacher) == 0


def test_the_larger_map_is_averaged_down():
    regressed, teacher = random_map(2, 3, 4, 4), random_map(2, 3, 8, 8, seed=1)
    cells = teacher.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(fitnets_loss(regressed, teacher), fitnets_loss(regressed, cells))


@pytest.mark.parametrize(
    ("student", "teacher", "layer", "reached"),
    [
        ((4, 4), (4, 4), "Conv2d", (4, 4)),
        ((8, 8), (4, 4), "Conv2d", (4, 4)),
        ((9, 12), (3, 3), "Conv2d", (3, 3)),
        ((8, 4), (2, 4), "Conv2d", (2, 4)),
        ((5, 5), (1, 1), "Conv2d", (1, 1)),
        ((4, 4), (8, 8), "ConvTranspose2d", (8, 8)),
        ((2, 3), (8, 9), "ConvTranspose2d", (8, 9)),
        (
            (7, 7),
            (4, 4),
            "Conv2d",
            (4, 4),
        ),  # not related: the larger is averaged down, here the student's
        ((4, 6), (7, 4), "Conv2d", (4, 4)),  # each axis by itself
    ],
)
def test_the_regressor_reaches_the_teachers_shape(student, teacher, layer, reached):
    regressor = Regressor(random_map(2, 3, *student), random_map(2, 5, *teacher))
    assert type(regressor.conv).__name__ == layer
    out = regressor(random_map(2, 3, *student))
    assert out.shape == (2, 5, *reached)
    assert out.min() >= 0  # a ReLU, as the teacher's maps have passed one
    assert torch.isfinite(fitnets_loss(out, random_map(2, 5, *teacher)))


def test_only_the_chosen_stages_are_trained():
    method, teacher = make_method("fitnets", ce_weight=0.0, stages=(0,))
    batch = make_batch(4, 5)
    losses, _ = method(batch, ask(teacher, batch))
    losses["fitnets"].backward()
    assert method.student.stages[0][0].weight.grad.abs().sum() > 0
    assert method.student.stages[1][0].weight.grad is None
    assert method.regressors[0].conv.weight.shape[:2] == (
        6,
        4,
    )  # teacher's channels, student's channels


def test_several_stages_add_up_by_weight():
    torch.manual_seed(0)
    one, teacher = make_method("fitnets", weight=1.0, stages=(-1,))
    both, _ = make_method("fitnets", weight=2.0, stages=(-1, -2), stage_weights=(3.0, 0.0))
    both.regressors[0].load_state_dict(one.regressors[0].state_dict())
    both.student.load_state_dict(one.student.state_dict())
    batch = make_batch(4, 5)
    answer = ask(teacher, batch)
    torch.testing.assert_close(
        both(batch, answer)[0]["fitnets"], 6 * one(batch, answer)[0]["fitnets"]
    )


def test_one_value_per_channel_is_refused():
    with pytest.raises(UnderstudyError, match="batch_size"):
        require_norm_samples("fitnets", random_map(1, 3, 1, 1))
    require_norm_samples("fitnets", random_map(2, 3, 1, 1))
    require_norm_samples("fitnets", random_map(1, 3, 1, 2))
    regressor = Regressor(random_map(1, 3, 2, 2), random_map(1, 5, 1, 1))
    with pytest.raises(UnderstudyError, match="1x1 map"):
        regressor(random_map(1, 3, 2, 2))
    assert regressor.eval()(random_map(1, 3, 2, 2)).isfinite().all()


def test_a_network_without_maps_is_refused(monkeypatch):
    monkeypatch.setattr(
        SmallNet,
        "outputs",
        lambda self, images, old=SmallNet.outputs: old(self, images)._replace(features=()),
    )
    with pytest.raises(UnderstudyError, match=r"student\.stages"):
        make_method("fitnets")


@pytest.mark.parametrize(
    ("student", "teacher", "kernel", "stride", "padding"),
    [
        ((4, 4), (4, 4), (1, 1), (1, 1), (0, 0)),
        ((8, 8), (4, 4), (3, 3), (2, 2), (1, 1)),
        ((8, 4), (2, 4), (5, 1), (4, 1), (1, 0)),
        ((4, 8), (4, 2), (1, 5), (1, 4), (0, 1)),
        ((4, 4), (8, 8), (4, 4), (2, 2), (1, 1)),
        ((4, 2), (4, 6), (1, 5), (1, 3), (0, 1)),
        ((7, 7), (4, 4), (1, 1), (1, 1), (0, 0)),
        ((4, 4), (8, 6), (1, 1), (1, 1), (0, 0)),  # a multiple on one side is not enough
        ((4, 4), (6, 8), (1, 1), (1, 1), (0, 0)),
        ((8, 6), (4, 4), (1, 1), (1, 1), (0, 0)),
        ((6, 8), (4, 4), (1, 1), (1, 1), (0, 0)),
    ],
)
def test_the_convolution_covers_a_stride_and_the_places_around_it(
    student, teacher, kernel, stride, padding
):
    regressor = Regressor(random_map(2, 3, *student), random_map(2, 5, *teacher))
    conv = regressor.conv
    assert (conv.kernel_size, conv.stride, conv.padding) == (kernel, stride, padding)
    assert (conv.in_channels, conv.out_channels, regressor.bn.num_features) == (3, 5, 5)


def test_a_map_of_an_unrelated_size_is_averaged_first():
    regressor = Regressor(random_map(2, 3, 6, 6), random_map(2, 5, 4, 9)).eval()
    assert regressor.size == (4, 6)
    maps = random_map(2, 3, 6, 6)
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, (4, 6))
    torch.testing.assert_close(regressor(maps), regressor.bn(regressor.conv(pooled)).relu())


def test_the_term_is_the_weighted_sum_over_stages():
    method, teacher = make_method("fitnets", weight=3.0, stages=(0, 2), stage_weights=(0.5, 2.0))
    batch = make_batch(8, 5)
    answer, own = ask(teacher, batch), method.eval().student.outputs(batch.images)
    shallow, deep = (
        fitnets_loss(regressor(own.features[stage]), answer.features[stage])
        for regressor, stage in zip(method.regressors, (0, 2), strict=True)
    )
    torch.testing.assert_close(method(batch, answer)[0]["fitnets"], 3 * (0.5 * shallow + 2 * deep))
