"""Neuron selectivity transfer."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods import nst
from understudy.methods.base import MethodContext
from understudy.methods.nst import NST, NSTConfig, nst_loss
from understudy.models.base import Outputs


def reference(student, teacher):
    """The definition in numpy: every pair of channels under the kernel."""
    total = 0.0
    for image_s, image_t in zip(student, teacher, strict=True):
        x, y = ([c.reshape(-1) / np.linalg.norm(c) for c in image] for image in (image_s, image_t))

        def mean_kernel(first, second):
            return np.mean([(a @ b) ** 2 for a in first for b in second])

        total += mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
    return total / len(student)


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Few places and many channels, and the reverse: the two ways of computing the kernel.
@pytest.mark.parametrize(
    ("student_channels", "teacher_channels", "size"), [(16, 24, 3), (3, 5, 4), (9, 9, 3), (1, 7, 2)]
)
def test_agrees_with_the_definition_on_both_ways(student_channels, teacher_channels, size):
    student, teacher = (
        random_map(2, student_channels, size, size),
        random_map(2, teacher_channels, size, size, seed=1),
    )
    expected = reference(student.double().numpy(), teacher.double().numpy())
    assert nst_loss(student, teacher).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("channels", [4, 20])
def test_order_and_scale_of_each_channel_do_not_count(channels):
    student, teacher = random_map(2, channels, 4, 4), random_map(2, channels, 4, 4, seed=1)
    scales = torch.logspace(-2, 3, channels)[:, None, None]
    torch.testing.assert_close(
        nst_loss(scales * student, teacher.flip(1)), nst_loss(student, teacher)
    )
    assert nst_loss(scales * teacher.flip(1), teacher).item() == pytest.approx(0, abs=1e-6)


def test_the_larger_map_is_pooled():
    student, teacher = random_map(2, 3, 8, 8), random_map(2, 5, 4, 4, seed=1)
    pooled = student.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(nst_loss(student, teacher), nst_loss(pooled, teacher))
    torch.testing.assert_close(nst_loss(teacher, student), nst_loss(pooled, teacher))


@pytest.mark.parametrize("channels", [4, 20])
def test_dead_channels_have_finite_gradients(channels):
    student = random_map(2, channels, 4, 4)
    student[:, 1:3] = 0
    student.requires_grad_()
    loss = nst_loss(student, random_map(2, channels, 4, 4, seed=1))
    loss.backward()
    assert loss.isfinite()
    assert torch.equal(student.grad[:, 1:3], torch.zeros(2, 2, 4, 4))
    assert nst_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)).item() == 0


def test_one_image_and_half_precision():
    student, teacher = random_map(1, 3, 4, 4).bfloat16(), random_map(1, 5, 4, 4, seed=1).bfloat16()
    loss = nst_loss(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, nst_loss(student.float(), teacher.float()))


def test_the_method_compares_the_last_maps_unless_told():
    student = Outputs(torch.zeros(3, 10), tuple(random_map(3, 2, 4, 4, seed=i) for i in range(2)))
    teacher = Outputs(
        torch.zeros(3, 10), tuple(random_map(3, 5, 2, 2, seed=i + 5) for i in range(3))
    )
    context = MethodContext(10, torch.zeros(3), 5, 0.0, student, teacher)
    batch = Batch(torch.zeros(3), torch.zeros(3), torch.zeros(3))
    last, first = (nst_loss(student.features[i], teacher.features[i]) for i in (-1, -2))
    torch.testing.assert_close(
        NST(nn.Identity(), NSTConfig("nst"), context).terms(student, teacher, batch),
        {"nst": 50 * last},
    )
    config = NSTConfig("nst", stages=(0, 1), stage_weights=(1.0, 2.0))
    both = NST(nn.Identity(), config, context).terms(student, teacher, batch)
    torch.testing.assert_close(both, {"nst": 50 * (first + 2 * last)})
    without = MethodContext(10, torch.zeros(3), 5, 0.0, student, Outputs(torch.zeros(2, 10)))
    with pytest.raises(UnderstudyError, match=r"teacher\.stages"):
        NST(nn.Identity(), NSTConfig("nst"), without)


@pytest.mark.parametrize(
    ("student_channels", "teacher_channels", "size", "by_places"),
    [(16, 16, 4, True), (16, 15, 4, False), (8, 32, 4, True), (3, 5, 4, False)],
)
def test_the_smaller_matrix_is_made(
    student_channels, teacher_channels, size, by_places, monkeypatch
):
    """Places by places up to as many as there are pairs of channels; the number is the same either
    way."""
    used = []
    for name in ("_second_moment", "_kernel"):
        function = getattr(nst, name)
        monkeypatch.setattr(
            nst,
            name,
            lambda *maps, name=name, function=function: used.append(name) or function(*maps),
        )
    nst_loss(
        random_map(2, student_channels, size, size),
        random_map(2, teacher_channels, size, size, seed=1),
    )
    assert set(used) == {"_second_moment" if by_places else "_kernel"}
