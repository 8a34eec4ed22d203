"""Soft labels: Hinton's divergence in numpy, and the founding loss around it."""

import numpy as np
import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method
from torch import nn

from understudy.data.loader import Batch
from understudy.methods import method_config
from understudy.methods.base import MethodContext
from understudy.methods.kd import KD, KDConfig, kd_loss
from understudy.models.base import Outputs


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def reference(student, teacher, temperature):
    """The definition in numpy: summed over classes, averaged over images, times T squared."""
    p_s, p_t = softmax(student / temperature), softmax(teacher / temperature)
    return temperature**2 * (p_t * (np.log(p_t) - np.log(p_s))).sum() / len(student)


def random_logits(images, classes, seed=0):
    return 3 * torch.randn(2, images, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("shape", [(6, 10), (1, 3), (4, 2), (3, 100)])
def test_agrees_with_the_definition(shape, temperature):
    student, teacher = random_logits(*shape)
    expected = reference(student.double().numpy(), teacher.double().numpy(), temperature)
    assert kd_loss(student, teacher, temperature).item() == pytest.approx(
        expected, rel=1e-4, abs=1e-5
    )


def test_the_divergence_is_taken_from_the_teacher():
    student, teacher = random_logits(6, 10)
    assert kd_loss(student, teacher, 2.0).item() != pytest.approx(
        kd_loss(teacher, student, 2.0).item(), rel=0.01
    )


def test_gradient_is_the_difference_of_softened_probabilities():
    """d/dz_s = T * (p_s - p_t) / B: about the same size at every temperature."""
    student, teacher = random_logits(5, 7)
    student.requires_grad_()
    kd_loss(student, teacher, 4.0).backward()
    expected = 4 * ((student.detach() / 4).softmax(1) - (teacher / 4).softmax(1)) / 5
    torch.testing.assert_close(student.grad, expected)


def test_zero_with_zero_gradient_when_both_agree_but_for_a_shift():
    teacher = random_logits(4, 10)[1]
    student = (teacher + torch.tensor([[0.0], [3.0], [-7.0], [100.0]])).requires_grad_()
    loss = kd_loss(student, teacher, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(student.grad, torch.zeros(4, 10), rtol=0, atol=1e-5)


def losses_of(student, teacher, batch, epoch=0, epochs=5, smoothing=0.0, **options):
    context = MethodContext(
        student.shape[1], batch.labels, epochs, smoothing, Outputs(student), Outputs(student)
    )
    method = KD(nn.Identity(), KDConfig("kd", **options), context)
    method.epoch = epoch
    return method.losses(Outputs(student), None if teacher is None else Outputs(teacher), batch)


@pytest.mark.parametrize("alpha", [0.25, 0.9, 1.0])
def test_the_founding_loss_shares_alpha_and_the_rest(alpha):
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 3, 9, 3])
    losses = losses_of(
        student, teacher, Batch(torch.zeros(4), labels, labels), alpha=alpha, temperature=3.0
    )
    torch.testing.assert_close(losses["kd"], alpha * kd_loss(student, teacher, 3.0))
    if alpha < 1:
        torch.testing.assert_close(
            losses["ce"], (1 - alpha) * nn.functional.cross_entropy(student, labels)
        )
    assert list(losses) == (["ce", "kd"] if alpha < 1 else ["kd"]), (
        "no column for a term of weight 0"
    )


def test_alpha_zero_is_plain_training():
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 3, 9, 3])
    losses = losses_of(student, teacher, Batch(torch.zeros(4), labels, labels), alpha=0.0)
    assert list(losses) == ["ce"]
    assert torch.equal(losses["ce"], nn.functional.cross_entropy(student, labels))


@pytest.mark.parametrize("weight", [1.0, 0.5, 3.0])
def test_a_weight_of_the_cross_entropy_takes_the_place_of_the_rest(weight):
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 3, 9, 3])
    losses = losses_of(
        student, teacher, Batch(torch.zeros(4), labels, labels), alpha=0.7, ce_weight=weight
    )
    torch.testing.assert_close(losses["ce"], weight * nn.functional.cross_entropy(student, labels))
    torch.testing.assert_close(losses["kd"], 0.7 * kd_loss(student, teacher, 4.0))
    without = losses_of(
        student, teacher, Batch(torch.zeros(4), labels, labels), alpha=0.7, ce_weight=0.0
    )
    assert list(without) == ["kd"]


def test_a_schedule_does_not_bring_back_a_term_of_weight_zero():
    method, teacher = make_method("kd", alpha={"start": 0.2, "end": 0.8}, ce_weight=0.0)
    batch = make_batch(8, 5)
    assert list(method(batch, ask(teacher, batch))[0]) == ["kd"]


def test_without_a_teacher_only_the_labels_count():
    student, _ = random_logits(4, 10)
    labels = torch.tensor([0, 3, 9, 3])
    losses = losses_of(student, None, Batch(torch.zeros(4), labels, labels), alpha=0.25)
    assert list(losses) == ["ce"]
    torch.testing.assert_close(losses["ce"], 0.75 * nn.functional.cross_entropy(student, labels))


def test_label_smoothing_reaches_the_cross_entropy_only():
    student, teacher = random_logits(4, 10)
    labels = torch.tensor([0, 3, 9, 3])
    batch = Batch(torch.zeros(4), labels, labels)
    plain, smooth = (
        losses_of(student, teacher, batch, smoothing=value, alpha=0.5) for value in (0.0, 0.2)
    )
    expected = nn.functional.cross_entropy(student, labels, label_smoothing=0.2)
    torch.testing.assert_close(smooth["ce"], 0.5 * expected)
    assert not torch.allclose(smooth["ce"], plain["ce"]) and torch.equal(smooth["kd"], plain["kd"])


def test_forward_returns_the_logits_and_the_same_losses():
    method, teacher = make_method("kd")
    batch = make_batch(8, 5)
    losses, logits = method.eval()(batch, ask(teacher, batch))
    torch.testing.assert_close(logits, method.student(batch.images))
    expected = 0.7 * kd_loss(logits, ask(teacher, batch).logits, 4.0)
    torch.testing.assert_close(losses["kd"], expected)
    torch.testing.assert_close(
        losses["ce"], 0.3 * nn.functional.cross_entropy(logits, batch.labels)
    )


def test_defaults_are_temperature_four_and_most_weight_on_kd():
    config = method_config({"name": "kd"})
    assert (config.alpha, config.temperature, config.ce_weight, config.curriculum) == (
        0.7,
        4.0,
        None,
        None,
    )
