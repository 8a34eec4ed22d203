"""Attention transfer: the student looks at the places of the image that the teacher looks at.

What it does: adds ``1000 * sum over stages |n(f_s) - n(f_t)|^2 / (B * H * W)``, where ``n`` squares
a stage map, averages it over channels and scales the flattened result to length 1. Channel counts
may differ, and so may sizes: the larger map is average-pooled. Nothing is trained except the
student.
When to use it: for two convolutional networks whose stages correspond; alone or together with
``kd`` (set ``alpha``).
Cost: the teacher's forward pass in every step (its maps are not cached); the term itself is small.
Options: ``stages`` and ``stage_weights`` (several levels at once), ``weight`` of the term,
``alpha`` to add ``kd``.
Reference: Zagoruyko and Komodakis 2017, Paying More Attention to Attention: Improving the
Performance of Convolutional Neural Networks via Attention Transfer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodContext
from understudy.methods.feature_pairs import (
    StagesConfig,
    l2_normalize,
    match_spatial,
    paired_stages,
)
from understudy.models.base import Classifier, Outputs


def at_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """``|n(f_s) - n(f_t)|^2`` averaged over ``B * H * W`` (Zagoruyko and Komodakis 2017).

    ``n`` is the mean of the squares over channels, scaled to length 1.

    Args:
        student_map, teacher_map: ``[B, C, H, W]``; C may differ, and so may H and W.

    Returns:
        scalar in [0, 2 / (H * W)], H and W the smaller ones; the same for any order of the channels
            and any positive scale.
    """
    student_map, teacher_map = match_spatial(student_map.float(), teacher_map.float())
    student = l2_normalize(student_map.square().mean(1).flatten(1))
    teacher = l2_normalize(teacher_map.square().mean(1).flatten(1))
    return (student - teacher).square().mean()


@dataclass(frozen=True)
class ATConfig(StagesConfig):
    """Options of attention transfer."""

    weight: float = 1000.0
    """Weight of the term."""


class AT(Method):
    """The base loss and the distance between attention maps, stage by stage."""

    config_class = ATConfig
    config: ATConfig
    needs = "features"
    reference = "Zagoruyko and Komodakis 2017, Paying More Attention to Attention"

    def __init__(self, student: Classifier, config: ATConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = [
            share * at_loss(student.features[stage], teacher.features[stage])
            for stage, share in self.stages
        ]
        return {"at": self.config.weight * torch.stack(parts).sum()}
