"""Probabilistic knowledge transfer."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import MethodContext
from understudy.methods.pkt import PKT, PKTConfig, pkt_loss
from understudy.models.base import Outputs


def reference(student, teacher, eps=1e-7):
    """The definition in numpy, image by image."""
    images = len(student)
    total = 0.0
    for i in range(images):
        p = []
        for points in (student, teacher):
            cosines = np.array(
                [points[i] @ q / np.linalg.norm(points[i]) / np.linalg.norm(q) for q in points]
            )
            p.append((cosines + 1) / 2 / ((cosines + 1) / 2).sum())
        total += (p[1] * np.log((p[1] + eps) / (p[0] + eps))).sum()
    return total / images**2


def random_embedding(images, size, seed=0):
    return torch.randn(images, size, generator=torch.Generator().manual_seed(seed))


def test_agrees_with_the_definition_whatever_the_sizes():
    student, teacher = random_embedding(6, 4), random_embedding(6, 9, seed=1)
    expected = reference(student.double().numpy(), teacher.double().numpy())
    assert pkt_loss(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_scale_and_rotation_do_not_count():
    student, teacher = random_embedding(5, 4), random_embedding(5, 7, seed=1)
    rotation = torch.linalg.qr(random_embedding(4, 4, seed=2)).Q
    torch.testing.assert_close(
        pkt_loss(1e4 * student @ rotation, 0.01 * teacher), pkt_loss(student, teacher)
    )
    assert pkt_loss(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-7)
    assert pkt_loss(student, teacher) > 1e-3
    assert pkt_loss(student[:1], teacher[:1]).item() == 0


def test_zero_embeddings_stay_finite():
    some = random_embedding(4, 5)
    some[0] = 0
    teacher = random_embedding(4, 3, seed=1)
    for student in (some, torch.zeros(4, 5)):
        student = student.clone().requires_grad_()
        loss = pkt_loss(student, teacher)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.abs().max() < 10
        assert pkt_loss(teacher, student.detach()).isfinite()


def test_opposite_embeddings_stay_finite():
    for seed in range(20):
        one = random_embedding(1, 257, seed)
        student = torch.cat([one, -one]).requires_grad_()
        loss = pkt_loss(student, random_embedding(2, 3, seed))
        loss.backward()
        assert loss.isfinite() and student.grad.isfinite().all()


def test_half_precision_embeddings_are_compared_in_full():
    student, teacher = random_embedding(4, 5).bfloat16(), random_embedding(4, 3, seed=1).bfloat16()
    torch.testing.assert_close(
        pkt_loss(student, teacher), pkt_loss(student.float(), teacher.float())
    )


def test_the_method_reads_embeddings():
    student = Outputs(torch.zeros(4, 10), embedding=random_embedding(4, 5))
    teacher = Outputs(torch.zeros(4, 10), embedding=random_embedding(4, 8, seed=1))
    batch = Batch(torch.zeros(4), torch.zeros(4), torch.zeros(4))
    method = PKT(
        nn.Identity(), PKTConfig("pkt"), MethodContext(10, torch.zeros(4), 5, 0.0, student, teacher)
    )
    torch.testing.assert_close(
        method.terms(student, teacher, batch),
        {"pkt": 30000 * pkt_loss(student.embedding, teacher.embedding)},
    )
    without = MethodContext(10, torch.zeros(4), 5, 0.0, Outputs(torch.zeros(2, 10)), teacher)
    with pytest.raises(UnderstudyError, match=r"student\.stages"):
        PKT(nn.Identity(), PKTConfig("pkt"), without)
