"""What changes over the epochs of a training: a number that moves from one value to another, and which images are shown."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Schedule:
    """A number that moves in a straight line from its value in the first epoch to its last one."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    start: float
    """Value in epoch 0."""
    end: float
    """Value in the last epoch, and after ``over``."""
    over: int | None = None
    """Epochs it takes, the first and the last included; by default all of the run."""

    def __post_init__(self) -> None:
        if self.over is not None and self.over < 1:
            raise ValueError("over must be at least 1 epoch")

    def at(self, epoch: int, epochs: int) -> float:
        """The value in an epoch (from 0) of a run of ``epochs``."""
        steps = (self.over or epochs) - 1
        return self.end if epoch >= steps else self.start + (self.end - self.start) * epoch / steps


def value_at(value: float | Schedule, epoch: int, epochs: int) -> float:
    """A plain number, or a schedule's value in an epoch."""
    return value.at(epoch, epochs) if isinstance(value, Schedule) else value


def extremes(value: float | Schedule) -> tuple[float, float]:
    """The least and the greatest value that it takes."""
    ends = (value.start, value.end) if isinstance(value, Schedule) else (value, value)
    return min(ends), max(ends)


@dataclass(frozen=True)
class Curriculum:
    """Easy images first: each epoch draws from the images that the teacher finds easiest, a share that grows to all of them.

    An epoch keeps its number of steps, so that the budget is that of any other arm: while the share is below 1 its images
    are shown more than once.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    by: Literal["loss", "confidence"] = "loss"
    """Easy is a low cross-entropy of the teacher with the label, or a high probability of its own answer, on the plain image."""
    start: float = 0.3
    """Share of the training images in epoch 0, above 0."""
    over: int | None = None
    """The epoch (from 0) from which all images are shown; by default half of the run."""

    def __post_init__(self) -> None:
        if not 0 < self.start <= 1:
            raise ValueError("curriculum.start must lie in (0, 1]")
        if self.over is not None and self.over < 1:
            raise ValueError("curriculum.over must be at least 1 epoch")

    def shares(self, epochs: int) -> tuple[float, ...]:
        """The share of the training images in each epoch of a run of ``epochs``: rising in a straight line, 1 at the end."""
        rise = max(epochs // 2, 1) if self.over is None else self.over
        return tuple(
            min(1.0, self.start + (1 - self.start) * epoch / rise) for epoch in range(epochs)
        )
