"""The time that a run will take, and the strongest teacher whose run fits into a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from understudy.config.schema import ModelConfig
from understudy.errors import UnderstudyError

FEWEST_EPOCHS = 10
"""Below this neither network has learnt what it can: no time is saved there."""
_LABELLING = 1 / 3
"""Cost of a forward pass, as a share of a training step's."""


@dataclass(frozen=True)
class Work:
    """What a run trains.

    Attributes:
        num_images: training images.
        epochs: of every network.
        num_seeds: of baseline and distilled student.
        workers: trainings at a time.
    """

    num_images: int
    epochs: int
    num_seeds: int
    workers: int

    def lasting(self, epochs: int) -> "Work":
        """The same with another number of epochs."""
        return replace(self, epochs=epochs)


@dataclass(frozen=True)
class Minutes:
    """Estimated wall time of the parts of a run, in minutes."""

    teacher: float
    labels: float
    students: float

    @property
    def total(self) -> float:
        """Of the whole run."""
        return self.teacher + self.labels + self.students


def minutes_of(work: Work, teacher_rate: float, student_rate: float) -> Minutes:
    """The time of a run.

    Args:
        work: what is trained.
        teacher_rate: images a second of the teacher's training, on all cores.
        student_rate: of one of several trainings at a time.
    """
    seen = work.epochs * work.num_images
    students = math.ceil(2 * work.num_seeds / work.workers)  # trainings one after the other
    return Minutes(
        teacher=seen / teacher_rate / 60,
        labels=_LABELLING * seen / teacher_rate / 60,
        students=students * seen / student_rate / 60,
    )


@dataclass(frozen=True)
class Choice:
    """A teacher whose run fits into the time.

    Attributes:
        teacher: the network.
        epochs: of every network; fewer than wanted if the time is short.
        minutes: of the run.
    """

    teacher: ModelConfig
    epochs: int
    minutes: Minutes


def choose(
    candidates: Sequence[ModelConfig],
    rate_of: Callable[[ModelConfig], float],
    student_rate: float,
    work: Work,
    limit: float,
) -> Choice:
    """The first teacher whose run fits, if need be with down to half of the wanted epochs.

    A student gains more from a better teacher than from its last epochs
    (``results/founding-causes``). If no teacher fits so, the last one with still fewer epochs.

    Args:
        candidates: from the strongest to the fastest.
        rate_of: measures a teacher's rate; called for one candidate after the other.
        student_rate: images a second of one student.
        work: with the wanted number of epochs.
        limit: minutes for the whole run.

    Raises:
        UnderstudyError: if even ten epochs take longer, with the time that they take.
    """
    assert candidates
    for number, teacher in enumerate(candidates, start=1):
        rate = rate_of(teacher)
        wanted = minutes_of(work, rate, student_rate).total
        epochs = min(work.epochs, int(work.epochs * limit / wanted))
        is_last = number == len(candidates)
        fewest = FEWEST_EPOCHS if is_last else max(FEWEST_EPOCHS, math.ceil(work.epochs / 2))
        if epochs >= fewest:
            return Choice(teacher, epochs, minutes_of(work.lasting(epochs), rate, student_rate))
    needed = math.ceil(wanted * FEWEST_EPOCHS / work.epochs)
    raise UnderstudyError(
        f"{work.num_images:,} training images take {needed:,} minutes here at the least: "
        f"give --minutes {needed}, a smaller --image-size, or fewer --seeds"
    )
