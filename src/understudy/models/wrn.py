"""Wide ResNets (Zagoruyko & Komodakis 2016): pre-activation blocks, no dropout.

They are named ``wrn_DEPTH_WIDTH``.
"""

from torch import Tensor, nn

from understudy.kernels.average import global_average
from understudy.kernels.norm_relu import norm_relu
from understudy.models.base import Classifier, Outputs


def wrn_16_1(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "WideResNet":
    """Wide ResNet of 16 layers and width 1: 175,066 parameters at 10 classes."""
    return WideResNet(16, 1, num_classes, in_channels, stem_stride)


def wrn_16_2(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "WideResNet":
    """Wide ResNet of 16 layers and width 2: 691,674 parameters at 10 classes."""
    return WideResNet(16, 2, num_classes, in_channels, stem_stride)


def wrn_16_4(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "WideResNet":
    """Wide ResNet of 16 layers and width 4: 2,748,890 parameters at 10 classes."""
    return WideResNet(16, 4, num_classes, in_channels, stem_stride)


def wrn_28_10(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "WideResNet":
    """Wide ResNet of 28 layers and width 10, for a GPU: 36,479,194 parameters at 10 classes."""
    return WideResNet(28, 10, num_classes, in_channels, stem_stride)


def wrn_40_1(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "WideResNet":
    """Wide ResNet of 40 layers and width 1: 563,930 parameters at 10 classes."""
    return WideResNet(40, 1, num_classes, in_channels, stem_stride)


def wrn_40_2(num_classes: int = 10, in_channels: int = 3, stem_stride: int = 1) -> "WideResNet":
    """Wide ResNet of 40 layers and width 2: 2,243,546 parameters at 10 classes."""
    return WideResNet(40, 2, num_classes, in_channels, stem_stride)


class WideResNet(Classifier):
    """A 3x3 stem and three stages of pre-activation blocks, 16, 32 and 64 times ``width`` wide.

    A pre-activation stage ends in a sum; the batch norm and ReLU that belong to it open the next
    stage. The stage maps are taken after those, so they are activations as in all other networks.

    Args:
        depth: number of layers; ``depth - 4`` must be a multiple of 6.
        width: factor of the stages' channels.
        num_classes: number of logits.
        in_channels: channels of the images.
        stem_stride: of the first convolution.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        num_classes: int,
        in_channels: int = 3,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        widths = (16, 16 * width, 32 * width, 64 * width)
        blocks = (depth - 4) // 6
        self.feature_channels = widths
        self.embedding_dim = widths[-1]
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, stem_stride, 1, bias=False)
        self.stages = nn.ModuleList()
        for index in range(3):
            first = PreActivationBlock(
                widths[index], widths[index + 1], stride=1 if index == 0 else 2
            )
            rest = [
                PreActivationBlock(widths[index + 1], widths[index + 1]) for _ in range(blocks - 1)
            ]
            self.stages.append(nn.ModuleList([first, *rest]))
        self.bn = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def outputs(self, images: Tensor) -> Outputs:
        hidden = self.conv1(images)
        features = []
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for index, block in enumerate(stage):
                assert isinstance(block, PreActivationBlock)
                activated = norm_relu(block.bn1, hidden)
                if index == 0:
                    features.append(activated)
                hidden = block(hidden, activated)
        last = norm_relu(self.bn, hidden)
        embedding = global_average(last)
        return Outputs(self.classify(embedding), (*features, last), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.fc(embedding)
        return logits


class PreActivationBlock(nn.Module):
    """``shortcut + conv(relu(bn(conv(relu(bn1(x))))))``.

    A shortcut that changes the shape is a 1x1 convolution of ``relu(bn1(x))``.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        same = in_channels == channels and stride == 1
        self.shortcut = None if same else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, inputs: Tensor, activated: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, channels, H / stride, W / stride]``.

        Args:
            inputs: the block's input.
            activated: ``relu(bn1(inputs))``.
        """
        hidden = norm_relu(self.bn2, self.conv1(activated))
        shortcut = inputs if self.shortcut is None else self.shortcut(activated)
        result: Tensor = shortcut + self.conv2(hidden)
        return result
