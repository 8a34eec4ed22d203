"""A data set and networks small enough for any test: random bytes whose labels can be learnt, no files."""

import torch
from torch import Tensor, nn

from understudy.api import Teacher
from understudy.config.schema import AugmentConfig, DataConfig
from understudy.data.dataset import Split
from understudy.data.prepare import TrainingData
from understudy.models.base import Classifier, Outputs

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def tiny_split(num_images: int = 24, size: int = 8, num_classes: int = 3, seed: int = 0) -> Split:
    """Dim noise (0..99) in which class k is bright in channel k: uint8 ``[N, 3, size, size]`` in NHWC memory."""
    assert num_classes <= 3
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_images) % num_classes
    images = torch.randint(0, 100, (num_images, size, size, 3), dtype=torch.uint8, generator=rng)
    images[torch.arange(num_images), :, :, labels] += 100
    return Split(images.permute(0, 3, 1, 2), labels)


def tiny_config(padding: int = 1, flip: bool = True, **augment: object) -> DataConfig:
    """Normalisation with a different mean and std in each channel; ``augment`` are fields of the augmentation."""
    return DataConfig(
        mean=MEAN, std=STD, augment=AugmentConfig(padding=padding, flip=flip, **augment)
    )


def tiny_data(
    num_images: int = 24, size: int = 8, num_classes: int = 3, seed: int = 0, **augment: object
) -> TrainingData:
    """Training images with six others for validation."""
    train, val = (
        tiny_split(num_images, size, num_classes, seed),
        tiny_split(6, size, num_classes, seed + 1000),
    )
    names = tuple("abc"[:num_classes])
    return TrainingData(
        "tiny", train, val, torch.arange(num_images), names, tiny_config(**augment), f"tiny-{seed}"
    )


class TinyNet(Classifier):
    """Convolution, batch norm, ReLU, mean over the map, linear layer."""

    def __init__(self, num_classes: int = 3, channels: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        self.feature_channels, self.embedding_dim = (channels,), channels

    def outputs(self, images: Tensor) -> Outputs:
        feature = self.bn(self.conv(images)).relu()
        embedding = feature.mean((2, 3))
        return Outputs(self.classify(embedding), (feature,), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.fc(embedding)
        return logits


def tiny_net(seed: int = 0, num_classes: int = 3) -> TinyNet:
    """A network with these random weights and with running statistics away from 0 and 1, in training mode."""
    rng = torch.random.get_rng_state()
    torch.manual_seed(seed)
    net = TinyNet(num_classes)
    net.bn.running_mean.normal_()
    net.bn.running_var.uniform_(0.5, 2)
    torch.random.set_rng_state(rng)
    return net


def untrained(network: nn.Module) -> Teacher:
    """A network as a teacher although it knows nothing, fed images as :func:`tiny_data` has them."""
    return Teacher(network, mean=MEAN, std=STD, min_accuracy=0.0)
