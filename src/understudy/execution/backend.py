"""What runs the trainings of a sweep: one interface for one process, many, one fused program, or a cluster."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from understudy.config.schema import RunConfig
from understudy.errors import MachineError, UnderstudyError
from understudy.events import EpochResult
from understudy.runs.folder import arm_folder
from understudy.runs.results import ArmResult, read_result


@dataclass(frozen=True)
class Training:
    """One student to train: a trial's configuration on one seed.

    Attributes:
        name: unique in the sweep, a folder name: ``0003-seed1``.
        config: the recipe with the trial's values in it.
        arm: ``distilled``, or ``baseline`` for the plain student.
        seed: of initial weights, order, views and dropout.
        folder: where ``arms/``, ``models/`` and the checkpoint go (:func:`understudy.runs.arm.run_arm`'s ``run``).
        teachers: run directory that holds the teacher, trained once for the whole sweep.
        cache: folder of teacher outputs, shared; the user's cache where ``None``.
        final: open the test split at the end. Only the winner's trainings on fresh seeds do.
    """

    name: str
    config: RunConfig
    arm: str
    seed: int
    folder: Path
    teachers: Path
    cache: str | None = None
    final: bool = False


@dataclass(frozen=True)
class Epoch:
    """A training has finished an epoch (read from its checkpoint, where it was resumed)."""

    training: str
    result: EpochResult


@dataclass(frozen=True)
class Finished:
    """A training has ended: ``result`` is what :func:`understudy.runs.arm.run_arm` returns, also in ``result.json``."""

    training: str
    result: ArmResult


@dataclass(frozen=True)
class Failed:
    """A training ended without a result.

    Attributes:
        training: its name.
        reason: one line for people.
        machine: the disk or a file on it is at fault, and not the training, which goes on once that is put right.
    """

    training: str
    reason: str
    machine: bool = False


@dataclass(frozen=True)
class Stopped:
    """A training was stopped on demand (pruned); its checkpoint stays."""

    training: str


Event = Epoch | Finished | Failed | Stopped


def kept_result(training: Training) -> Finished | None:
    """What a training left behind that has ended before; such a one is read, not trained."""
    path = arm_folder(training.folder, f"{training.arm}-seed{training.seed}") / "result.json"
    if not path.exists():
        return None
    try:
        return Finished(training.name, read_result(path))
    except UnderstudyError as error:
        raise MachineError(str(error)) from error


def failed(training: str, error: BaseException) -> Failed:
    """The event that an exception in a training is."""
    return Failed(training, reason_of(error), isinstance(error, (OSError, MachineError)))


def reason_of(error: BaseException) -> str:
    """An exception as one line for people."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UnderstudyError) else f"{type(error).__name__}: {text}"[:300]


class Backend(ABC):
    """Trains what is submitted, ``capacity`` at a time, always going on from a checkpoint that is there.

    A backend is a context manager; leaving it stops what still runs (checkpoints stay).
    """

    name: str
    capacity: int
    """How many trainings it is worth having submitted at once."""

    @abstractmethod
    def submit(self, trainings: Sequence[Training]) -> None:
        """Take on trainings; returns at once."""

    @abstractmethod
    def wait(self) -> list[Event]:
        """Work, or wait, until something has happened; empty only where nothing was submitted, or after a short time-out."""

    @abstractmethod
    def stop(self, training: str) -> None:
        """End a training after its current epoch; a :class:`Stopped` event follows (or :class:`Finished`, if that came first)."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
