"""A small network that learns CIFAR fast, in the manner of the speed records.

They are Page 2018 and Jordan 2024 ("airbench"). Taken from them: two convolutions a stage with the
max-pool between convolution and batch norm, so that half of the work is done on a quarter of the
pixels; a global max-pool; a linear layer without bias whose logits are scaled down. ReLU replaces
their GELU, which is slow on a CPU.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from understudy.kernels.average import global_average
from understudy.kernels.norm_relu import norm_relu
from understudy.models.base import Classifier, Outputs


def fast_teacher(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: tuple[int, int, int] = (64, 128, 256),
    stem_width: int = 24,
    stem_kernel: int = 2,
    residual: bool = False,
    pool: str = "max",
    logit_scale: float = 0.125,
    stem_stride: int = 1,
) -> "FastNet":
    """A fast teacher: 1,161,272 parameters at 10 classes, 0.065 GMACs for a 32x32 image.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the three stages.
        stem_width: channels of the stem.
        stem_kernel: 2 (no padding: 32x32 becomes 31x31, then 15, 7 and 3) or 3 (padded: 32x32, then
            16, 8 and 4).
        residual: add a shortcut around the second convolution of each stage.
        pool: ``max`` or ``avg``, the global pooling before the linear layer.
        logit_scale: fixed factor of the logits, above 0; small ones start training gently.
        stem_stride: stride of the stem; 2 for images of about 64 to 128 pixels, 4 for larger ones.
    """
    return FastNet(
        num_classes,
        in_channels,
        widths,
        stem_width,
        stem_kernel,
        residual,
        pool,
        logit_scale,
        stem_stride,
    )


class FastNet(Classifier):
    """Stem and three stages of conv, max-pool 2, BN, ReLU, conv, BN, ReLU.

    The stage maps are the stem's and the stages' outputs.

    Raises:
        ValueError: for another ``stem_kernel`` or ``pool``, or a ``logit_scale`` of 0 or less.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        widths: tuple[int, int, int] = (64, 128, 256),
        stem_width: int = 24,
        stem_kernel: int = 2,
        residual: bool = False,
        pool: str = "max",
        logit_scale: float = 0.125,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if stem_kernel not in (2, 3):
            raise ValueError(f"stem_kernel must be 2 or 3, not {stem_kernel}")
        if pool not in ("max", "avg"):
            raise ValueError(f"pool must be max or avg, not {pool!r}")
        if logit_scale <= 0:
            raise ValueError(f"logit_scale must be above 0, not {logit_scale}")
        self.feature_channels = (stem_width, *widths)
        self.embedding_dim = widths[-1]
        self.pool = pool
        self.logit_scale = logit_scale
        self.stem = nn.Conv2d(
            in_channels,
            stem_width,
            stem_kernel,
            stem_stride,
            padding=1 if stem_kernel == 3 else 0,
        )
        self.stage1 = FastStage(stem_width, widths[0], residual)
        self.stage2 = FastStage(widths[0], widths[1], residual)
        self.stage3 = FastStage(widths[1], widths[2], residual)
        self.fc = nn.Linear(widths[2], num_classes, bias=False)

    def outputs(self, images: Tensor) -> Outputs:
        stem = F.relu(self.stem(images))
        stage1 = self.stage1(stem)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        embedding = stage3.amax((2, 3)) if self.pool == "max" else global_average(stage3)
        return Outputs(self.classify(embedding), (stem, stage1, stage2, stage3), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.fc(embedding) * self.logit_scale
        return logits


class FastStage(nn.Module):
    """``[B, in_channels, H, W]`` to ``[B, channels, H // 2, W // 2]``."""

    def __init__(self, in_channels: int, channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Pool before the norm: the norm and everything after it see a quarter of the pixels."""
        pooled = norm_relu(self.bn1, F.max_pool2d(self.conv1(inputs), 2))
        return norm_relu(self.bn2, self.conv2(pooled), add=pooled if self.residual else None)
