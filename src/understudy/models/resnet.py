"""ResNets for small images: the CIFAR family of He et al. 2016 (section 4.2), and ResNet-18.

Shortcuts that change shape are 1x1 convolutions with batch norm (option B), as in the distillation
literature since CRD (Tian et al. 2020), whose names and widths these are; with them resnet20 has
272,474 parameters at 10 classes. ResNet-18 has a stem for 32x32 images.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from understudy.kernels.average import global_average
from understudy.kernels.norm_relu import norm_relu
from understudy.models.base import Classifier, Outputs

FourWidths = tuple[int, int, int, int]

_NARROW: FourWidths = (16, 16, 32, 64)
_X4 = (32, 64, 128, 256)


def resnet8(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = _NARROW,
    stem_stride: int = 1,
) -> "ResNet":
    """CIFAR ResNet of 8 layers, stages 16, 32 and 64 wide: 78,042 parameters at 10 classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the stem and the three stages.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return _cifar_resnet(8, widths, num_classes, in_channels, stem_stride)


def resnet14(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = _NARROW,
    stem_stride: int = 1,
) -> "ResNet":
    """CIFAR ResNet of 14 layers, stages 16, 32 and 64 wide: 175,258 parameters at 10 classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the stem and the three stages.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return _cifar_resnet(14, widths, num_classes, in_channels, stem_stride)


def resnet20(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: FourWidths = _NARROW,
    stem_stride: int = 1,
) -> "ResNet":
    """CIFAR ResNet of 20 layers, stages 16, 32 and 64 wide: 272,474 parameters at 10 classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the stem and the three stages.
        stem_stride: stride of the first convolution; 2 for images of about 64 to 128 pixels, 4 for
            larger ones.
    """
    return _cifar_resnet(20, widths, num_classes, in_channels, stem_stride)


def resnet32(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """CIFAR ResNet of 32 layers, stages 16, 32 and 64 wide: 466,906 parameters at 10 classes."""
    return _cifar_resnet(32, _NARROW, num_classes, in_channels, stem_stride)


def resnet44(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """CIFAR ResNet of 44 layers, stages 16, 32 and 64 wide: 661,338 parameters at 10 classes."""
    return _cifar_resnet(44, _NARROW, num_classes, in_channels, stem_stride)


def resnet56(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """CIFAR ResNet of 56 layers, stages 16, 32 and 64 wide: 855,770 parameters at 10 classes."""
    return _cifar_resnet(56, _NARROW, num_classes, in_channels, stem_stride)


def resnet110(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """CIFAR ResNet of 110 layers, stages 16, 32 and 64 wide: 1,730,714 parameters at 10 classes."""
    return _cifar_resnet(110, _NARROW, num_classes, in_channels, stem_stride)


def resnet8x4(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """CIFAR ResNet of 8 layers, four times as wide: 1,210,410 parameters at 10 classes."""
    return _cifar_resnet(8, _X4, num_classes, in_channels, stem_stride)


def resnet32x4(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """CIFAR ResNet of 32 layers, four times as wide: 7,410,730 parameters at 10 classes."""
    return _cifar_resnet(32, _X4, num_classes, in_channels, stem_stride)


def resnet18(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "ResNet":
    """ResNet-18 with a 3x3 stem and no max-pool: 11,173,962 parameters at 10 classes."""
    return ResNet((2, 2, 2, 2), (64, 64, 128, 256, 512), num_classes, in_channels, stem_stride)


def _cifar_resnet(
    depth: int, widths: Sequence[int], num_classes: int, in_channels: int, stem_stride: int
) -> "ResNet":
    # Three stages of two-convolution blocks, a stem convolution, a linear layer: depth = 6 n + 2.
    return ResNet(((depth - 2) // 6,) * 3, widths, num_classes, in_channels, stem_stride)


class ResNet(Classifier):
    """A 3x3 stem and stages of two-convolution residual blocks.

    Each stage after the first halves height and width. The stage maps are those of the stem and the
    stages, after their last ReLU.

    Args:
        blocks: number of blocks of each stage.
        widths: channels of the stem, then of each stage.
        num_classes: number of logits.
        in_channels: channels of the images.
        stem_stride: of the first convolution.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        in_channels: int = 3,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.feature_channels = tuple(widths)
        self.embedding_dim = widths[-1]
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList()
        for index, count in enumerate(blocks):
            stride = 1 if index == 0 else 2
            first = ResidualBlock(widths[index], widths[index + 1], stride)
            rest = [ResidualBlock(widths[index + 1], widths[index + 1]) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(first, *rest))
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def outputs(self, images: Tensor) -> Outputs:
        hidden = norm_relu(self.bn1, self.conv1(images))
        features = [hidden]
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        embedding = global_average(hidden)
        return Outputs(self.classify(embedding), tuple(features), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.fc(embedding)
        return logits


class ResidualBlock(nn.Module):
    """``relu(shortcut(x) + bn(conv(relu(bn(conv(x))))))``.

    The shortcut is the identity if shapes allow, else a 1x1 convolution with batch norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, channels, H / stride, W / stride]``."""
        hidden = norm_relu(self.bn1, self.conv1(inputs))
        return norm_relu(self.bn2, self.conv2(hidden), add=self.shortcut(inputs))
