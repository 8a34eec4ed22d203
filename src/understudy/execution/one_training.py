"""One training in this process: what a worker of every backend does."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from understudy.events import SILENT, EpochResult, NamedObserver, Observer, StopTraining
from understudy.execution.backend import Epoch, Event, Finished, Stopped, Training, failed
from understudy.runs.arm import ArmOptions, run_arm
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
    plan, run = training.plan, training.run
    earlier = ArmOptions(device, threads, resume=True, cache=training.cache)
    for arm in plan.needed_by(run.arm):
        if not arm.is_shared:  # a generation; teacher and assistants have been trained before
            run_arm(
                plan,
                plan.arm_run(arm.name, run.seed),
                training.folder,
                earlier,
                final=False,
                teachers=training.teachers,
            )
    return run_arm(
        plan,
        run,
        training.folder,
        replace(earlier, resume=training.resume),
        observer,
        final=training.final,
        teachers=training.teachers,
    )


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
