"""What methods that compare stage maps share: which maps are paired, and how maps are matched."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UnderstudyError
from understudy.methods.base import MethodConfig, MethodContext, require_features


@dataclass(frozen=True)
class StagesConfig(MethodConfig):
    """Options of methods that compare stage maps."""

    stages: tuple[int, ...] = ()
    """Which of the student's maps, 0 the shallowest and -1 the deepest; each is compared with the
    teacher's map that is as far from its own deep end. By default all that both networks have,
    except the first (a stem)."""
    stage_weights: tuple[float, ...] = ()
    """One weight for each of these stages; by default all 1."""


def paired_stages(config: StagesConfig, context: MethodContext) -> tuple[tuple[int, float], ...]:
    """The stages to compare, as (index below 0 that serves student and teacher alike, weight).

    Raises:
        UnderstudyError: if a network shows no maps, a stage is not there in both, or the weights do
            not match the stages.
    """
    require_features(config.name, context)
    assert context.teacher_example is not None
    own, teacher = len(context.student_example.features), len(context.teacher_example.features)
    depth = min(own, teacher)
    stages = config.stages or tuple(range(-max(depth - 1, 1), 0))
    weights = config.stage_weights or (1.0,) * len(stages)
    if len(weights) != len(stages):
        raise UnderstudyError(
            f"method.stage_weights needs {len(stages)} numbers, one for each stage, "
            f"not {len(weights)}"
        )
    from_the_end = [stage - own if stage >= 0 else stage for stage in stages]
    for stage, index in zip(stages, from_the_end, strict=True):
        if not -depth <= index < 0:
            raise UnderstudyError(
                f"method.stages: there is no pair of maps at {stage}: the student has {own} maps "
                f"and the teacher {teacher}, paired from the deepest (-1) to -{depth}"
            )
    if len(set(from_the_end)) != len(from_the_end):
        raise UnderstudyError("method.stages names a stage twice")
    return tuple(zip(from_the_end, weights, strict=True))


def match_spatial(student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor]:
    """Both ``[B, C, H, W]`` maps, average-pooled to the smaller height and the smaller width."""
    height, width = (
        min(pair) for pair in zip(student_map.shape[2:], teacher_map.shape[2:], strict=True)
    )
    maps = (student_map, teacher_map)
    pooled = [
        m if m.shape[2:] == (height, width) else F.adaptive_avg_pool2d(m, (height, width))
        for m in maps
    ]
    return pooled[0], pooled[1]


def l2_normalize(vectors: Tensor) -> Tensor:
    """Vectors ``[..., D]`` scaled to length 1; a zero vector stays zero.

    ``F.normalize`` divides by a length of 1e-12 there and gives a gradient as large.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def require_norm_samples(name: str, feature_map: Tensor) -> None:
    """Refuse a map that holds one value per channel: batch norm cannot be trained on it.

    Raises:
        UnderstudyError: for one image with a 1x1 map.
    """
    if feature_map.shape[0] * feature_map.shape[2] * feature_map.shape[3] < 2:
        raise UnderstudyError(
            f"{name} trains a batch norm on a 1x1 map, which needs at least 2 images in a batch: "
            "set train.drop_last=true or another train.batch_size"
        )
