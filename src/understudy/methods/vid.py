"""Variational information distillation: maps predict the teacher's, with learned uncertainty.

What it does: for each pair of stages adds the negative log-likelihood, up to a constant, of the
teacher's map under a normal distribution, ``0.5 * ((mu(f_s) - f_t)^2 / var + log var)``, averaged
over elements and summed over stages; it bounds the mutual information of both maps. ``mu`` is three
1x1 convolutions; ``var = softplus(rho) + 1e-5`` has one trained value per teacher channel and
starts at 5. Channels that the student cannot predict get a large variance and stop mattering.
When to use it: as a hint (``fitnets``) that finds out by itself which channels are worth it.
Cost: three 1x1 convolutions per stage at the teacher's width; the teacher runs live. The loss may
be negative.
Options: ``weight``, ``stages`` and ``stage_weights`` (several levels at once),
``initial_variance``.
Reference: Ahn et al. 2019, Variational Information Distillation for Knowledge Transfer.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodContext
from understudy.methods.feature_pairs import StagesConfig, match_spatial, paired_stages
from understudy.models.base import Classifier, Outputs

LEAST_VARIANCE = 1e-5
"""Added to the softplus, so that no channel becomes certain."""


@dataclass(frozen=True)
class VIDConfig(StagesConfig):
    """Options of variational information distillation."""

    weight: float = 1.0
    """Weight of the likelihood term."""
    initial_variance: float = 5.0
    """Variance of every channel at the start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_variance <= LEAST_VARIANCE:
            raise ValueError(f"method.initial_variance must be above {LEAST_VARIANCE}")


def vid_loss(mean: Tensor, teacher_map: Tensor, rho: Tensor) -> Tensor:
    """``0.5 * ((mean - f_t)^2 / var + log var)``, averaged over elements (Ahn et al. 2019).

    Here ``var = softplus(rho) + 1e-5``.

    Args:
        mean: ``[B, C, H, W]``, what the student predicts.
        teacher_map: ``[B, C, H, W]``; if H or W differ, the larger map is average-pooled to the
            smaller size.
        rho: ``[C]``, the variances before the softplus.

    Returns:
        scalar; negative where the prediction is closer than a variance of 1 would have it.
    """
    mean, teacher_map = match_spatial(mean, teacher_map)
    variance = (F.softplus(rho) + LEAST_VARIANCE).view(1, -1, 1, 1)
    return 0.5 * ((mean - teacher_map).square() / variance + variance.log()).mean()


class Predictor(nn.Module):
    """Mean and variance of a teacher's map given a student's.

    Args:
        student_channels, teacher_channels: widths of both maps.
        initial_variance: of every channel.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, initial_variance: float
    ) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        # The inverse of the softplus, written so that large variances do not overflow.
        above = initial_variance - LEAST_VARIANCE
        self.rho = nn.Parameter(
            torch.full((teacher_channels,), above + math.log(-math.expm1(-above)))
        )


class VID(Method):
    """The base loss and the likelihood of the teacher's maps."""

    config_class = VIDConfig
    config: VIDConfig
    needs = "features"
    reference = "Ahn et al. 2019, Variational Information Distillation for Knowledge Transfer"

    def __init__(self, student: Classifier, config: VIDConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)
        assert context.teacher_example is not None
        student_side, teacher_side = (
            context.student_example.features,
            context.teacher_example.features,
        )
        self.predictors = nn.ModuleList(
            Predictor(
                student_side[stage].shape[1], teacher_side[stage].shape[1], config.initial_variance
            )
            for stage, _ in self.stages
        )

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = []
        for predictor, (stage, share) in zip(self.predictors, self.stages, strict=True):
            assert isinstance(predictor, Predictor)
            # Pooled before the convolutions, which are 1x1: less work if the student's map is the
            # larger one.
            student_map, teacher_map = match_spatial(
                student.features[stage].float(), teacher.features[stage].float()
            )
            parts.append(share * vid_loss(predictor.mean(student_map), teacher_map, predictor.rho))
        return {"vid": self.config.weight * torch.stack(parts).sum()}
