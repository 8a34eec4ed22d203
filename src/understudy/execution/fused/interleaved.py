"""Many students in one process, one step each in turn, on batches that are made once and answers that are asked once.

Each student runs the one loop of :mod:`understudy.training.loop` and has random generators of its own, put back before its turn, so
that it ends with the very bits that it would have trained alone, and its checkpoint is the one it would have written
alone. What is saved is everything that does not depend on the student: rendering, and the teacher.
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
    """Batches that several students take in step: each is rendered for the first who asks and handed to the others.

    A student that has fallen out of step gets batches of its own making: the same ones, since they depend on seed and epoch
    alone.
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
    """An iterator of batches of which the latest is kept."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches, self.step = batches, -1

    def at(self, step: int) -> Batch:
        if step != self.step:
            assert step == self.step + 1, "students that share batches must keep in step"
            self.batch, self.step = next(self.batches), step
        return self.batch


class SharedTeacher(Teacher):
    """A teacher who is asked once about each batch, however many students listen."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self._epoch: int | None = None
        self._asked: tuple[Batch, Outputs] | None = None

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        """Prepare the teacher for an epoch, if that is not the one it is prepared for."""
        if self._epoch != epoch:
            self.teacher.prepare(epoch, views, observer)
            self._epoch = epoch

    def outputs(self, batch: Batch) -> Outputs:
        """The teacher's outputs; for the batch it was last asked about, the same ones again."""
        if self._asked is None or self._asked[0] is not batch:
            self._asked = batch, self.teacher.outputs(batch)
        return self._asked[1]


class Turns:
    """A training from :func:`understudy.training.loop.train_steps`, taken a step at a time among others.

    Attributes:
        seconds: spent in its own turns so far.
        done: the last turn ended the training; its student holds the kept weights.
    """

    def __init__(self, steps: Iterator[EpochResult | None], device: torch.device) -> None:
        self.steps, self.device = steps, device
        self.seconds, self.done = 0.0, False
        self._generators: dict[str, torch.Tensor] | None = (
            None  # the loop seeds them itself in the first turn
        )

    def take(self) -> EpochResult | None:
        """One step: the epoch's result where that ended an epoch. Raises what the training raises."""
        began = time.perf_counter()
        if self._generators is not None:
            set_rng_state(self._generators, self.device)
        try:
            return next(self.steps)
        except StopIteration:
            self.done = True
            return None
        finally:
            self._generators = rng_state(self.device)
            self.seconds += time.perf_counter() - began

    def start(self) -> list[EpochResult]:
        """Set up, and read the checkpoint where there is one: the epochs that are done."""
        history = []
        while (result := self.take()) is not None:
            history.append(result)
        return history

    def close(self) -> None:
        """Leave it where it stands; its checkpoint is that of the last whole epoch."""
        if isinstance(self.steps, Generator):
            self.steps.close()


Key = TypeVar("Key")


def epoch_in_turns(turns: dict[Key, Turns]) -> Iterator[tuple[Key, EpochResult | Exception]]:
    """Take trainings that stand before the same epoch through it, a step of each in turn.

    Yields each one's result as it gets there, or what ended it; that leaves the others alone. Afterwards each stands before
    its next epoch, or is done.
    """
    running = dict(turns)
    while running:
        for key, turn in list(running.items()):
            try:
                result = turn.take()
                if result is not None:
                    turn.take()  # on to the pause before the next epoch, or to the end
            except Exception as error:
                del running[key]
                yield key, error
            else:
                if result is not None:
                    del running[key]
                    yield key, result
