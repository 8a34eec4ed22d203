"""Correlation congruence."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import MethodContext
from understudy.methods.cc import CC, CCConfig, cc_loss
from understudy.models.base import Outputs


def reference(student, teacher, gamma, order):
    """The definition in numpy, pair by pair."""
    images = len(student)
    total = 0.0
    for i in range(images):
        for j in range(images):
            values = []
            for points in (student, teacher):
                cosine = (
                    points[i] @ points[j] / np.linalg.norm(points[i]) / np.linalg.norm(points[j])
                )
                series = sum(
                    (2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(order + 1)
                )
                values.append(math.exp(-2 * gamma) * series)
            total += (values[0] - values[1]) ** 2
    return total / images**2


def random_embedding(images, size, seed=0):
    return torch.randn(images, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (0.4, 1), (1.5, 3)])
def test_agrees_with_the_definition_whatever_the_sizes(gamma, order):
    student, teacher = random_embedding(6, 4), random_embedding(6, 9, seed=1)
    expected = reference(student.double().numpy(), teacher.double().numpy(), gamma, order)
    assert cc_loss(student, teacher, gamma, order).item() == pytest.approx(expected, rel=1e-4)


def test_a_high_order_is_the_gaussian_kernel_itself():
    student, teacher = random_embedding(5, 4), random_embedding(5, 9, seed=1)
    kernels = [
        torch.exp(-0.4 * torch.cdist(e, e) ** 2)
        for e in (nn.functional.normalize(student), nn.functional.normalize(teacher))
    ]
    torch.testing.assert_close(
        cc_loss(student, teacher, 0.4, 12), (kernels[0] - kernels[1]).square().mean()
    )


def test_scale_and_rotation_do_not_count():
    student, teacher = random_embedding(5, 4), random_embedding(5, 7, seed=1)
    loss = cc_loss(student, teacher, 0.4, 2)
    rotation = torch.linalg.qr(random_embedding(4, 4, seed=2)).Q
    torch.testing.assert_close(cc_loss(1e4 * student @ rotation, 0.01 * teacher, 0.4, 2), loss)
    assert cc_loss(3 * teacher, teacher, 0.4, 2).item() == pytest.approx(0, abs=1e-10)
    assert cc_loss(student[:1], teacher[:1], 0.4, 2).item() == pytest.approx(0, abs=1e-10)


def test_zero_embeddings_have_finite_gradients():
    student = random_embedding(4, 5)
    student[0] = 0
    student.requires_grad_()
    loss = cc_loss(student, random_embedding(4, 3, seed=1), 0.4, 2)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.abs().max() < 10


def test_half_precision_embeddings_are_compared_in_full():
    student, teacher = random_embedding(4, 5).bfloat16(), random_embedding(4, 3, seed=1).bfloat16()
    torch.testing.assert_close(
        cc_loss(student, teacher, 0.4, 2), cc_loss(student.float(), teacher.float(), 0.4, 2)
    )


def test_the_method_reads_embeddings():
    student = Outputs(torch.zeros(4, 10), embedding=random_embedding(4, 5))
    teacher = Outputs(torch.zeros(4, 10), embedding=random_embedding(4, 8, seed=1))
    context = MethodContext(10, torch.zeros(4), 5, 0.0, student, teacher)
    terms = CC(nn.Identity(), CCConfig("cc"), context).terms(
        student, teacher, Batch(torch.zeros(4), torch.zeros(4), torch.zeros(4))
    )
    torch.testing.assert_close(
        terms, {"cc": 100 * cc_loss(student.embedding, teacher.embedding, 0.4, 2)}
    )
    without = MethodContext(10, torch.zeros(4), 5, 0.0, student, Outputs(torch.zeros(2, 10)))
    with pytest.raises(UnderstudyError, match=r"teacher\.stages"):
        CC(nn.Identity(), CCConfig("cc"), without)


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"order": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        CCConfig("cc", **options)
