"""Decoupled soft labels."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.methods.base import MethodContext
from understudy.methods.divergence import kd_loss
from understudy.methods.dkd import DKD, DKDConfig, dkd_loss
from understudy.models.base import Outputs


def reference(student, teacher, labels, temperature, alpha, beta):
    """The definition in numpy, image by image."""
    total = 0.0
    for row_s, row_t, label in zip(student, teacher, labels, strict=True):
        p_s, p_t = (
            np.exp(row / temperature) / np.exp(row / temperature).sum() for row in (row_s, row_t)
        )
        binary_s, binary_t = (np.array([p[label], 1 - p[label]]) for p in (p_s, p_t))
        others_s, others_t = (np.delete(p, label) / (1 - p[label]) for p in (p_s, p_t))
        total += alpha * (binary_t * np.log(binary_t / binary_s)).sum()
        total += beta * (others_t * np.log(others_t / others_s)).sum()
    return temperature**2 * total / len(labels)


def random_case(images, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    student, teacher = 3 * torch.randn(2, images, classes, generator=generator)
    return student, teacher, labels


@pytest.mark.parametrize("shape", [(6, 10), (1, 3), (4, 2), (3, 1000)])
def test_agrees_with_the_definition(shape):
    student, teacher, labels = random_case(*shape)
    expected = reference(
        student.double().numpy(), teacher.double().numpy(), labels.numpy(), 4.0, 1.0, 8.0
    )
    assert dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0).item() == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )


def test_kd_is_dkd_weighted_by_the_teachers_doubt():
    student, teacher, labels = random_case(6, 10)
    doubt = 1 - (teacher / 4).softmax(1).gather(1, labels[:, None]).squeeze(1)
    for i in range(6):
        row = slice(i, i + 1)
        decoupled = dkd_loss(student[row], teacher[row], labels[row], 4.0, 1.0, doubt[i].item())
        torch.testing.assert_close(
            decoupled, kd_loss(student[row], teacher[row], 4.0), rtol=1e-4, atol=1e-6
        )


def test_zero_with_zero_gradient_when_both_agree():
    _, teacher, labels = random_case(4, 10)
    student = (teacher + 2).requires_grad_()
    loss = dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(student.grad, torch.zeros(4, 10), rtol=0, atol=1e-5)


def test_two_classes_leave_nothing_to_rank():
    student, teacher, labels = random_case(5, 2)
    student.requires_grad_()
    loss = dkd_loss(student, teacher, labels, 4.0, 0.0, 8.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(student.grad, torch.zeros(5, 2))
    torch.testing.assert_close(
        dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0), kd_loss(student, teacher, 4.0)
    )


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("margin", [100.0, 1e4])
@pytest.mark.parametrize("sides", [(1, 1), (1, -1), (-1, 1)])
def test_large_margins_stay_finite(classes, margin, sides):
    labels = torch.arange(4) % classes
    one_hot = nn.functional.one_hot(labels, classes) * 2.0 - 1
    student, teacher = (side * margin * one_hot for side in sides)
    student.requires_grad_()
    loss = dkd_loss(student, teacher, labels, 1.0, 1.0, 8.0)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()
    if sides == (1, 1):
        assert loss.item() == pytest.approx(0, abs=1e-5)


def method_terms(batch, student, teacher, epoch=0, **options):
    context = MethodContext(10, batch.labels, 5, 0.0, Outputs(student), Outputs(teacher))
    method = DKD(nn.Identity(), DKDConfig("dkd", **options), context)
    method.epoch = epoch
    return method.losses(Outputs(student), Outputs(teacher), batch)


def test_the_term_warms_up_linearly():
    student, teacher, labels = random_case(4, 10)
    batch = Batch(torch.zeros(4), labels, labels)
    full = dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0)
    for epoch, share in [(0, 1 / 20), (9, 0.5), (19, 1.0), (100, 1.0)]:
        losses = method_terms(batch, student, teacher, epoch)
        torch.testing.assert_close(losses["dkd"], share * full)
        torch.testing.assert_close(losses["ce"], nn.functional.cross_entropy(student, labels))
    torch.testing.assert_close(
        method_terms(batch, student, teacher, 0, warmup_epochs=0, weight=3.0)["dkd"], 3 * full
    )


def test_mixed_images_have_two_labels():
    student, teacher, labels = random_case(4, 10)
    partners, share = labels.flip(0), torch.tensor([1.0, 0.25, 0.5, 0.0])
    mixed = method_terms(
        Batch(torch.zeros(4), labels, labels, partners, share), student, teacher, warmup_epochs=0
    )["dkd"]
    expected = 0.0
    for i in range(4):
        row = slice(i, i + 1)
        own, other = (
            dkd_loss(student[row], teacher[row], which[row], 4.0, 1.0, 8.0)
            for which in (labels, partners)
        )
        expected += (share[i] * own + (1 - share[i]) * other) / 4
    torch.testing.assert_close(mixed, expected)


def test_a_negative_warmup_is_refused():
    with pytest.raises(ValueError, match="warmup_epochs"):
        DKDConfig("dkd", warmup_epochs=-1)
