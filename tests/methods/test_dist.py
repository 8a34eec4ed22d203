"""Correlation in place of divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import MethodContext
from understudy.methods.dist import DIST, DISTConfig, dist_loss, pearson
from understudy.models.base import Outputs


def reference(student, teacher, temperature, beta, gamma):
    """The definition by numpy's own correlation coefficients."""
    p_s, p_t = (
        np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True)
        for z in (student, teacher)
    )
    inter = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p_s, p_t, strict=True)])
    intra = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p_s.T, p_t.T, strict=True)])
    return temperature**2 * (beta * inter + gamma * intra)


def random_logits(images, classes, seed=0):
    return 3 * torch.randn(2, images, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 10), (5, 2), (2, 3)])
def test_agrees_with_the_definition(shape):
    student, teacher = random_logits(*shape)
    expected = reference(student.double().numpy(), teacher.double().numpy(), 4.0, 2.0, 0.5)
    assert dist_loss(student, teacher, 4.0, 2.0, 0.5).item() == pytest.approx(expected, rel=1e-4)


def test_zero_when_both_agree():
    teacher = random_logits(6, 10)[1]
    assert dist_loss(teacher + 3, teacher, 4.0, 1.0, 1.0).item() == pytest.approx(0, abs=1e-4)


def test_probabilities_need_only_move_together():
    rows = torch.rand(3, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pearson(rows, 5 * rows + 2), torch.ones(3))
    torch.testing.assert_close(pearson(rows, 1 - rows), -torch.ones(3))


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_a_uniform_teacher_gives_exactly_two(classes):
    student = random_logits(4, classes)[0].requires_grad_()
    uniform = torch.tensor([[0.0], [0.1], [3.3], [-7.0]]).expand(4, classes)
    loss = dist_loss(student, uniform, 1.0, 1.0, 1.0)
    loss.backward()
    assert loss.item() == 2
    assert dist_loss(student, uniform, 4.0, 1.0, 1.0).item() == 32
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_a_student_that_starts_at_equal_logits_gets_no_huge_gradient():
    student = torch.full((4, 10), 0.1, requires_grad=True)
    loss = dist_loss(student, random_logits(4, 10)[1], 4.0, 1.0, 1.0)
    loss.backward()
    assert loss.item() == 32
    assert student.grad.abs().max() < 1


def test_extreme_logits_and_many_classes_stay_finite():
    for shape in [(4, 2), (4, 10), (4, 1000)]:
        student, teacher = 1e4 * random_logits(*shape).sign()
        student.requires_grad_()
        loss = dist_loss(student, teacher, 4.0, 1.0, 1.0)
        loss.backward()
        assert loss.isfinite() and student.grad.isfinite().all()


def test_a_single_image_is_refused():
    with pytest.raises(UnderstudyError, match="at least two images"):
        dist_loss(torch.randn(1, 10), torch.randn(1, 10), 4.0, 1.0, 1.0)


def test_the_method_weights_the_term_and_the_whole_ce():
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 1, 2, 3])
    context = MethodContext(10, labels, 5, 0.0, Outputs(student), Outputs(teacher))
    losses = DIST(nn.Identity(), DISTConfig("dist"), context).losses(
        Outputs(student), Outputs(teacher), Batch(torch.zeros(4), labels, labels)
    )
    torch.testing.assert_close(losses["dist"], 2 * dist_loss(student, teacher, 4.0, 1.0, 1.0))
    torch.testing.assert_close(losses["ce"], nn.functional.cross_entropy(student, labels))


def test_each_correlation_has_its_own_weight():
    """beta is for the classes of an image, gamma for the images of a class."""
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 1, 2, 3])
    context = MethodContext(10, labels, 5, 0.0, Outputs(student), Outputs(teacher))
    config = DISTConfig("dist", beta=3.0, gamma=0.5, weight=0.7, temperature=2.0, ce_weight=0.4)
    losses = DIST(nn.Identity(), config, context).losses(
        Outputs(student), Outputs(teacher), Batch(torch.zeros(4), labels, labels)
    )
    soft = [(logits / 2).softmax(1) for logits in (student, teacher)]
    inter, intra = 1 - pearson(*soft).mean(), 1 - pearson(soft[0].T, soft[1].T).mean()
    assert not torch.allclose(inter, intra, rtol=0.01)
    torch.testing.assert_close(losses["dist"], 0.7 * 4 * (3 * inter + 0.5 * intra))
    torch.testing.assert_close(losses["ce"], 0.4 * nn.functional.cross_entropy(student, labels))
