"""A pretrained teacher of one's own: EfficientNet-Lite0, as the package that has it builds it.

``understudy`` reaches it as ``lite0:lite0`` from this folder. Nothing in it is of understudy's
making: a module, a checkpoint, and what its authors fed it.
"""

from torch import nn

SIZE = 224
"""Pixels of a side, of the images that it was trained on."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of the [0, 1] images: its authors feed ``(x - 127) / 128``."""


def lite0(num_classes: int = 1000) -> nn.Module:
    """The network with fresh weights: 4.7 million parameters with ImageNet's 1,000 classes."""
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
    return network
