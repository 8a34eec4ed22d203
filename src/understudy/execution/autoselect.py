"""The fastest backend here: each trains the real student briefly, on random images."""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from understudy.config.schema import RunConfig
from understudy.cores import available_cores
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.execution.backend import Backend, Epoch, Failed, Training
from understudy.models import deployed
from understudy.runs.folder import RunFolder
from understudy.runs.networks import build
from understudy.runs.plan import RunPlan, resolve_plan
from understudy.training.weights import save_weights

_STEPS = 8
"""Steps in an epoch of the trial run."""
_EPOCHS = 4
"""The first warms up; the last ends in evaluating and writing the student. Neither counts."""
_MOST = {"cpu": 16, "cuda": 32}
"""Trainings at once in the trial run, even if a backend has room for more."""


def measure_backends(
    config: RunConfig,
    data: TrainingData,
    openers: Mapping[str, Callable[[], Backend]],
    device: str = "cpu",
    observer: Observer = SILENT,
    *,
    planned: int,
) -> dict[str, float]:
    """Train as many students at once as each backend has room for, and measure their speed.

    Args:
        config: a trial's configuration; its seeds are trained in turn, as in the sweep, because
            trainings of one seed share batches.
        data: the random images have its shape, classes and normalisation.
        openers: backend -> a function that makes it.
        device: ``cpu`` or ``cuda``: it limits the students at once.
        observer: gets a line for each backend that is left out.
        planned: how many trainings the sweep has; no backend is measured with more.

    Returns:
        backend -> images per second of all students together, without start-up, labelling, first
        and last epoch. Backends that are not in this installation, or cannot train this student,
        are left out.

    Raises:
        UnderstudyError: if none can.
    """
    rates = {}
    with tempfile.TemporaryDirectory(prefix="understudy-measure-") as name:
        folder, most = Path(name), min(_MOST[device], planned)
        short = _short_plan(config, data, folder)
        for backend_name, opener in openers.items():
            try:
                with opener() as backend:
                    rates[backend_name] = _rate(backend, short, folder / backend_name, most)
            except UnderstudyError as error:
                observer.message(f"the backend {backend_name} is left out: {error}")
    if not rates:
        raise UnderstudyError(
            "no backend can train this student: choose one by --backend to see why"
        )
    return rates


def _short_plan(config: RunConfig, data: TrainingData, folder: Path) -> RunPlan:
    """The run on a few random images, with an untrained teacher of the same cost."""
    rng = np.random.default_rng(0)
    channels, height, width = data.image.shape

    def images(number: int) -> tuple[np.ndarray, np.ndarray]:
        number = max(number, 2 * data.num_classes)
        pixels = rng.integers(0, 256, (number, height, width, channels), dtype=np.uint8)
        return pixels, np.arange(number) % data.num_classes

    val_fraction = 0.1
    x_train, y_train = images(round(_STEPS * config.train.batch_size / (1 - val_fraction)))
    x_test, y_test = images(1)
    path = folder / "images.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    if len(x_train) * val_fraction < data.num_classes:
        val_fraction = 0.5  # so that each class has an image on both sides of the split
    short = replace(
        config,
        data=replace(
            config.data, source="npz", path=str(path), image_size=None, val_fraction=val_fraction
        ),
        train=replace(config.train, epochs=_EPOCHS, stop_epoch=None),
        teacher=replace(config.teacher, path=None, classes=None, head="own", members=()),
        assistants=(),
    )
    torch.manual_seed(0)
    plan = resolve_plan(short)
    for name in dict.fromkeys(plan.arm_run("teacher", seed).name for seed in config.seeds):
        teacher = build(config.teacher.model, data, config.teacher.stages, config.teacher_inputs)
        save_weights(RunFolder(folder).weights(name), deployed(teacher))
    return plan


def _rate(backend: Backend, plan: RunPlan, folder: Path, most: int) -> float:
    """Images per second of all students together."""
    config = plan.config
    number = min(backend.capacity, most)
    # A first round starts the processes, compiles, and labels the views that the second one reuses.
    few = min(number, max(len(available_cores()), len(config.seeds)))
    _epoch_ends(backend, plan, folder / "first", few)
    ends = _epoch_ends(backend, plan, folder / "second", number)
    images = _STEPS * config.train.batch_size * (_EPOCHS - 2)
    # The speed of each one while all are running: these add up.
    return sum(images / max(each[-2] - each[0], 1e-9) for each in ends)


def _epoch_ends(backend: Backend, plan: RunPlan, folder: Path, number: int) -> list[list[float]]:
    """Train some students at once: for each the times at which its epochs ended, in seconds."""
    ends: dict[str, list[float]] = {}
    trainings = []
    for n, seed in zip(range(number), itertools.cycle(plan.config.seeds), strict=False):
        name = f"measure-{folder.name}{n}"
        ends[name] = []
        run, own = plan.arm_run("distilled", seed), RunFolder(folder / str(n))
        teachers, cache = RunFolder(folder.parents[1]), str(folder.parent / "cache")
        trainings.append(Training(name, plan, run, own, teachers, cache))
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
