"""One training in this process: what a worker of every backend does."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from understudy.events import SILENT, EpochResult, NamedObserver, Observer, StopTraining
from understudy.execution.backend import Epoch, Event, Finished, Stopped, Training, failed
from understudy.runs.arm import run_arm
from understudy.runs.plan import chain_of, needed_by, spec_of
from understudy.runs.results import ArmResult
from understudy.training.device import resolve_device

Post = Callable[[Event], bool]
"""Takes an event; whether the training should stop."""
Guard = Callable[[Training], contextlib.AbstractContextManager[Any]]
"""Held while a training runs."""


def on_cpu(device: str) -> bool:
    """Whether trainings on this device run on the CPU."""
    return resolve_device(device).type == "cpu"


def run_training(
    training: Training, device: str, threads: int | None, observer: Observer = SILENT
) -> ArmResult:
    """Train one network, continuing from its checkpoint or reading its result, and evaluate it.

    Args:
        training: what to train.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; ``None`` leaves their number unchanged.
        observer: of the training's own epochs, not of the generations before a born-again student.

    Returns:
        the contents of ``result.json``.
    """
    config, links = training.config, chain_of(training.config)
    # The generations of a born-again student come before it; teacher and assistants are there.
    own = [name for name in needed_by(links, training.arm) if not links[name].teaches_all]
    for name in (*own, training.arm):
        spec = spec_of(config, name, training.seed)
        result = run_arm(
            config,
            replace(spec, seed=training.seed) if name == training.arm else spec,
            training.folder,
            device,
            threads,
            training.resume or name != training.arm,
            training.cache,
            training.final and name == training.arm,
            observer if name == training.arm else SILENT,
            teachers=training.teachers,
        )
    return result


def run_to_event(
    training: Training,
    device: str,
    threads: int | None,
    post: Post,
    observer: Observer = SILENT,
    guard: Guard = contextlib.nullcontext,
) -> Event:
    """Train one network and turn its end, whatever it is, into an event.

    Args:
        training, device, threads: as for :func:`run_training`.
        post: called with an :class:`Epoch` after each epoch; the training stops if it returns true.
        observer: gets the progress within the epochs.
        guard: held while the training runs.
    """
    try:
        with guard(training):
            relay = _Relay(training.name, post, observer)
            return Finished(training.name, run_training(training, device, threads, relay))
    except StopTraining:
        return Stopped(training.name)
    except Exception as error:
        return failed(training.name, error)


class _Relay(NamedObserver):
    """Turns epochs into events."""

    def __init__(self, name: str, post: Post, observer: Observer) -> None:
        super().__init__(name, observer)
        self.post = post

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """Send it, and stop if that is requested."""
        if self.post(Epoch(self.name, result)):
            raise StopTraining
