"""Hints: a small regressor makes one of the student's maps predict the teacher's.

What it does: adds ``weight * MSE(regressor(f_s), f_t)``, averaged over all elements of the map. The
regressor is a convolution, batch norm and ReLU, trained with the student and thrown away. A strided
convolution shrinks a student's map that is a whole number of times larger, a transposed one
enlarges a smaller one; if the sizes are not so related, the larger map is averaged down to the
smaller size (``adaptive_avg_pool2d``) and the convolution is 1x1.
When to use it: when the teacher's features, and not only its predictions, carry what the student
lacks; the classic first try among the feature methods, and often the weakest.
Cost: one convolution between the two widths per step; the teacher runs live.
Options: ``weight``, ``stages`` and ``stage_weights`` (several levels at once; by default the second
deepest alone, as in the CRD benchmark).
Reference: Romero et al. 2015, FitNets: Hints for Thin Deep Nets.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodContext
from understudy.methods.feature_pairs import (
    StagesConfig,
    match_spatial,
    paired_stages,
    require_norm_samples,
)
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class FitNetsConfig(StagesConfig):
    """Options of hint learning."""

    weight: float = 100.0
    """Weight of the hint term."""
    stages: tuple[int, ...] = (-2,)
    """Which of the student's maps, 0 the shallowest and -1 the deepest; each predicts the teacher's
    map that is as far from its own deep end. By default all that both networks have, except the
    first (a stem)."""


def fitnets_loss(regressed: Tensor, teacher_map: Tensor) -> Tensor:
    """Mean squared error between the regressor's output and the teacher's map (Romero et al. 2015).

    Args:
        regressed, teacher_map: ``[B, C, H, W]``; if H or W differ, the larger map is average-pooled
            to the smaller size.

    Returns:
        scalar, at least 0, averaged over all elements.
    """
    return F.mse_loss(*match_spatial(regressed, teacher_map))


class Regressor(nn.Module):
    """Convolution, batch norm and ReLU from the student's map to the teacher's shape.

    Args:
        student_map, teacher_map: examples ``[B, C, H, W]``; only their shapes are read.
    """

    def __init__(self, student_map: Tensor, teacher_map: Tensor) -> None:
        super().__init__()
        before, after = student_map.shape[1], teacher_map.shape[1]
        (height, width), (target_height, target_width) = (
            student_map.shape[2:],
            teacher_map.shape[2:],
        )
        self.size: tuple[int, int] | None = None
        self.conv: nn.Module
        if height % target_height == 0 and width % target_width == 0:
            stride = (height // target_height, width // target_width)
            # Kernel k + 1 with padding 1 at stride k gives exactly 1 / k of the map; 1x1 if nothing
            # shrinks.
            self.conv = nn.Conv2d(before, after, _kernel(stride, 1), stride, _padding(stride))
        elif target_height % height == 0 and target_width % width == 0:
            stride = (target_height // height, target_width // width)
            self.conv = nn.ConvTranspose2d(
                before, after, _kernel(stride, 2), stride, _padding(stride)
            )
        else:
            self.size = (min(height, target_height), min(width, target_width))
            self.conv = nn.Conv2d(before, after, 1)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, student_map: Tensor) -> Tensor:
        """``[B, C_s, H_s, W_s]`` to ``[B, C_t, H_t, W_t]``, or the smaller of unrelated sizes."""
        hidden = self.conv(
            student_map if self.size is None else F.adaptive_avg_pool2d(student_map, self.size)
        )
        if self.training:
            require_norm_samples("fitnets", hidden)
        return F.relu(self.bn(hidden))


def _kernel(stride: tuple[int, int], more: int) -> tuple[int, int]:
    return 1 if stride[0] == 1 else stride[0] + more, 1 if stride[1] == 1 else stride[1] + more


def _padding(stride: tuple[int, int]) -> tuple[int, int]:
    return int(stride[0] > 1), int(stride[1] > 1)


class FitNets(Method):
    """The base loss and a hint from each chosen stage of the teacher."""

    config_class = FitNetsConfig
    config: FitNetsConfig
    needs = "features"
    reference = "Romero et al. 2015, FitNets: Hints for Thin Deep Nets"

    def __init__(self, student: Classifier, config: FitNetsConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)
        assert context.teacher_example is not None
        student_side, teacher_side = (
            context.student_example.features,
            context.teacher_example.features,
        )
        self.regressors = nn.ModuleList(
            Regressor(student_side[stage], teacher_side[stage]) for stage, _ in self.stages
        )

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = [
            share
            * fitnets_loss(
                regressor(student.features[stage].float()), teacher.features[stage].float()
            )
            for regressor, (stage, share) in zip(self.regressors, self.stages, strict=True)
        ]
        return {"fitnets": self.config.weight * torch.stack(parts).sum()}
