"""Neuron selectivity transfer: channels respond in patterns distributed like the teacher's.

What it does: adds ``50 * MMD^2`` between the two sets of channels of a map, each channel's pattern
over the places of the map scaled to length 1, under the kernel ``(x . y)^2``. Channel counts may
differ; the larger map is average-pooled.
When to use it: when the maps show where things are but the channels do not correspond; with ``kd``
(set ``alpha``).
Cost: the teacher's forward pass in every step; for each image the smaller of a places-by-places and
a channels-by-channels matrix (the kernel written out would hold ``B * C^2 * H * W`` numbers).
Options: ``weight`` of the term, ``stages`` and ``stage_weights`` (default: the last map), ``alpha``
to add ``kd``.
Reference: Huang and Wang 2017, Like What You Like: Knowledge Distill via Neuron Selectivity
Transfer.
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


@dataclass(frozen=True)
class NSTConfig(StagesConfig):
    """Options of neuron selectivity transfer."""

    stages: tuple[int, ...] = (-1,)
    """Which of the student's maps, 0 the shallowest and -1 the deepest; each is compared with the
    teacher's map that is as far from its own deep end."""
    weight: float = 50.0
    """Weight of the term."""


def nst_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between two sets of channels (Huang and Wang 2017).

    The kernel is ``(x . y)^2``.

    Args:
        student_map, teacher_map: ``[B, C, H, W]``; C may differ, and so may H and W.

    Returns:
        scalar in [0, 2] up to rounding, mean over images and pairs of channels; the same for any
            order of the channels and
        any positive scale of each channel. A dead channel counts as a zero pattern.
    """
    student_map, teacher_map = match_spatial(student_map.float(), teacher_map.float())
    student, teacher = l2_normalize(student_map.flatten(2)), l2_normalize(teacher_map.flatten(2))
    places = student.shape[2]
    if places**2 <= student.shape[1] * teacher.shape[1]:
        # The mean of (x . y)^2 is the inner product of the means of x x^T and y y^T, so MMD^2 is
        # their squared distance.
        return (_second_moment(student) - _second_moment(teacher)).square().sum((1, 2)).mean()
    return _kernel(student, student) + _kernel(teacher, teacher) - 2 * _kernel(student, teacher)


def _second_moment(patterns: Tensor) -> Tensor:
    return patterns.mT @ patterns / patterns.shape[1]


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.mT).square().mean()


class NST(Method):
    """The base loss and the discrepancy between channel patterns."""

    config_class = NSTConfig
    config: NSTConfig
    needs = "features"
    reference = (
        "Huang and Wang 2017, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer"
    )

    def __init__(self, student: Classifier, config: NSTConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = [
            share * nst_loss(student.features[stage], teacher.features[stage])
            for stage, share in self.stages
        ]
        return {"nst": self.config.weight * torch.stack(parts).sum()}
