"""Correlation congruence: embeddings correlate across the batch as the teacher's do.

What it does: adds ``100 * mean((C_s - C_t)^2)``, where ``C`` is the batch's matrix of Gaussian RBF
similarities of embeddings scaled to length 1, Taylor-expanded: ``exp(-2 gamma) * sum over p up to
the order of (2 gamma)^p / p! * cosine^p``.
When to use it: as ``sp``, of which it is a variant with pooled embeddings and a non-linear kernel;
embedding sizes may differ. Together with ``kd`` (set ``alpha``).
Cost: two ``B x B`` matrices. The teacher's embeddings are computed once and cached.
Options: ``gamma`` (the kernel's inverse width), ``order`` of the expansion, ``weight`` of the term,
``alpha``.
Reference: Peng, Jin, Liu, Li, Wu, Liu, Zhou and Zhang 2019, Correlation Congruence for Knowledge
Distillation.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodConfig, MethodContext, require_embeddings
from understudy.methods.feature_pairs import l2_normalize
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class CCConfig(MethodConfig):
    """Options of correlation congruence."""

    weight: float = 100.0
    """Weight of the term."""
    gamma: float = 0.4
    """Inverse width of the Gaussian kernel ``exp(-gamma * |x - y|^2)``."""
    order: int = 2
    """Highest power of the cosine in the kernel's expansion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma <= 0:
            raise ValueError("method.gamma must be above 0")
        if self.order < 1:
            raise ValueError("method.order must be at least 1")


def cc_loss(
    student_embedding: Tensor, teacher_embedding: Tensor, gamma: float, order: int
) -> Tensor:
    """Mean squared difference of the batch's expanded RBF correlation matrices (Peng et al. 2019).

    Three unequal losses go by this name in public code: a linear map of the embeddings and products
    of neighbours in the batch; a bilinear kernel; and this one, the paper's Gaussian RBF kernel on
    unit vectors, expanded in the cosine.

    Args:
        student_embedding, teacher_embedding: ``[B, D]``; D may differ.
        gamma: inverse width of the kernel, above 0.
        order: highest power of the expansion, at least 1.

    Returns:
        scalar, at least 0, at most 1 at even orders; the same for any positive scale and any
            rotation of either; 0 for a
        single image. A zero embedding has cosine 0 with all.
    """
    student, teacher = (
        l2_normalize(student_embedding.float()),
        l2_normalize(teacher_embedding.float()),
    )
    difference = _correlations(student @ student.T, gamma, order) - _correlations(
        teacher @ teacher.T, gamma, order
    )
    return difference.square().mean()


def _correlations(cosines: Tensor, gamma: float, order: int) -> Tensor:
    # |x - y|^2 = 2 - 2 cosine between unit vectors.
    result = torch.ones_like(cosines)
    for power in range(1, order + 1):
        result = result + (2 * gamma) ** power / math.factorial(power) * cosines**power
    return math.exp(-2 * gamma) * result


class CC(Method):
    """The base loss and the distance between correlation matrices."""

    config_class = CCConfig
    config: CCConfig
    needs = "embedding"
    reference = "Peng et al. 2019, Correlation Congruence for Knowledge Distillation"

    def __init__(self, student: Classifier, config: CCConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        require_embeddings(config.name, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert student.embedding is not None and teacher.embedding is not None
        config = self.config
        return {
            "cc": config.weight
            * cc_loss(student.embedding, teacher.embedding, config.gamma, config.order)
        }
