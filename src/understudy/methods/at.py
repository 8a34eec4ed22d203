"""Attention transfer: the student looks at the places of the image that the teacher looks at.

What it does: adds ``1000 * sum over stages |n(f_s) - n(f_t)|^2 / (B * H * W)``, where ``n`` squares a stage map, averages it
over channels and scales the flattened result to length 1. Channel counts may differ, and so may sizes: the larger map is
average-pooled. Nothing is trained beside the student.
When to use it: for two convolutional networks whose stages correspond; alone or beside ``kd`` (set ``alpha``).
Cost: the teacher's forward pass in every step (its maps are not kept); the term itself is small.
Options: ``stages`` and ``stage_weights`` (several levels at once), ``weight`` of the term, ``alpha`` for ``kd`` beside it.
Reference: Zagoruyko and Komodakis 2017, Paying More Attention to Attention: Improving the Performance of Convolutional
Neural Networks via Attention Transfer.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.data.batches import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext, require_features
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class StagesConfig(MethodConfig):
    """Options of methods that compare stage maps."""

    stages: tuple[int, ...] = ()
    """Which of the student's maps, 0 the shallowest and -1 the deepest; each is compared with the teacher's map that is as
    far from its own deep end. None given: all that both networks have, less the first (a stem)."""
    stage_weights: tuple[float, ...] = ()
    """One weight for each of these stages; none given: all 1."""


def paired_stages(config: StagesConfig, context: MethodContext) -> tuple[tuple[int, float], ...]:
    """The stages to compare, as (index below 0 that serves student and teacher alike, weight).

    Raises:
        UnderstudyError: if a network shows no maps, a stage is not there in both, or the weights do not match the stages.
    """
    require_features(config.name, context)
    assert context.teacher_example is not None
    ours, theirs = len(context.student_example.features), len(context.teacher_example.features)
    depth = min(ours, theirs)
    stages = config.stages or tuple(range(-max(depth - 1, 1), 0))
    weights = config.stage_weights or (1.0,) * len(stages)
    if len(weights) != len(stages):
        raise UnderstudyError(f"method.stage_weights needs {len(stages)} numbers, one for each stage, not {len(weights)}")
    from_the_end = [stage - ours if stage >= 0 else stage for stage in stages]
    for stage, index in zip(stages, from_the_end, strict=True):
        if not -depth <= index < 0:
            known = f"the student has {ours} maps and the teacher {theirs}, paired from the deepest (-1) to -{depth}"
            raise UnderstudyError(f"method.stages: there is no pair of maps at {stage}: {known}")
    if len(set(from_the_end)) != len(from_the_end):
        raise UnderstudyError("method.stages names a stage twice")
    return tuple(zip(from_the_end, weights, strict=True))


def at_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """``|n(f_s) - n(f_t)|^2`` averaged over ``B * H * W``; ``n``: mean over channels of squares, to length 1 (Zagoruyko 2017).

    Args:
        student_map, teacher_map: ``[B, C, H, W]``; C may differ, and so may H and W.

    Returns:
        scalar in [0, 2 / (H * W)], H and W the smaller ones; the same for any order of the channels and any positive scale.
    """
    student_map, teacher_map = same_size(student_map.float(), teacher_map.float())
    student = unit(student_map.square().mean(1).flatten(1))
    teacher = unit(teacher_map.square().mean(1).flatten(1))
    return (student - teacher).square().mean()


def same_size(student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor]:
    """Both ``[B, C, H, W]`` maps, average-pooled to the smaller height and the smaller width where these differ."""
    height, width = (min(pair) for pair in zip(student_map.shape[2:], teacher_map.shape[2:], strict=True))
    maps = (student_map, teacher_map)
    pooled = [m if m.shape[2:] == (height, width) else F.adaptive_avg_pool2d(m, (height, width)) for m in maps]
    return pooled[0], pooled[1]


def unit(vectors: Tensor) -> Tensor:
    """Vectors ``[..., D]`` scaled to length 1; a zero vector stays zero, and its gradient stays small.

    ``F.normalize`` divides by a length of 1e-12 there and gives a gradient as large.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


@dataclass(frozen=True)
class ATConfig(StagesConfig):
    """Options of attention transfer."""

    weight: float = 1000.0
    """Weight of the term."""


class AT(Method):
    """The founding loss and the distance between attention maps, stage by stage."""

    config_class = ATConfig
    config: ATConfig
    needs = "features"
    reference = "Zagoruyko and Komodakis 2017, Paying More Attention to Attention"

    def __init__(self, student: Classifier, config: ATConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = [share * at_loss(student.features[stage], teacher.features[stage]) for stage, share in self.stages]
        return {"at": self.config.weight * torch.stack(parts).sum()}
