"""Relational distillation."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import MethodContext
from understudy.methods.rkd import RKD, RKDConfig, rkd_loss
from understudy.models.base import Outputs


def smooth_l1(difference):
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def distances(points):
    found = np.array([[np.linalg.norm(a - b) for b in points] for a in points])
    return found / found[found > 0].mean()


def cosine(points, i, j, k):
    """Of the angle at j between i and k; 0 where there is none."""
    first, second = points[i] - points[j], points[k] - points[j]
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return first @ second / lengths if lengths and i != k else 0.0


def reference(student, teacher, distance_weight, angle_weight):
    """The definition in numpy, pair by pair and triple by triple."""
    images = range(len(student))
    d_s, d_t = distances(student), distances(teacher)
    pairs = [smooth_l1(d_s[i, j] - d_t[i, j]) for i, j in itertools.product(images, repeat=2)]
    triples = [
        smooth_l1(cosine(student, *t) - cosine(teacher, *t))
        for t in itertools.product(images, repeat=3)
    ]
    return distance_weight * np.mean(pairs) + angle_weight * np.mean(triples)


def random_embedding(images, size, seed=0):
    return torch.randn(images, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("weights", [(25.0, 50.0), (1.0, 0.0), (0.0, 1.0)])
def test_agrees_with_the_definition_whatever_the_sizes(weights):
    student, teacher = random_embedding(6, 4), random_embedding(6, 9, seed=1) ** 3
    expected = reference(student.double().numpy(), teacher.double().numpy(), *weights)
    assert rkd_loss(student, teacher, *weights).item() == pytest.approx(expected, rel=1e-5)


def test_scale_shift_and_rotation_do_not_count():
    student, teacher = random_embedding(5, 4), random_embedding(5, 7, seed=1)
    loss = rkd_loss(student, teacher, 25.0, 50.0)
    torch.testing.assert_close(rkd_loss(100 * student, 0.01 * teacher, 25.0, 50.0), loss)
    rotation = torch.linalg.qr(random_embedding(4, 4, seed=2)).Q
    torch.testing.assert_close(rkd_loss(student @ rotation + 1, teacher, 25.0, 50.0), loss)
    assert rkd_loss(3 * teacher - 2, teacher, 25.0, 50.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_images_are_exactly_zero(images):
    for seed in range(5):
        student = random_embedding(images, 4, seed).requires_grad_()
        loss = rkd_loss(student, random_embedding(images, 7, seed + 10), 25.0, 50.0)
        loss.backward()
        assert loss.item() == 0
        assert student.grad.abs().max() == 0


def test_equal_embeddings_have_finite_gradients():
    twins = random_embedding(4, 5)
    twins[1] = twins[0]
    for points in (twins, torch.ones(4, 5), torch.zeros(4, 5)):
        points = points.clone().requires_grad_()
        loss = rkd_loss(points, random_embedding(4, 3, seed=1), 25.0, 50.0)
        loss.backward()
        assert loss > 0 and loss.isfinite()
        assert points.grad.abs().max() < 1e3
    assert rkd_loss(twins, torch.ones(4, 5), 25.0, 50.0).isfinite()


def test_large_and_half_precision_embeddings():
    student, teacher = random_embedding(4, 5), random_embedding(4, 3, seed=1)
    assert rkd_loss(1e4 * student, 1e4 * teacher, 25.0, 50.0).isfinite()
    half = rkd_loss(student.bfloat16(), teacher.bfloat16(), 25.0, 50.0)
    torch.testing.assert_close(
        half, rkd_loss(student.bfloat16().float(), teacher.bfloat16().float(), 25.0, 50.0)
    )


def test_the_method_reads_embeddings():
    student = Outputs(torch.zeros(4, 10), embedding=random_embedding(4, 5))
    teacher = Outputs(torch.zeros(4, 10), embedding=random_embedding(4, 8, seed=1))
    method = RKD(
        nn.Identity(),
        RKDConfig("rkd", weight=2.0),
        MethodContext(10, torch.zeros(4), 5, 0.0, student, teacher),
    )
    terms = method.terms(student, teacher, Batch(torch.zeros(4), torch.zeros(4), torch.zeros(4)))
    torch.testing.assert_close(
        terms, {"rkd": 2 * rkd_loss(student.embedding, teacher.embedding, 25.0, 50.0)}
    )


def test_a_network_without_embedding_is_refused():
    known, unknown = (
        Outputs(torch.zeros(2, 10), embedding=torch.zeros(2, 5)),
        Outputs(torch.zeros(2, 10)),
    )
    for student, teacher, setting in [
        (known, unknown, "teacher"),
        (unknown, known, "student"),
        (known, None, "teacher"),
    ]:
        with pytest.raises(UnderstudyError, match=f"rkd compares embeddings, .*{setting}.stages"):
            RKD(
                nn.Identity(),
                RKDConfig("rkd"),
                MethodContext(10, torch.zeros(2), 5, 0.0, student, teacher),
            )
