"""Variational information distillation: the likelihood, and variances that really train."""

import math

import pytest
import torch
import torch.nn.functional as F
from tests.methods.small_pair import ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods.vid import Predictor, vid_loss


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_is_the_normal_likelihood_without_its_constant():
    mean, teacher, rho = (
        random_map(2, 3, 4, 4),
        random_map(2, 3, 4, 4, seed=1),
        random_map(3, seed=2),
    )
    std = (F.softplus(rho) + 1e-5).sqrt().view(1, 3, 1, 1).expand_as(mean)
    expected = -torch.distributions.Normal(mean, std).log_prob(teacher).mean() - 0.5 * math.log(
        2 * math.pi
    )
    torch.testing.assert_close(vid_loss(mean, teacher, rho), expected)


@pytest.mark.parametrize("variance", [5.0, 0.01, 1000.0])
def test_the_variance_starts_where_it_should(variance):
    rho = Predictor(2, 3, variance).rho.detach().double()
    torch.testing.assert_close(
        F.softplus(rho) + 1e-5, torch.full((3,), variance, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_a_perfect_prediction_leaves_half_the_log_variance():
    teacher = random_map(2, 3, 4, 4)
    assert vid_loss(teacher, teacher, Predictor(2, 3, 5.0).rho).item() == pytest.approx(
        0.5 * math.log(5), rel=1e-6
    )
    assert vid_loss(teacher, teacher, Predictor(2, 3, 0.1).rho).item() == pytest.approx(
        0.5 * math.log(0.1), rel=1e-5
    )


def test_the_best_variance_is_the_mean_squared_error_of_the_channel():
    mean, teacher = torch.zeros(8, 2, 4, 4), random_map(8, 2, 4, 4)
    teacher[:, 1] *= 3  # a channel that is harder to predict
    errors = teacher.square().mean((0, 2, 3))
    best = torch.log(torch.expm1(errors - 1e-5))
    slopes = []
    for rho in (best - 0.1, best, best + 0.1):
        rho.requires_grad_()
        vid_loss(mean, teacher, rho).backward()
        slopes.append(rho.grad)
    assert (slopes[0] < -1e-5).all() and (slopes[2] > 1e-5).all()
    torch.testing.assert_close(slopes[1], torch.zeros(2), atol=1e-6, rtol=0)


def test_the_larger_map_is_averaged_down():
    mean, teacher, rho = random_map(2, 3, 4, 4), random_map(2, 3, 8, 8, seed=1), torch.zeros(3)
    cells = teacher.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(vid_loss(mean, teacher, rho), vid_loss(mean, cells, rho))


def test_the_variances_of_every_level_are_trained():
    method, teacher = make_method("vid")
    batch = make_batch(8, 5)
    losses, _ = method(batch, ask(teacher, batch))
    losses["vid"].backward()
    assert len(method.predictors) == 2  # three stages, less the first
    for predictor in method.predictors:
        assert (predictor.rho.grad > 0).all()  # 5 is above what random maps of this size call for
    assert "predictors.0.rho" in method.state_dict()


def test_a_variance_below_the_floor_is_refused():
    with pytest.raises(UnderstudyError, match="initial_variance"):
        make_method("vid", initial_variance=0.0)


def test_the_term_is_the_weighted_likelihood_stage_by_stage():
    method, teacher = make_method(
        "vid", weight=3.0, stages=(-2, -1), stage_weights=(0.5, 2.0), initial_variance=0.7
    )
    batch = make_batch(8, 5)
    answer, own = ask(teacher, batch), method.eval().student.outputs(batch.images)
    shallow, deep = (
        vid_loss(predictor.mean(own.features[stage]), answer.features[stage], predictor.rho)
        for predictor, stage in zip(method.predictors, (-2, -1), strict=True)
    )
    torch.testing.assert_close(method(batch, answer)[0]["vid"], 3 * (0.5 * shallow + 2 * deep))
    torch.testing.assert_close(F.softplus(method.predictors[0].rho) + 1e-5, torch.full((10,), 0.7))


def test_the_mean_is_three_convolutions_of_one_place():
    mean = Predictor(3, 5, 5.0).mean
    layers = [m for m in mean if hasattr(m, "kernel_size")]
    assert [(m.in_channels, m.out_channels, m.kernel_size, m.bias) for m in layers] == [
        (3, 5, (1, 1), None),
        (5, 5, (1, 1), None),
        (5, 5, (1, 1), None),
    ]
    assert [type(m).__name__ for m in mean] == ["Conv2d", "ReLU", "Conv2d", "ReLU", "Conv2d"]


def test_the_variance_is_of_the_channel_and_never_quite_zero():
    mean, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    rho = torch.tensor([-1e3, 0.0])  # the first has nothing but the floor
    expected = (
        0.5
        * ((1 / 1e-5 + math.log(1e-5)) + (4 / (math.log(2) + 1e-5) + math.log(math.log(2) + 1e-5)))
        / 2
    )
    assert vid_loss(mean, teacher, rho).item() == pytest.approx(expected, rel=1e-5)
