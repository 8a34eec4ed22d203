"""Which backend is fastest here: each trains the real student for a few steps, on made-up images of the real shape."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from understudy.arm import build, spec_of, weights_path
from understudy.checkpoint import save_weights
from understudy.config import RunConfig
from understudy.data.training import TrainingData
from understudy.errors import UnderstudyError
from understudy.models import deployed
from understudy.sweep.backend import Backend, Epoch, Failed, Training

_STEPS = 8
"""Steps in an epoch of the trial run."""
_EPOCHS = 3
"""The first of them warms up and is not counted."""
_MOST = {"cpu": 8, "cuda": 32}
"""Trainings at once in the trial run, however many a backend would like."""


def measure_backends(
    config: RunConfig,
    data: TrainingData,
    open_them: dict[str, Callable[[], Backend]],
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
    """Train as many students at once as each backend likes, and see how fast they get on together.

    Args:
        config: a trial's configuration.
        data: whose shape, classes and normalisation the made-up images have.
        open_them: backend -> what makes it.
        device: ``cpu`` or ``cuda``: how many students there are worth training at once.
        say: told why a backend is left out.

    Returns:
        backend -> images per second, of all students together, without start-up and first epoch. Backends that are not in
        this installation, or cannot train this student, are left out.

    Raises:
        UnderstudyError: if none can.
    """
    rates = {}
    with tempfile.TemporaryDirectory(prefix="understudy-measure-") as folder:
        short = _short(config, data, Path(folder), _MOST[device])
        for name, open_it in open_them.items():
            try:
                with open_it() as backend:
                    rates[name] = _rate(backend, short, Path(folder) / name, _MOST[device])
            except UnderstudyError as error:
                say(f"the backend {name} is left out: {error}")
    if not rates:
        raise UnderstudyError("no backend can train this student: choose one by --backend to see why")
    return rates


def _short(config: RunConfig, data: TrainingData, folder: Path, most: int) -> RunConfig:
    """The configuration on a few made-up images, with a teacher that knows nothing and costs what the real one costs."""
    rng = np.random.default_rng(0)
    channels, height, width = data.image_shape

    def part(number: int) -> tuple[np.ndarray, np.ndarray]:
        number = max(number, 2 * data.num_classes)
        pixels = rng.integers(0, 256, (number, height, width, channels), dtype=np.uint8)
        return pixels, np.arange(number) % data.num_classes

    fraction = 0.1
    (x_train, y_train), (x_test, y_test) = part(round(_STEPS * config.train.batch_size / (1 - fraction))), part(1)
    np.savez(folder / "images.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    if len(x_train) * fraction < data.num_classes:
        fraction = 0.5  # so that each class has an image on both sides of the cut
    short = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, source="npz", path=str(folder / "images.npz"), image_size=None, val_fraction=fraction
        ),
        train=dataclasses.replace(config.train, epochs=_EPOCHS),
        teacher=dataclasses.replace(config.teacher, path=None, members=()),
        assistants=(),
    )
    torch.manual_seed(0)
    for name in dict.fromkeys(spec_of(short, "teacher", seed).name for seed in range(most)):
        teacher = build(config.teacher.model, data, config.teacher.stages)
        save_weights(weights_path(folder, name), deployed(teacher))
    return short


def _rate(backend: Backend, config: RunConfig, folder: Path, most: int) -> float:
    number = min(backend.capacity, most)
    trainings = [
        Training(f"measure-seed{seed}", config, "distilled", seed, folder / str(seed), folder.parent, str(folder / "cache"))
        for seed in range(number)
    ]
    backend.submit(trainings)
    times: dict[str, list[float]] = {training.name: [] for training in trainings}
    ended = 0
    while ended < number:
        for event in backend.wait():
            if isinstance(event, Failed):
                raise UnderstudyError(event.reason)
            if isinstance(event, Epoch):
                times[event.training].append(time.perf_counter())
            else:
                ended += 1
    images = _STEPS * config.train.batch_size * (_EPOCHS - 1) * number
    return images / busy_seconds([(each[0], each[-1]) for each in times.values()])


def busy_seconds(intervals: Sequence[tuple[float, float]]) -> float:
    """How long at least one of the intervals was open: side by side counts once, one after the other adds up."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return max(total, 1e-9)
