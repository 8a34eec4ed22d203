"""Our own loop as a contender: its data, its epochs, and a cache that is already warm. Every
benchmark of training uses it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from understudy.config.schema import AugmentConfig, DataConfig, TrainConfig
from understudy.data import load_dataset
from understudy.data.dataset import Split
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.events import EpochResult
from understudy.methods import build_method, method_config
from understudy.methods.base import MethodContext
from understudy.models import build_model
from understudy.models.base import Classifier, Outputs
from understudy.teachers.base import Teacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.frozen import FrozenTeacher
from understudy.teachers.output_store import OutputStore, encode_rows
from understudy.training.device import make_fabric, resolve_precision
from understudy.training.loop import train_steps
from understudy.training.setup import make_batches

NUM_CLASSES = 10
CPU = torch.device("cpu")
PRECISION = resolve_precision("auto", CPU)
"""What ``precision: auto`` is on this machine."""
EXAMPLE = Outputs(torch.zeros(2, NUM_CLASSES))


def training_data(images: int, path: str | None = None) -> TrainingData:
    """So many 32 x 32 images: random bytes, or the first of CIFAR-10 at ``path``. Two more stand in
    for validation."""
    if path is None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(
            256, (images + 2, 32, 32, 3), dtype=torch.uint8, generator=generator
        ).permute(0, 3, 1, 2)
        everything = Split(pixels, torch.randint(NUM_CLASSES, (images + 2,), generator=generator))
    else:
        everything = load_dataset("cifar10", path).train.take(torch.arange(images + 2))
    rows = torch.arange(images)
    config = DataConfig(augment=AugmentConfig(view_seed=0))
    names = tuple(map(str, range(NUM_CLASSES)))
    train, val = everything.take(rows), everything.take(torch.tensor([images, images + 1]))
    return TrainingData(
        "cifar10" if path else "random", train, val, rows, names, config, f"{path} {images}"
    )


def network(name: str, seed: int = 0, **options: object) -> Classifier:
    """Fresh weights, the same for the same seed."""
    torch.manual_seed(seed)
    return build_model(name, NUM_CLASSES, options=options)


def live_teacher(name: str) -> FrozenTeacher:
    """An untrained teacher (its time does not depend on its weights), as a run would use it:
    channels-last, best precision."""
    model = network(name)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FrozenTeacher(model, precision=PRECISION)


def batches_of(data: TrainingData, batch_size: int) -> TrainBatches:
    """The batches that a run and its cached teacher share."""
    return TrainBatches(data.train, data.config, batch_size, 0, CPU)


def cached_teacher(
    teacher: Teacher, batches: TrainBatches, folder: Path, *, warm: bool
) -> CachedTeacher:
    """A cache that is empty, or one in which every view of every image is kept already.

    The warm one holds random logits: reading them takes as long as reading true ones, and filling
        it takes no teacher.
    """
    images, views = batches.policy.num_images, batches.policy.num_views
    cached = CachedTeacher(
        teacher, batches, OutputStore(folder, {"what": "a benchmark"}, images, NUM_CLASSES, views)
    )
    if warm:
        rows = cached.store.open(0)
        rows[:] = encode_rows(torch.randn(len(rows), NUM_CLASSES))
    return cached


def our_steps(
    student: Classifier,
    data: TrainingData,
    batch_size: int,
    *,
    method: str = "ce",
    teacher: Teacher | None = None,
    batches: TrainBatches | None = None,
    epochs: int = 100_000,
    seed: int = 0,
) -> Iterator[EpochResult | None]:
    """The loop itself: ``None`` before each epoch and after each step, then the epoch's result."""
    config = TrainConfig(epochs=epochs, batch_size=batch_size, schedule="constant", lr=1e-3)
    fabric = make_fabric("cpu", config.precision)
    built = build_method(
        method_config({"name": method}),
        student,
        MethodContext(NUM_CLASSES, data.train.labels, epochs, 0.0, EXAMPLE, EXAMPLE),
    )
    batches = batches or make_batches(data, config, seed, fabric)
    return train_steps(built, data, config, fabric, teacher=teacher, batches=batches)


def our_epochs(
    student: Classifier, data: TrainingData, batch_size: int, **options: Any
) -> Callable[[], float]:
    """A function that trains for one more epoch each time and returns its wall seconds; arguments
    as for :func:`our_steps`.

    All of the loop is inside: drawing views, asking the teacher ahead, totals, and validation (on
        two images).
    """
    running = our_steps(student, data, batch_size, **options)

    def epoch() -> float:
        began = time.perf_counter()
        while next(running) is None:
            pass
        return time.perf_counter() - began

    return epoch
