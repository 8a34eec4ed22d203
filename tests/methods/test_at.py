"""Attention transfer, and the pairing of stages that it shares with other methods."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.at import AT, ATConfig, at_loss
from understudy.methods.base import MethodContext
from understudy.methods.feature_pairs import l2_normalize, match_spatial, paired_stages
from understudy.models.base import Outputs


def reference(student, teacher):
    """The definition in numpy, place by place."""
    images, _, height, width = student.shape
    total = 0.0
    for i in range(images):
        a, b = ((maps[i] ** 2).mean(0).reshape(-1) for maps in (student, teacher))
        a, b = a / np.sqrt((a**2).sum()), b / np.sqrt((b**2).sum())
        total += ((a - b) ** 2).sum()
    return total / (images * height * width)


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("images", [1, 3])
def test_agrees_with_the_definition(images):
    student, teacher = random_map(images, 5, 4, 3), random_map(images, 7, 4, 3, seed=1)
    expected = reference(student.double().numpy(), teacher.double().numpy())
    assert at_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_the_larger_map_is_pooled():
    student, teacher = random_map(2, 3, 8, 8), random_map(2, 3, 4, 4, seed=1)
    pooled = student.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(at_loss(student, teacher), at_loss(pooled, teacher))
    torch.testing.assert_close(at_loss(teacher, student), at_loss(pooled, teacher))
    assert [m.shape[2:] for m in match_spatial(random_map(1, 2, 8, 3), random_map(1, 2, 4, 6))] == [
        (4, 3),
        (4, 3),
    ]


def test_channel_order_and_scale_do_not_count():
    student, teacher = random_map(2, 6, 4, 4), random_map(2, 6, 4, 4, seed=1)
    loss = at_loss(student, teacher)
    torch.testing.assert_close(
        at_loss(student.flip(1), teacher[:, torch.tensor([2, 0, 1, 5, 4, 3])]), loss
    )
    torch.testing.assert_close(at_loss(1e-3 * student, 1e4 * teacher), loss)
    assert at_loss(3 * teacher.flip(1), teacher).item() == pytest.approx(0, abs=1e-10)
    assert not torch.allclose(at_loss(student.flip(2), teacher), loss)  # places do count


def test_opposite_attention_is_the_largest_loss():
    left, right = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    left[..., 0, 0], right[..., 1, 1] = 3.0, 5.0
    assert at_loss(left, right).item() == 2 / 4


def test_a_dead_map_has_finite_gradients():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = at_loss(student, random_map(2, 3, 4, 4))
    loss.backward()
    assert loss.isfinite()
    assert torch.equal(student.grad, torch.zeros(2, 3, 4, 4))


def test_half_precision_maps_are_compared_in_full():
    student, teacher = random_map(2, 3, 4, 4).bfloat16(), random_map(2, 3, 4, 4, seed=1).bfloat16()
    loss = at_loss(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, at_loss(student.float(), teacher.float()))


def test_unit_vectors_keep_zero_and_its_gradient_small():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    scaled = l2_normalize(vectors)
    torch.testing.assert_close(scaled, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    scaled.sum().backward()
    assert vectors.grad.abs().max() <= 1


def maps(count):
    return tuple(random_map(2, 3, 4, 4, seed=i) for i in range(count))


def context(student, teacher):
    example = None if teacher is None else Outputs(torch.zeros(2, 10), maps(teacher))
    return MethodContext(
        10, torch.zeros(2), 5, 0.0, Outputs(torch.zeros(2, 10), maps(student)), example
    )


@pytest.mark.parametrize(
    ("student", "teacher", "stages", "indices"),
    [
        (4, 4, (), [-3, -2, -1]),  # all but the stem
        (4, 3, (), [-2, -1]),  # paired from the deep end
        (2, 5, (), [-1]),
        (1, 1, (), [-1]),  # nothing else to compare
        (4, 4, (0, 3), [-4, -1]),
        (4, 5, (1, -1), [-3, -1]),
    ],
)
def test_stages_pair_up_from_the_deep_end(student, teacher, stages, indices):
    pairs = paired_stages(ATConfig("at", stages=stages), context(student, teacher))
    assert pairs == tuple((index, 1.0) for index in indices)


@pytest.mark.parametrize(
    ("options", "sizes", "message"),
    [
        ({"stages": (4,)}, (4, 4), "no pair of maps at 4"),
        ({"stages": (-5,)}, (4, 4), "no pair of maps at -5"),
        ({"stages": (0,)}, (4, 3), "no pair of maps at 0"),
        ({"stages": (3, -1)}, (4, 4), "twice"),
        ({"stages": (1, 2), "stage_weights": (1.0,)}, (4, 4), "needs 2 numbers"),
        ({}, (4, 0), "teacher.stages"),
        ({}, (0, 4), "student.stages"),
        ({}, (4, None), "teacher.stages"),
    ],
)
def test_stages_that_do_not_fit_are_refused(options, sizes, message):
    with pytest.raises(UnderstudyError, match=message):
        AT(nn.Identity(), ATConfig("at", **options), context(*sizes))


def test_several_levels_by_weight():
    student = Outputs(torch.zeros(2, 10), maps(3))
    teacher = Outputs(torch.zeros(2, 10), tuple(m.flip(2) for m in maps(3)))
    batch = Batch(torch.zeros(2), torch.zeros(2), torch.zeros(2))
    levels = [at_loss(a, b) for a, b in zip(student.features, teacher.features, strict=True)]
    plain = AT(nn.Identity(), ATConfig("at"), context(3, 3))
    torch.testing.assert_close(
        plain.terms(student, teacher, batch), {"at": 1000 * (levels[1] + levels[2])}
    )
    config = ATConfig("at", weight=2.0, stages=(0, 2), stage_weights=(0.5, 3.0))
    weighted = AT(nn.Identity(), config, context(3, 3)).terms(student, teacher, batch)
    torch.testing.assert_close(weighted, {"at": 2 * (0.5 * levels[0] + 3 * levels[2])})
