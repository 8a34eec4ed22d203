"""Soft labels on standardised logits."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.methods.base import MethodContext
from understudy.methods.divergence import kd_loss
from understudy.methods.lskd import LSKD, LSKDConfig, lskd_loss, standardise
from understudy.models.base import Outputs


def reference(student, teacher, temperature):
    """The definition in numpy, image by image."""
    total = 0.0
    for row_s, row_t in zip(student, teacher, strict=True):
        p = []
        for row in (row_s, row_t):
            scores = np.exp((row - row.mean()) / (1e-7 + row.std(ddof=1)) / temperature)
            p.append(scores / scores.sum())
        total += (p[1] * np.log(p[1] / p[0])).sum()
    return temperature**2 * total / len(student)


def random_logits(images, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, images, classes, generator=generator)


@pytest.mark.parametrize("shape", [(5, 10), (1, 2), (3, 1000)])
def test_agrees_with_the_definition(shape):
    student, teacher = random_logits(*shape)
    expected = reference(student.double().numpy(), teacher.double().numpy(), 2.0)
    assert lskd_loss(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_scale_and_shift_of_the_logits_do_not_count():
    student, teacher = random_logits(4, 10)
    torch.testing.assert_close(
        lskd_loss(7 * student + 3, 0.2 * teacher - 5, 2.0), lskd_loss(student, teacher, 2.0)
    )
    assert lskd_loss(4 * teacher + 1, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert kd_loss(4 * teacher + 1, teacher, 2.0) > 0.1  # unlike plain kd


def test_the_deviation_is_unbiased():
    logits = random_logits(3, 4)[0]
    torch.testing.assert_close(standardise(logits).var(1, unbiased=True), torch.ones(3))
    torch.testing.assert_close(
        standardise(torch.tensor([[1.0, -1.0]])), torch.tensor([[0.5**0.5, -(0.5**0.5)]])
    )


def test_equal_logits_standardise_to_zeros():
    assert torch.equal(standardise(torch.full((2, 3), 4.2)), torch.zeros(2, 3))


@pytest.mark.parametrize("value", [0.0, 0.1, 3.3, 1e4])
def test_equal_logits_give_zero_not_nan(value):
    equal = torch.full((3, 10), value, requires_grad=True)
    loss = lskd_loss(equal, torch.full((3, 10), -value), 2.0)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(equal.grad, torch.zeros(3, 10))


def test_a_student_that_starts_at_equal_logits_gets_no_huge_gradient():
    student = torch.full((3, 10), 0.1, requires_grad=True)
    loss = lskd_loss(student, random_logits(3, 10)[1], 2.0)
    loss.backward()
    assert loss > 0.01
    assert student.grad.abs().max() < 10


def test_extreme_logits_stay_finite():
    student, teacher = 1e4 * random_logits(4, 10).sign()
    student.requires_grad_()
    loss = lskd_loss(student, teacher, 2.0)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_the_method_weights_the_term_and_keeps_ce_on_raw_logits():
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 1, 2, 3])
    context = MethodContext(10, labels, 5, 0.0, Outputs(student), Outputs(teacher))
    method = LSKD(nn.Identity(), LSKDConfig("lskd"), context)
    losses = method.losses(
        Outputs(student), Outputs(teacher), Batch(torch.zeros(4), labels, labels)
    )
    assert set(losses) == {"ce", "lskd"}
    torch.testing.assert_close(losses["lskd"], 9 * lskd_loss(student, teacher, 2.0))
    torch.testing.assert_close(losses["ce"], 0.1 * nn.functional.cross_entropy(student, labels))
