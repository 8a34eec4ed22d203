"""Similarity-preserving distillation: images alike to the teacher are alike to the student.

What it does: adds ``3000 * |G_s - G_t|_F^2 / B^2``, where ``G`` holds the inner products of the
batch's flattened maps, each row scaled to Euclidean length 1. Only relations between images are
compared, so channels and sizes may differ.
When to use it: when the two networks' maps differ in shape or meaning; together with ``kd`` (set
``alpha``) or alone.
Cost: the teacher's forward pass in every step; two ``B x B`` matrices.
Options: ``weight`` of the term, ``stages`` and ``stage_weights`` (default: the last map), ``alpha``
to add ``kd``.
Reference: Tung and Mori 2019, Similarity-Preserving Knowledge Distillation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodContext
from understudy.methods.feature_pairs import StagesConfig, l2_normalize, paired_stages
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class SPConfig(StagesConfig):
    """Options of similarity-preserving distillation."""

    stages: tuple[int, ...] = (-1,)
    """Which of the student's maps, 0 the shallowest and -1 the deepest; each is compared with the
    teacher's map that is as far from its own deep end."""
    weight: float = 3000.0
    """Weight of the term."""


def sp_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """``|G_s - G_t|_F^2 / B^2`` of row-normalised similarity matrices (Tung and Mori 2019).

    Args:
        student_map, teacher_map: ``[B, C, H, W]`` (or any ``[B, ...]``); all but B may differ.

    Returns:
        scalar in [0, 4 / B]; 0 for a single image. The same for any scale of either map, any order
            of channels or places,
        and any common rotation of the flattened maps.
    """
    student, teacher = student_map.float().flatten(1), teacher_map.float().flatten(1)
    # Rows of Euclidean length 1, as in the paper; in some public ports they sum to 1, which is
    # another loss.
    return (l2_normalize(student @ student.T) - l2_normalize(teacher @ teacher.T)).square().mean()


class SP(Method):
    """The base loss and the distance between similarity matrices."""

    config_class = SPConfig
    config: SPConfig
    needs = "features"
    reference = "Tung and Mori 2019, Similarity-Preserving Knowledge Distillation"

    def __init__(self, student: Classifier, config: SPConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = [
            share * sp_loss(student.features[stage], teacher.features[stage])
            for stage, share in self.stages
        ]
        return {"sp": self.config.weight * torch.stack(parts).sum()}
