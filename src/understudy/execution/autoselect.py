"""Which backend is fastest here: each trains the real student for a few steps, on made-up images of the real shape."""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.execution.backend import Backend, Epoch, Failed, Training
from understudy.execution.workers import available_cores
from understudy.models import deployed
from understudy.runs.folder import weights_path
from understudy.runs.networks import build
from understudy.runs.plan import spec_of
from understudy.training.weights import save_weights

_STEPS = 8
"""Steps in an epoch of the trial run."""
_EPOCHS = 4
"""The first of them warms up; the last ends in evaluating and writing the student. Neither is counted."""
_MOST = {"cpu": 16, "cuda": 32}
"""Trainings at once in the trial run, however many a backend would like."""


def measure_backends(
    config: RunConfig,
    data: TrainingData,
    open_them: dict[str, Callable[[], Backend]],
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
    *,
    planned: int,
) -> dict[str, float]:
    """Train as many students at once as each backend likes, and see how fast they get on together.

    Args:
        config: a trial's configuration; its seeds are trained in turn, as in the sweep, for those of a seed share batches.
        data: whose shape, classes and normalisation the made-up images have.
        open_them: backend -> what makes it.
        device: ``cpu`` or ``cuda``: how many students there are worth training at once.
        say: told why a backend is left out.
        planned: how many trainings the sweep has, which no backend is measured beyond.

    Returns:
        backend -> images per second, of all students together, without start-up, labelling, first and last epoch. Backends
        that are not in this installation, or cannot train this student, are left out.

    Raises:
        UnderstudyError: if none can.
    """
    rates = {}
    with tempfile.TemporaryDirectory(prefix="understudy-measure-") as folder:
        short = _short(config, data, Path(folder))
        for name, open_it in open_them.items():
            try:
                with open_it() as backend:
                    rates[name] = _rate(
                        backend, short, Path(folder) / name, min(_MOST[device], planned)
                    )
            except UnderstudyError as error:
                say(f"the backend {name} is left out: {error}")
    if not rates:
        raise UnderstudyError(
            "no backend can train this student: choose one by --backend to see why"
        )
    return rates


def _short(config: RunConfig, data: TrainingData, folder: Path) -> RunConfig:
    """The configuration on a few made-up images, with a teacher that knows nothing and costs what the real one costs."""
    rng = np.random.default_rng(0)
    channels, height, width = data.image.shape

    def part(number: int) -> tuple[np.ndarray, np.ndarray]:
        number = max(number, 2 * data.num_classes)
        pixels = rng.integers(0, 256, (number, height, width, channels), dtype=np.uint8)
        return pixels, np.arange(number) % data.num_classes

    fraction = 0.1
    (x_train, y_train), (x_test, y_test) = (
        part(round(_STEPS * config.train.batch_size / (1 - fraction))),
        part(1),
    )
    np.savez(folder / "images.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    if len(x_train) * fraction < data.num_classes:
        fraction = 0.5  # so that each class has an image on both sides of the cut
    short = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            source="npz",
            path=str(folder / "images.npz"),
            image_size=None,
            val_fraction=fraction,
        ),
        train=dataclasses.replace(config.train, epochs=_EPOCHS, stop_epoch=None),
        teacher=dataclasses.replace(config.teacher, path=None, members=()),
        assistants=(),
    )
    torch.manual_seed(0)
    for name in dict.fromkeys(spec_of(short, "teacher", seed).name for seed in config.seeds):
        teacher = build(config.teacher.model, data, config.teacher.stages)
        save_weights(weights_path(folder, name), deployed(teacher))
    return short


def _rate(backend: Backend, config: RunConfig, folder: Path, most: int) -> float:
    number = min(backend.capacity, most)
    # A first round starts the processes, compiles, and labels the views that the second one shows again.
    _epoch_ends(
        backend,
        config,
        folder / "first",
        min(number, max(len(available_cores()), len(config.seeds))),
    )
    ends = _epoch_ends(backend, config, folder / "second", number)
    images = _STEPS * config.train.batch_size * (_EPOCHS - 2)
    # Each one's own pace beside the others; they are all under way at once, so that the paces add up.
    return sum(images / max(each[-2] - each[0], 1e-9) for each in ends)


def _epoch_ends(
    backend: Backend, config: RunConfig, folder: Path, number: int
) -> list[list[float]]:
    """Train some students at once; returns when each one's epochs ended, on a clock in seconds."""
    ends: dict[str, list[float]] = {}
    trainings = []
    for n, seed in zip(range(number), itertools.cycle(config.seeds), strict=False):
        name = f"measure-{folder.name}{n}"
        ends[name] = []
        cache = str(folder.parent / "cache")
        trainings.append(
            Training(name, config, "distilled", seed, folder / str(n), folder.parents[1], cache)
        )
    backend.submit(trainings)
    ended = 0
    while ended < number:
        for event in backend.wait():
            if isinstance(event, Failed):
                raise UnderstudyError(event.reason)
            if isinstance(event, Epoch):
                ends[event.training].append(time.perf_counter())
            else:
                ended += 1
    return list(ends.values())
