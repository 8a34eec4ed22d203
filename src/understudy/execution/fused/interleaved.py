"""Students that take steps in turn in one process, on batches and teacher outputs made once.

Each student runs the one loop of :mod:`understudy.training.loop` and has its own random generators,
restored before its step: it ends with the bits of training alone, and so does its checkpoint. What
is saved is all that does not depend on the student: rendering batches, and the teacher.
"""

import time
from collections.abc import Generator, Iterator
from typing import TypeVar

import torch

from understudy.data.loader import Batch, TrainBatches
from understudy.data.views import Views
from understudy.events import SILENT, EpochResult, Observer
from understudy.models.base import Outputs
from understudy.teachers.base import Teacher
from understudy.training.state import rng_state, set_rng_state


class SharedBatches(TrainBatches):
    """Batches for several students at the same step: each is rendered for the first student only.

    A student at another step gets batches rendered for itself: the same ones, since they depend on
    seed and epoch alone.
    """

    _stream: "tuple[int, _Stream] | None" = None

    def epoch(self, epoch: int, views: Views) -> Iterator[Batch]:
        """The batches of one epoch; ``views`` must be those that the policy draws for it."""
        if self._stream is None or self._stream[0] != epoch or self._stream[1].step > 0:
            self._stream = epoch, _Stream(super().epoch(epoch, views))
        stream = self._stream[1]
        for step in range(len(self)):
            yield stream.at(step)


class _Stream:
    """An iterator of batches that keeps the latest."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches, self.step = batches, -1

    def at(self, step: int) -> Batch:
        if step != self.step:
            assert step == self.step + 1, "students that share batches must keep in step"
            self.batch, self.step = next(self.batches), step
        return self.batch


class SharedTeacher(Teacher):
    """A teacher that computes the outputs of each batch once for all students."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self._epoch: int | None = None
        self._latest: tuple[Batch, Outputs] | None = None

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        """Prepare the teacher for an epoch, unless it is prepared for that one."""
        if self._epoch != epoch:
            self.teacher.prepare(epoch, views, observer)
            self._epoch = epoch

    def outputs(self, batch: Batch) -> Outputs:
        """The teacher's outputs; for the latest batch the same ones again."""
        if self._latest is None or self._latest[0] is not batch:
            self._latest = batch, self.teacher.outputs(batch)
        return self._latest[1]


class StepwiseRun:
    """A training from :func:`understudy.training.loop.train_steps` that runs one step at a time.

    Attributes:
        seconds: spent in its own steps so far.
        done: the last step has ended the training; its student holds the weights to keep.
    """

    def __init__(self, steps: Iterator[EpochResult | None], device: torch.device) -> None:
        self.steps, self.device = steps, device
        self.seconds, self.done = 0.0, False
        # The loop seeds the generators itself in its first step.
        self._generators: dict[str, torch.Tensor] | None = None

    def advance(self) -> EpochResult | None:
        """One step: the epoch's result if it ended an epoch. Raises what the training raises."""
        start = time.perf_counter()
        if self._generators is not None:
            set_rng_state(self._generators, self.device)
        try:
            return next(self.steps)
        except StopIteration:
            self.done = True
            return None
        finally:
            self._generators = rng_state(self.device)
            self.seconds += time.perf_counter() - start

    def start(self) -> list[EpochResult]:
        """Set up, and read the checkpoint if there is one: the results of its epochs."""
        history = []
        while (result := self.advance()) is not None:
            history.append(result)
        return history

    def close(self) -> None:
        """End it at the current step; its checkpoint is that of the last whole epoch."""
        if isinstance(self.steps, Generator):
            self.steps.close()


Key = TypeVar("Key")


def round_robin_epoch(
    runs: dict[Key, StepwiseRun],
) -> Iterator[tuple[Key, EpochResult | Exception]]:
    """Take trainings that are before the same epoch through it, one step of each in turn.

    Yields each one's result when it gets there, or its error, which does not affect the others.
    Afterwards each is before its next epoch, or done.
    """
    running = dict(runs)
    while running:
        for key, run in list(running.items()):
            try:
                result = run.advance()
                if result is not None:
                    run.advance()  # to the pause before the next epoch, or to the end
            except Exception as error:
                del running[key]
                yield key, error
            else:
                if result is not None:
                    del running[key]
                    yield key, result
