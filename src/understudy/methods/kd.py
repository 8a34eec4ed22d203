"""Soft labels: the student matches the teacher's softened probabilities as well as the labels.

What it does: ``loss = (1 - alpha) * CE + alpha * T^2 * KL(softmax(z_t / T) || softmax(z_s / T))``.
When to use it: first. It needs only the teacher's logits, works with any pair of networks, and the
teacher's outputs can be computed once and cached. It helps when the teacher is clearly better than
the student, the student can fit more than the labels alone, and both see the same view of the
image.
Cost: a K-way softmax more than plain training; the teacher's forward pass once per view (cached) or
in every step (live).
Options: ``temperature`` (softer above 1: shows how the teacher ranks the wrong classes), ``alpha``
(share of the soft term).
Reference: Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network.
"""

from dataclasses import dataclass

from understudy.config.schedules import Schedule
from understudy.methods.base import Method, MethodConfig
from understudy.methods.divergence import kd_loss

__all__ = ["KD", "KDConfig", "kd_loss"]


@dataclass(frozen=True)
class KDConfig(MethodConfig):
    """Options of soft-label distillation."""

    alpha: float | Schedule = 0.7
    """Weight of the soft term, in [0, 1]; the cross-entropy gets the rest."""


class KD(Method):
    """The base loss as it stands."""

    config_class = KDConfig
    reference = "Hinton et al. 2015, Distilling the Knowledge in a Neural Network"
