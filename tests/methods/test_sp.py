"""Similarity-preserving distillation."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import MethodContext
from understudy.methods.sp import SP, SPConfig, sp_loss
from understudy.models.base import Outputs


def reference(student, teacher, row_norm=2):
    """The definition in numpy, entry by entry."""
    images = len(student)
    matrices = []
    for maps in (student, teacher):
        gram = np.array([[(maps[i] * maps[j]).sum() for j in range(images)] for i in range(images)])
        matrices.append(gram / np.linalg.norm(gram, ord=row_norm, axis=1, keepdims=True))
    return ((matrices[0] - matrices[1]) ** 2).sum() / images**2


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_agrees_with_the_definition_whatever_the_shapes():
    student, teacher = random_map(5, 3, 4, 4), random_map(5, 6, 2, 3, seed=1)
    arrays = student.double().numpy(), teacher.double().numpy()
    loss = sp_loss(student, teacher).item()
    assert loss == pytest.approx(reference(*arrays), rel=1e-4)
    assert loss != pytest.approx(
        reference(*arrays, row_norm=1), rel=0.1
    )  # L1 rows are another loss


def test_scale_and_order_of_channels_do_not_count():
    student, teacher = random_map(4, 6, 4, 4), random_map(4, 6, 4, 4, seed=1)
    loss = sp_loss(student, teacher)
    torch.testing.assert_close(sp_loss(0.01 * student, 1e4 * teacher), loss)
    torch.testing.assert_close(sp_loss(student.flip(1), teacher.flip(2)), loss)
    assert sp_loss(2 * teacher.flip(1), teacher).item() == pytest.approx(0, abs=1e-10)


def test_one_image_has_no_relations():
    student = random_map(1, 3, 4, 4).requires_grad_()
    loss = sp_loss(student, random_map(1, 6, 2, 2, seed=1))
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().max() < 1e-6


def test_dead_maps_have_finite_gradients():
    student = random_map(3, 3, 4, 4)
    student[0] = 0
    for maps in (student, torch.zeros(3, 3, 4, 4)):
        maps = maps.clone().requires_grad_()
        loss = sp_loss(maps, random_map(3, 3, 4, 4, seed=1))
        loss.backward()
        assert loss.isfinite()
        assert maps.grad.abs().max() < 100


def test_half_precision_maps_are_compared_in_full():
    student, teacher = random_map(3, 3, 4, 4).bfloat16(), random_map(3, 3, 4, 4, seed=1).bfloat16()
    torch.testing.assert_close(sp_loss(student, teacher), sp_loss(student.float(), teacher.float()))


def test_the_method_compares_the_last_maps_unless_told():
    student = Outputs(torch.zeros(3, 10), tuple(random_map(3, 2, 4, 4, seed=i) for i in range(2)))
    teacher = Outputs(
        torch.zeros(3, 10), tuple(random_map(3, 5, 2, 2, seed=i + 5) for i in range(3))
    )
    context = MethodContext(10, torch.zeros(3), 5, 0.0, student, teacher)
    batch = Batch(torch.zeros(3), torch.zeros(3), torch.zeros(3))
    last, first = (sp_loss(student.features[i], teacher.features[i]) for i in (-1, -2))
    torch.testing.assert_close(
        SP(nn.Identity(), SPConfig("sp"), context).terms(student, teacher, batch),
        {"sp": 3000 * last},
    )
    config = SPConfig("sp", stages=(0, 1), stage_weights=(1.0, 2.0))
    both = SP(nn.Identity(), config, context).terms(student, teacher, batch)
    torch.testing.assert_close(both, {"sp": 3000 * (first + 2 * last)})


def test_a_network_without_maps_is_refused():
    without = Outputs(torch.zeros(3, 10))
    with pytest.raises(UnderstudyError, match=r"student\.stages"):
        SP(
            nn.Identity(),
            SPConfig("sp"),
            MethodContext(10, torch.zeros(3), 5, 0.0, without, without),
        )
