"""Small worlds for tests: data that can be learnt in seconds, networks of a few weights,
observers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.api import Teacher
from understudy.config.parse import parse
from understudy.config.schema import AugmentConfig, DataConfig, RunConfig
from understudy.data.dataset import Split
from understudy.data.decoding import Decoding
from understudy.data.prepare import TrainingData
from understudy.data.sources.base import Arrays, SourceReader
from understudy.data.spec import size_of
from understudy.events import SILENT, EpochResult, Observer, Progress
from understudy.models.base import Classifier, Outputs
from understudy.runs.results import RunResults

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def tiny_split(
    num_images: int = 24, size: int | tuple[int, int] = 8, num_classes: int = 3, seed: int = 0
) -> Split:
    """Dim noise (0..99) in which class k is bright in channel k: uint8 ``[N, 3, H, W]``, NHWC."""
    assert num_classes <= 3
    height, width = (size, size) if isinstance(size, int) else size
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_images) % num_classes
    shape = (num_images, height, width, 3)
    images = torch.randint(0, 100, shape, dtype=torch.uint8, generator=rng)
    images[torch.arange(num_images), :, :, labels] += 100
    return Split(images.permute(0, 3, 1, 2), labels)


def tiny_config(padding: int = 1, flip: bool = True, **augment: object) -> DataConfig:
    """Normalisation that differs between channels; ``augment`` are fields of the augmentation."""
    return DataConfig(
        mean=MEAN, std=STD, augment=AugmentConfig(padding=padding, flip=flip, **augment)
    )


def tiny_data(
    num_images: int = 24,
    size: int | tuple[int, int] = 8,
    num_classes: int = 3,
    seed: int = 0,
    **augment: object,
) -> TrainingData:
    """Training images, and six others for validation."""
    train = tiny_split(num_images, size, num_classes, seed)
    val = tiny_split(6, size, num_classes, seed + 1000)
    names = tuple("abc"[:num_classes])
    rows, config = torch.arange(num_images), tiny_config(**augment)
    return TrainingData("tiny", train, val, rows, names, config, f"tiny-{seed}")


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
    """Random weights and running statistics away from 0 and 1, in training mode."""
    rng = torch.random.get_rng_state()
    torch.manual_seed(seed)
    net = TinyNet(num_classes)
    net.bn.running_mean.normal_()
    net.bn.running_var.uniform_(0.5, 2)
    torch.random.set_rng_state(rng)
    return net


def untrained(network: nn.Module) -> Teacher:
    """An untrained network as a teacher, fed images as :func:`tiny_data` normalises them."""
    return Teacher(network, mean=MEAN, std=STD, min_accuracy=0.0)


def write_colours(path: Path, contrast: int = 80, size: tuple[int, int] = (16, 16)) -> Path:
    """An npz file of sixty training and thirty test images, three classes that differ by colour.

    ``contrast`` is how much brighter a class's own channel is.
    """
    rng = np.random.default_rng(0)

    def part(num: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(num) % 3
        pixels = rng.integers(0, 120, (num, *size, 3), dtype=np.uint8)
        pixels[np.arange(num), :, :, labels] += contrast
        return pixels, labels

    (x_train, y_train), (x_test, y_test) = part(60), part(30)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@dataclass
class SeenEvents:
    """An observer that keeps everything, for tests to look at."""

    steps: list[Progress] = field(default_factory=list)
    epochs: list[tuple[str, EpochResult]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def expect(self, epochs: int, training: str = "") -> None: ...

    def progress(self, progress: Progress, training: str = "") -> None:
        self.steps.append(progress)

    def epoch(self, result: EpochResult, training: str = "") -> None:
        self.epochs.append((training, result))

    def message(self, line: str) -> None:
        self.lines.append(line)

    def counts(self) -> list[tuple[str, int, int]]:
        """(what, done, total) of every progress event."""
        return [(step.detail, step.done, step.total) for step in self.steps]


def read(
    reader: SourceReader,
    image_size: int | tuple[int, int] | None = None,
    observer: Observer = SILENT,
) -> Arrays:
    """Everything that a reader reads, in memory."""
    return reader.read(Decoding(size_of(image_size), observer=observer))


def config_for(images: Path, **changes: Any) -> RunConfig:
    """A recipe for the colours that trains for seconds; ``changes`` replace whole sections."""
    values: dict[str, Any] = {
        "name": "colours",
        "data": {
            "source": "npz",
            "path": str(images),
            "val_fraction": 0.2,
            "augment": {"padding": 1},
        },
        "teacher": {
            "model": {"name": "fast_teacher", "options": {"widths": [8, 8, 8], "stem_width": 4}}
        },
        "student": {"model": {"name": "founding_student"}},
        "train": {"epochs": 2, "batch_size": 16, "lr": 3e-3},
        "seeds": [0, 1],
        "benchmark": {"batch_sizes": [1, 2], "repeats": 2, "warmup": 1},
    }
    values |= changes
    # A teacher of two epochs is often worse than its student, which is not what tests are about.
    if isinstance(values["teacher"], dict):
        values["teacher"] = {"go_on": True} | values["teacher"]
    return parse(RunConfig, values)


def numbers(results: RunResults) -> dict[str, Any]:
    """What must not depend on how the work was spread."""
    return {
        arm: [(r.seed, r.val, r.test) for r in entry.runs] for arm, entry in results.arms.items()
    }
