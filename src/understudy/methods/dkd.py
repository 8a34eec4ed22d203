"""Decoupled soft labels: confidence in the label and ranking of the other classes, separately.

What it does: splits the divergence of ``kd`` in two: TCKD, between the binary distributions (label,
anything else), and NCKD, between the distributions over the other classes alone. ``kd`` weights the
second by the teacher's doubt, which is least where the teacher is best. ``loss = CE + w * T^2 * (a
* TCKD + b * NCKD)``, w rising linearly over the first epochs.
When to use it: with a confident teacher and many classes, where ``kd`` has little to teach. The
teacher's outputs can be computed once and cached. It needs at least three
classes: with two NCKD is always 0.
Cost: three small softmaxes more than plain training; the teacher's forward pass once per view
(cached) or in every step (live).
Options: ``tckd_weight`` (a), ``nckd_weight`` (b: raise it for a confident teacher),
``warmup_epochs``, ``temperature``, ``weight`` of the whole term, ``ce_weight``.
Reference: Zhao, Cui, Song, Qiu and Liang 2022, Decoupled Knowledge Distillation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodConfig
from understudy.models.base import Outputs


@dataclass(frozen=True)
class DKDConfig(MethodConfig):
    """Options of decoupled distillation."""

    ce_weight: float | None = 1.0
    """Weight of the cross-entropy; null: 1 - alpha."""
    weight: float = 1.0
    """Weight of the whole term, after the warm-up."""
    tckd_weight: float = 1.0
    """Weight of the label-or-not part (the paper's alpha)."""
    nckd_weight: float = 8.0
    """Weight of the part over the other classes (the paper's beta)."""
    warmup_epochs: int = 20
    """Epochs over which the term rises linearly to its weight; a shorter run ends below it. 0 for
    none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_epochs < 0:
            raise ValueError("method.warmup_epochs must be at least 0")


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
    beta: float,
) -> Tensor:
    """``T^2 * (alpha * TCKD + beta * NCKD)``, averaged over the batch (Zhao et al. 2022).

    Args:
        student_logits, teacher_logits: ``[B, K]``, K at least 2.
        labels: int64 ``[B]``.
        temperature: T above 0.
        alpha: weight of TCKD, the binary divergence of (label, any other class).
        beta: weight of NCKD, the divergence over the other classes; exactly 0 at K = 2.

    Returns:
        scalar, at least 0, finite at any margin; ``kd_loss`` is ``T^2 * (TCKD + (1 - p) * NCKD)``
            image by image, with p the
        teacher's probability of the label.
    """
    return dkd_per_image(student_logits, teacher_logits, labels, temperature, alpha, beta).mean()


def dkd_per_image(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
    beta: float,
) -> Tensor:
    """:func:`dkd_loss` before the mean: ``[B]``."""
    student_binary, student_others = _split(student_logits / temperature, labels)
    teacher_binary, teacher_others = _split(teacher_logits / temperature, labels)
    tckd = (teacher_binary.exp() * (teacher_binary - student_binary)).sum(1)
    nckd = (teacher_others.exp() * (teacher_others - student_others)).sum(1)
    return temperature**2 * (alpha * tckd + beta * nckd)


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities ``[B, 2]`` of (label, other) and ``[B, K - 1]`` of the others alone."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    # Gathered without the label's column: masking it by a large number, or log(1 - p), is inf at
    # large margins.
    others = logits.gather(1, columns + (columns >= labels[:, None]).long())
    target = logits.gather(1, labels[:, None])
    rest = others.logsumexp(1, keepdim=True)
    return torch.cat([target, rest], 1).log_softmax(1), others.log_softmax(1)


class DKD(Method):
    """Cross-entropy and both parts, warmed up; mixed images count with both labels."""

    config_class = DKDConfig
    config: DKDConfig
    reference = "Zhao et al. 2022, Decoupled Knowledge Distillation"
    min_classes = 3  # with two, one class is left without the label: nothing to rank

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        config, target = self.config, teacher.logits.float()
        options = (self.temperature_now, config.tckd_weight, config.nckd_weight)
        loss = dkd_per_image(student.logits, target, batch.labels, *options)
        if batch.partner_labels is not None and batch.lam is not None:
            other = dkd_per_image(student.logits, target, batch.partner_labels, *options)
            loss = batch.lam * loss + (1 - batch.lam) * other
        warmup = min((self.epoch + 1) / config.warmup_epochs, 1.0) if config.warmup_epochs else 1.0
        return {"dkd": config.weight * warmup * loss.mean()}
