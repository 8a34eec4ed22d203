"""Students of about the legacy student's 106,826 parameters, and one slightly larger.

All pool after the batch norm, so that it still folds into its convolution, and before the ReLU;
have no bias before a batch norm; and end in one linear layer, where the legacy student spends 8,906
of its parameters on a two-layer head.
"""

from itertools import pairwise

from torch import Tensor, nn

from understudy.kernels.average import global_average
from understudy.kernels.norm_relu import norm_relu
from understudy.models.base import Classifier, Outputs

FourWidths = tuple[int, int, int, int]


def tiny_wide(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = (32, 32, 64, 128),
    dropout: float = 0.0,
    stem_stride: int = 1,
) -> "TinyPlain":
    """The legacy student with a wider first stage: 104,042 parameters at 10 classes.

    The head is one linear layer.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the four stages.
        dropout: dropout of the pooled features; 0 for none.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return TinyPlain(num_classes, in_channels, widths, dropout, stem_stride)


def tiny_large(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = (32, 48, 80, 152),
    dropout: float = 0.0,
    stem_stride: int = 1,
) -> "TinyPlain":
    """:func:`tiny_wide`, half as large again: 160,842 parameters at 10 classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the four stages.
        dropout: dropout of the pooled features; 0 for none.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return TinyPlain(num_classes, in_channels, widths, dropout, stem_stride)


def tiny_res(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = (16, 32, 48, 56),
    dropout: float = 0.0,
    stem_stride: int = 1,
) -> "TinyResidual":
    """Seven convolutions with shortcuts (He et al. 2016): 102,378 parameters at 10 classes.

    Every second convolution has one.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the stem and the three residual stages.
        dropout: dropout of the pooled features; 0 for none.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return TinyResidual(num_classes, in_channels, widths, dropout, stem_stride)


def tiny_dw(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = (32, 64, 128, 192),
    dropout: float = 0.0,
    stem_stride: int = 1,
) -> "TinySeparable":
    """Depthwise-separable convolutions (Howard et al. 2017): 103,242 parameters at 10 classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the stem and the three separable stages.
        dropout: dropout of the pooled features; 0 for none.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return TinySeparable(num_classes, in_channels, widths, dropout, stem_stride)


class _Tiny(Classifier):
    """Four stages, average pooling, one linear layer. Subclasses append their stages."""

    def __init__(self, num_classes: int, widths: FourWidths, dropout: float) -> None:
        super().__init__()
        self.feature_channels = tuple(widths)
        self.embedding_dim = widths[-1]
        self.stages = nn.ModuleList()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[-1], num_classes)

    def outputs(self, images: Tensor) -> Outputs:
        features = []
        hidden = images
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        embedding = global_average(hidden)
        return Outputs(self.classify(embedding), tuple(features), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(embedding))
        return logits


class TinyPlain(_Tiny):
    """Four 3x3 convolutions, a max-pool after each of the first three."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        widths: FourWidths,
        dropout: float,
        stem_stride: int = 1,
    ) -> None:
        super().__init__(num_classes, widths, dropout)
        for index, (before, after) in enumerate(pairwise((in_channels, *widths))):
            stride = stem_stride if index == 0 else 1
            self.stages.append(ConvPool(before, after, pool=index < 3, stride=stride))
        _he(self)


class TinyResidual(_Tiny):
    """A pooled 3x3 stem, then three stages of one plain and one residual 3x3 convolution.

    The first two stages pool.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        widths: FourWidths,
        dropout: float,
        stem_stride: int = 1,
    ) -> None:
        super().__init__(num_classes, widths, dropout)
        self.stages.append(ConvPool(in_channels, widths[0], pool=True, stride=stem_stride))
        for index, (before, after) in enumerate(pairwise(widths)):
            self.stages.append(
                nn.Sequential(ConvPool(before, after, pool=index < 2), Residual(after))
            )
        _he(self)


class TinySeparable(_Tiny):
    """A pooled 3x3 stem, then three stages of two depthwise-separable convolutions.

    The first two stages pool.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        widths: FourWidths,
        dropout: float,
        stem_stride: int = 1,
    ) -> None:
        super().__init__(num_classes, widths, dropout)
        self.stages.append(ConvPool(in_channels, widths[0], pool=True, stride=stem_stride))
        for index, (before, after) in enumerate(pairwise(widths)):
            self.stages.append(
                nn.Sequential(
                    Separable(before, after, pool=index < 2), Separable(after, after, pool=False)
                )
            )
        _he(self)


class ConvPool(nn.Module):
    """3x3 convolution of a stride, BN, max-pool 2 if ``pool``, ReLU."""

    def __init__(self, in_channels: int, channels: int, pool: bool, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, channels, H, W]``, H and W divided by the stride,
        and halved by the pool."""
        return norm_relu(self.bn, self.conv(inputs), pool=self.pool)


class Residual(nn.Module):
    """``relu(x + bn(conv3x3(x)))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, channels, H, W]`` to the same shape."""
        return norm_relu(self.bn, self.conv(inputs), add=inputs)


class Separable(nn.Module):
    """Depthwise 3x3 convolution, BN, ReLU, then 1x1 convolution, BN, max-pool 2 if ``pool``, ReLU.

    A shortcut goes around it if shapes allow.
    """

    def __init__(self, in_channels: int, channels: int, pool: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, 1, 1, groups=in_channels, bias=False
        )
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = pool
        self.shortcut = in_channels == channels and not pool

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, channels, H, W]``, H and W halved by the pool."""
        mixed = self.pointwise(norm_relu(self.bn1, self.depthwise(inputs)))
        return norm_relu(self.bn2, mixed, pool=self.pool, add=inputs if self.shortcut else None)


def _he(model: nn.Module) -> None:
    """He initialisation of the convolutions, for ReLU; a depthwise one has a fan-out of 9."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight.shape[0] * module.weight[0, 0].numel() / module.groups
            nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
