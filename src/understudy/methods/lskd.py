"""Soft labels on standardised logits: the teacher's ranking and spread matter, not its scale.

What it does: the soft term of ``kd`` on z-scored logits, ``(z - mean) / (1e-7 + std)`` over each
image's classes, for both networks; the cross-entropy stays on the raw logits. ``loss = 0.1 * CE + 9
* T^2 * KL``.
When to use it: in place of ``kd`` when teacher and student differ much in size, so that a small
network cannot reach the teacher's logit scale; a cheap change that seldom hurts. The teacher's
outputs can be computed once and cached. It needs at least three classes: two standardised logits
are always the same two numbers.
Cost: as ``kd``: the teacher's forward pass once per view (cached) or in every step (live).
Options: ``weight`` of the term, ``temperature`` (of the standardised logits), ``ce_weight``.
Reference: Sun, Ren, Li, Wang and Cao 2024, Logit Standardization in Knowledge Distillation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.config.schedules import Schedule
from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodConfig
from understudy.methods.divergence import kd_loss
from understudy.models.base import Outputs


@dataclass(frozen=True)
class LSKDConfig(MethodConfig):
    """Options of distillation on standardised logits."""

    temperature: float | Schedule = 2.0
    """T: both networks' standardised logits are divided by it."""
    ce_weight: float | None = 0.1
    """Weight of the cross-entropy; null: 1 - alpha."""
    weight: float = 9.0
    """Weight of the term."""


def lskd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``T^2 * KL`` between softmaxes of z-scored logits over T (Sun et al. 2024).

    It is summed over classes and averaged over the batch.

    Args:
        student_logits, teacher_logits: ``[B, K]``, K at least 2.
        temperature: T above 0.

    Returns:
        scalar, at least 0; 0 with zero gradient, up to rounding, when each row of the one is a
            positive multiple of the
        other's plus a constant. A row of equal logits counts as all zeros and has no gradient.
    """
    return kd_loss(standardise(student_logits), standardise(teacher_logits), temperature)


def standardise(logits: Tensor) -> Tensor:
    """Each row of ``[B, K]`` logits minus its mean, over 1e-7 plus its unbiased deviation.

    Equal logits give zeros.
    """
    # Relative to the first logit, equal ones are exactly 0; their mean need not be exactly equal.
    relative = logits - logits[:, :1]
    centred = relative - relative.mean(1, keepdim=True)
    deviation = centred.std(1, keepdim=True)
    # A row without spread has no z-score. Without this its gradient would be 1e7 times too large,
    # as at a zero-initialised head.
    return torch.where(deviation > 0, centred / (1e-7 + deviation), 0.0)


class LSKD(Method):
    """Cross-entropy on raw logits, divergence on standardised ones."""

    config_class = LSKDConfig
    config: LSKDConfig
    reference = "Sun et al. 2024, Logit Standardization in Knowledge Distillation"
    min_classes = 3  # two standardised logits are always the same two numbers

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        weight = self.config.weight
        return {
            "lskd": weight * lskd_loss(student.logits, teacher.logits.float(), self.temperature_now)
        }
