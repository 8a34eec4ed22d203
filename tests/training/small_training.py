"""A training of seconds that ends with the same bits wherever it runs: data, network, settings."""

from collections.abc import Iterator

import torch
from torch import nn

from understudy.config.schema import AugmentConfig, DataConfig, TrainConfig
from understudy.data.dataset import Split
from understudy.data.prepare import TrainingData
from understudy.events import EpochResult
from understudy.methods import CE, MethodConfig, MethodContext
from understudy.models.base import Classifier, Outputs
from understudy.training.device import make_fabric
from understudy.training.loop import train_epochs
from understudy.training.setup import make_batches


class Little(Classifier):
    """A convolution and a head; dropout uses the random stream, no batch norm, so ranks agree."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 3)
        self.feature_channels, self.embedding_dim = (8,), 8

    def outputs(self, images: torch.Tensor) -> Outputs:
        feature = self.conv(images).relu()
        embedding = feature.mean((2, 3))
        return Outputs(self.classify(embedding), (feature,), embedding)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(embedding))


def make_data(num: int = 40, seed: int = 0) -> TrainingData:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    images = torch.randint(0, 100, (num, 8, 8, 3), dtype=torch.uint8, generator=rng)
    images[torch.arange(num), :, :, labels] += 100
    split = Split(images.permute(0, 3, 1, 2), labels)
    config = DataConfig(augment=AugmentConfig(padding=1), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    return TrainingData(
        "little",
        split,
        split.take(torch.arange(12)),
        torch.arange(num),
        ("a", "b", "c"),
        config,
        "0" * 64,
    )


def make_method(data: TrainingData, dropout: float = 0.0) -> CE:
    torch.manual_seed(7)
    student = Little(dropout)
    example = Outputs(torch.zeros(2, 3))
    return CE(student, MethodConfig("ce"), MethodContext(3, data.train.labels, 2, 0.0, example))


SETTINGS = TrainConfig(
    epochs=3,
    batch_size=16,
    optimizer="sgd",
    lr=0.1,
    weight_decay=1e-3,
    schedule="cosine",
    precision="fp32",
)


def run(
    data: TrainingData,
    config: TrainConfig = SETTINGS,
    *,
    dropout: float = 0.0,
    device: str = "cpu",
    seed: int = 0,
    **options,
) -> tuple[CE, list[EpochResult]]:
    method = make_method(data, dropout)
    return method, list(start(method, data, config, device=device, seed=seed, **options))


def start(
    method: CE,
    data: TrainingData,
    config: TrainConfig = SETTINGS,
    *,
    device: str = "cpu",
    seed: int = 0,
    **options,
) -> Iterator[EpochResult]:
    """The loop over a method's epochs, at its beginning."""
    fabric = make_fabric(device, config.precision)
    batches = make_batches(data, config, seed, fabric)
    return train_epochs(method, data, config, fabric, batches=batches, **options)
