"""Correlation in place of divergence: probabilities move with the teacher's, not equal them.

What it does: ``loss = CE + 2 * T^2 * (b * inter + g * intra)``, each part 1 minus a mean Pearson
correlation of softened probabilities: ``inter`` over the classes of each image, ``intra`` over the
images of the batch for each class.
When to use it: when the teacher is much stronger than the student, whose exact probabilities a
small network cannot reach. The teacher's outputs can be computed once and cached. Batches should
hold several images of each class. With two classes set ``beta: 0``: two numbers correlate by +1 or
-1, whatever they are, so ``inter`` means nothing, while ``intra`` does.
Cost: as ``kd``: the teacher's forward pass once per view (cached) or in every step (live).
Options: ``beta`` (b), ``gamma`` (g), ``temperature``, ``weight`` of the term, ``ce_weight``.
Batches need at least two images.
Reference: Huang, You, Wang, Qian and Xu 2022, Knowledge Distillation from A Stronger Teacher.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig
from understudy.models.base import Outputs


@dataclass(frozen=True)
class DISTConfig(MethodConfig):
    """Options of distillation by correlation."""

    ce_weight: float | None = 1.0
    """Weight of the cross-entropy; null: 1 - alpha."""
    weight: float = 2.0
    """Weight of the term."""
    beta: float = 1.0
    """Weight of the correlation over the classes of each image."""
    gamma: float = 1.0
    """Weight of the correlation over the images of the batch for each class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.beta < math.inf and 0 <= self.gamma < math.inf):
            raise ValueError("method.beta and method.gamma must be at least 0")


def dist_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, beta: float, gamma: float
) -> Tensor:
    """``T^2 * (beta * inter + gamma * intra)`` (Huang et al. 2022).

    Each part is 1 minus a mean Pearson correlation.

    Args:
        student_logits, teacher_logits: ``[B, K]``, B and K at least 2.
        temperature: T above 0.
        beta: weight of ``inter``, over the rows of softened probabilities (the classes of each
            image).
        gamma: weight of ``intra``, over their columns (the images of each class).

    Returns:
        scalar between 0 and ``2 * T^2 * (beta + gamma)``. A row or column without spread correlates
            with nothing: a uniform
        teacher gives exactly ``T^2 * (beta + gamma)``, with zero gradient.

    Raises:
        UnderstudyError: for a single image, over which nothing correlates.
    """
    if len(student_logits) < 2:
        raise UnderstudyError(
            "dist needs at least two images in every batch: "
            "set train.drop_last, or another train.batch_size"
        )
    student = (student_logits / temperature).softmax(1)
    teacher = (teacher_logits / temperature).softmax(1)
    inter = 1 - pearson(student, teacher).mean()
    intra = 1 - pearson(student.T, teacher.T).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation ``[N]`` of the rows of two ``[N, M]`` tensors.

    It is 0, without gradient, for a row without spread.
    """
    first, second = _centre(first), _centre(second)
    product = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    return torch.where(product > 0, (first * second).sum(1) / (product + 1e-8), 0.0)


def _centre(rows: Tensor) -> Tensor:
    # Relative to the first entry, equal ones are exactly 0; otherwise the rounding of their mean
    # would correlate with something.
    relative = rows - rows[:, :1]
    return relative - relative.mean(1, keepdim=True)


class DIST(Method):
    """Cross-entropy and both correlations."""

    config_class = DISTConfig
    config: DISTConfig
    reference = "Huang et al. 2022, Knowledge Distillation from A Stronger Teacher"
    min_classes = 3  # two numbers correlate by +1 or -1, whatever they are
    with_few_classes = "set its beta to 0, or take another, such as method=kd"

    @classmethod
    def require_classes(cls, config: MethodConfig, num_classes: int) -> None:
        assert isinstance(config, DISTConfig)
        if config.beta > 0:
            super().require_classes(config, num_classes)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        config = self.config
        loss = dist_loss(
            student.logits, teacher.logits.float(), self.temperature_now, config.beta, config.gamma
        )
        return {"dist": config.weight * loss}
