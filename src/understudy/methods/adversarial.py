"""Adversarial distillation: a discriminator tells the networks apart, the student fools it.

What it does: in addition to soft labels (``alpha``), a small network sees the logits of both
networks, or their pooled embeddings, and classifies which are the teacher's (binary cross-entropy,
averaged over both halves). On the way back into the student its gradient is reversed and multiplied
by ``reversal``, so that one optimizer and one loss train both sides of the game.
When to use it: as an addition to ``kd`` when the student's outputs look unlike the teacher's as a
set. Expect little.
Cost: three linear layers; the teacher's forward pass once per view (cached), or in every step if
``compare`` is ``features`` (only the pooled embeddings are read, but from a live teacher).
Options: ``weight``, ``reversal`` (strength of the gradient that reaches the student), ``compare``
(``logits`` or ``features``), ``hidden`` (width of the discriminator), ``alpha``, ``temperature``.
``discriminator_accuracy``, reported after each epoch, is a moving average over about 100 steps: at
0.5 it cannot tell the networks apart, at 1 the student never fools it.
Reference: Xu, Hsu and Huang 2018, Training Shallow and Thin Networks for Acceleration via Knowledge
Distillation with Conditional Adversarial Networks; Shen, He and Xue 2019, MEAL (features); Ganin et
al. 2016 (gradient reversal).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.config.schedules import Schedule
from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodConfig, MethodContext, Needs, embeddings_of
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class AdversarialConfig(MethodConfig):
    """Options of adversarial distillation."""

    alpha: float | Schedule = 0.7
    """Weight of the soft term, in [0, 1]; the cross-entropy gets the rest."""
    weight: float = 1.0
    """Weight of the discriminator's loss."""
    reversal: float = 0.1
    """What the gradient is multiplied by, with its sign turned, where it enters the student."""
    compare: Literal["logits", "features"] = "logits"
    """What the discriminator sees: logits, or pooled embeddings (the student's through a linear
    layer)."""
    hidden: int = 128
    """Width of the discriminator's two hidden layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reversal < 0 or self.hidden < 1:
            raise ValueError("method.reversal must be at least 0 and method.hidden at least 1")


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """``values``, bit for bit, with a reversed gradient (Ganin et al. 2016).

    The gradient is multiplied by ``-strength`` on its way back.
    """
    still = values.detach()
    return still - strength * (values - still)


def adversarial_loss(student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """Binary cross-entropy of the discriminator's scores, each half averaged on its own.

    It is log 2 if the discriminator cannot tell the networks apart.

    Args:
        student_scores, teacher_scores: ``[B]`` or ``[B, 1]``, above 0 if the discriminator takes it
            for the teacher's.

    Returns:
        scalar, at least 0.
    """
    return 0.5 * (F.softplus(student_scores).mean() + F.softplus(-teacher_scores).mean())


class Adversarial(Method):
    """The base loss and the game with the discriminator."""

    config_class = AdversarialConfig
    needs = "logits"
    reference = (
        "Xu et al. 2018, Training Shallow and Thin Networks with Conditional Adversarial Networks; "
        "Shen et al. 2019, MEAL"
    )

    def __init__(
        self, student: Classifier, config: AdversarialConfig, context: MethodContext
    ) -> None:
        super().__init__(student, config, context)
        self.weight, self.reversal, self.compare = config.weight, config.reversal, config.compare
        self.align: nn.Module = nn.Identity()
        width = context.num_classes
        if self.compare == "features":
            student_embedding, teacher_embedding = embeddings_of(
                config.name, context, ", or method.compare=logits"
            )
            width = teacher_embedding.shape[1]
            self.align = nn.Linear(student_embedding.shape[1], width)
        self.discriminator = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(config.hidden, config.hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(config.hidden, 1),
        )
        self.discriminator_accuracy: Tensor
        self.register_buffer("discriminator_accuracy", torch.tensor(0.5))

    @classmethod
    def needs_with(cls, config: MethodConfig) -> Needs:
        # Pooled embeddings would be enough for `features`, but a cache rounds them, and trainings
        # would no longer repeat those of earlier versions.
        assert isinstance(config, AdversarialConfig)
        return config.compare

    def measures(self) -> dict[str, Tensor]:
        return {"discriminator_accuracy": self.discriminator_accuracy}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        if self.compare == "features":
            assert student.embedding is not None and teacher.embedding is not None
            student_side = self.align(student.embedding.float())
            teacher_side = teacher.embedding.float()
        else:
            student_side, teacher_side = student.logits, teacher.logits.float()
        student_scores = self.discriminator(reverse_gradient(student_side, self.reversal))
        teacher_scores = self.discriminator(teacher_side)
        if self.training:
            with torch.no_grad():
                correct = 0.5 * (
                    (student_scores < 0).float().mean() + (teacher_scores > 0).float().mean()
                )
                self.discriminator_accuracy.lerp_(correct, 0.01)
        return {"adversarial": self.weight * adversarial_loss(student_scores, teacher_scores)}
