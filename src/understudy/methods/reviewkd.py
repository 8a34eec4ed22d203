"""Knowledge review: deep stages of the student are fused into its shallow ones.

What it does: from the deepest level to the shallowest, an attention-based fusion (ABF) mixes the
student's map, narrowed by a 1x1 convolution, with the fused map of the level below it, enlarged by
nearest-neighbour upsampling; a 3x3 convolution then gives a map of the teacher's shape. Each level
adds the hierarchical context loss (HCL): mean squared error of the maps and of their averages over
4x4, 2x2 and 1x1 cells. The deepest level is the pooled embedding. The weight grows linearly over
``warmup_epochs``.
When to use it: the strongest of the multi-level feature methods in its paper's tables; needs
networks with several stages.
Cost: two or three convolutions per level in addition to the student, only while training; the
teacher runs live.
Options: ``weight``, ``warmup_epochs``, ``stages`` and ``stage_weights`` (which levels), ``pooled``
(the embedding as a further level, of weight 1).
Reference: Chen et al. 2021, Distilling Knowledge via Knowledge Review. (The authors take the maps
before the stage's last ReLU; here, as for every method, they are taken after it.)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodContext
from understudy.methods.feature_pairs import StagesConfig, paired_stages, require_norm_samples
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class ReviewKDConfig(StagesConfig):
    """Options of knowledge review."""

    weight: float = 1.0
    """Weight of the sum over levels."""
    warmup_epochs: int = 20
    """Epochs over which the weight grows linearly to its full value; 0 for none."""
    pooled: bool = True
    """Review from the pooled embedding on, as a level below the deepest stage."""


def hcl_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """The hierarchical context loss of one level (Chen et al. 2021).

    ``sum_i w_i * MSE(pool_i(student), pool_i(teacher)) / sum_i w_i``: the full maps with weight 1,
    then adaptively average-pooled to 4x4, 2x2 and 1x1 with weights 1/2, 1/4 and 1/8. A size that is
    not smaller than the map is left out, and the next one takes its weight.

    Args:
        student_map, teacher_map: ``[B, C, H, W]``, of one shape.

    Returns:
        scalar, at least 0; a constant difference d between the maps gives d^2 whatever their size.
    """
    loss = F.mse_loss(student_map, teacher_map)
    weight = total = 1.0
    for size in (4, 2, 1):
        if size >= student_map.shape[2]:
            continue
        weight /= 2
        total += weight
        pooled = F.adaptive_avg_pool2d(student_map, size), F.adaptive_avg_pool2d(teacher_map, size)
        loss = loss + weight * F.mse_loss(*pooled)
    return loss / total


class Fusion(nn.Module):
    """Attention-based fusion (ABF) of a student's stage with what the deeper levels made.

    Args:
        channels: of the student's map.
        mid_channels: of the fused maps, the same at every level.
        out_channels: of the teacher's map.
        fuse: False at the deepest level, which has nothing to be fused with.
    """

    def __init__(self, channels: int, mid_channels: int, out_channels: int, *, fuse: bool) -> None:
        super().__init__()
        narrow, out = (
            nn.Conv2d(channels, mid_channels, 1, bias=False),
            nn.Conv2d(mid_channels, out_channels, 3, 1, 1, bias=False),
        )
        for convolution in (narrow, out):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.narrow = nn.Sequential(narrow, nn.BatchNorm2d(mid_channels))
        self.attention = nn.Conv2d(2 * mid_channels, 2, 1) if fuse else None
        self.out = nn.Sequential(out, nn.BatchNorm2d(out_channels))

    def forward(
        self, student_map: Tensor, deeper: Tensor | None, size: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """The map of the teacher's shape, and the fused map for the next shallower level.

        Args:
            student_map: ``[B, channels, H, W]``.
            deeper: ``[B, mid_channels, h, w]``, the fused map of the level below.
            size: height and width of the teacher's map.
        """
        fused = self.narrow(student_map)
        if self.attention is not None:
            assert deeper is not None
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            share = torch.sigmoid(self.attention(torch.cat([fused, deeper], 1)))
            fused = fused * share[:, :1] + deeper * share[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.out(fused), fused


class ReviewKD(Method):
    """The base loss and the hierarchical context loss of every level."""

    config_class = ReviewKDConfig
    config: ReviewKDConfig
    needs = "features"
    reference = "Chen et al. 2021, Distilling Knowledge via Knowledge Review"

    def __init__(self, student: Classifier, config: ReviewKDConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        # Deep to shallow: the order of the review.
        self.stages = sorted(paired_stages(config, context), reverse=True)
        assert context.teacher_example is not None
        student_side, teacher_side = context.student_example, context.teacher_example
        if config.pooled and (student_side.embedding is None or teacher_side.embedding is None):
            raise UnderstudyError(
                "reviewkd starts from the pooled embedding, of which one network has none: "
                "set method.pooled=false"
            )
        self.level_weights = [1.0] * config.pooled + [weight for _, weight in self.stages]
        levels = list(zip(self._maps(student_side), self._maps(teacher_side), strict=True))
        mid_channels = min(512, levels[0][0].shape[1])
        self.fusions = nn.ModuleList(
            Fusion(student_map.shape[1], mid_channels, teacher_map.shape[1], fuse=number > 0)
            for number, (student_map, teacher_map) in enumerate(levels)
        )

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts: list[Tensor] = []
        deeper: Tensor | None = None
        for fusion, student_map, teacher_map, share in zip(
            self.fusions, self._maps(student), self._maps(teacher), self.level_weights, strict=True
        ):
            if self.training:
                require_norm_samples("reviewkd", student_map)
                require_norm_samples("reviewkd", teacher_map)
            reviewed, deeper = fusion(student_map, deeper, teacher_map.shape[2:])
            parts.append(share * hcl_loss(reviewed, teacher_map))
        warmup = self.config.warmup_epochs
        grown = min(1.0, (self.epoch + 1) / warmup) if warmup else 1.0
        return {"reviewkd": self.config.weight * grown * torch.stack(parts).sum()}

    def _maps(self, outputs: Outputs) -> list[Tensor]:
        """The levels' maps, deep to shallow."""
        maps = [outputs.features[stage].float() for stage, _ in self.stages]
        if self.config.pooled:
            assert outputs.embedding is not None
            maps.insert(0, outputs.embedding.float()[:, :, None, None])
        return maps
