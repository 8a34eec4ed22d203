"""What changes over the epochs of a training: a number on a straight line, the share of images."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Schedule:
    """A number that changes linearly from the first epoch to the last."""

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


def bounds(value: float | Schedule) -> tuple[float, float]:
    """The smallest and the largest value over a run."""
    ends = (value.start, value.end) if isinstance(value, Schedule) else (value, value)
    return min(ends), max(ends)


@dataclass(frozen=True)
class Curriculum:
    """Easy images first: each epoch draws from a growing share of the images, easiest first.

    How easy an image is, is measured with the teacher. The number of steps in an epoch does not
    change, so the budget equals that of any other arm: while the share is below 1, images repeat
    within an epoch.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    by: Literal["loss", "confidence"] = "loss"
    """Measured on the unaugmented image: ``loss`` ranks by the teacher's cross-entropy with the
    label (low is easy), ``confidence`` by the teacher's largest probability (high is easy)."""
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
        """The share of the training images in each of ``epochs`` epochs: linear, up to 1."""
        rise = max(epochs // 2, 1) if self.over is None else self.over
        return tuple(
            min(1.0, self.start + (1 - self.start) * epoch / rise) for epoch in range(epochs)
        )
