"""The interface of everything that trains: one process, many, one fused program, or a cluster."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from understudy.errors import MachineError, UnderstudyError, one_line
from understudy.events import SILENT, EpochResult, Observer
from understudy.runs.folder import RunFolder
from understudy.runs.plan import ArmRun, RunPlan
from understudy.runs.results import ArmResult, read_result


@dataclass(frozen=True)
class Training:
    """One network to train: an arm of a run on one seed.

    Attributes:
        name: unique among what a backend is given, a folder name: ``distilled-seed0``,
            ``0003-seed1``.
        plan: of the run, or of the sweep's recipe with a trial's values in it.
        run: which arm of the plan, and which seed.
        folder: where ``arms/`` and ``models/`` of this training are written.
        teachers: holds the teacher, its members and the assistants.
        cache: folder of teacher outputs, shared; ``None``: the user's cache.
        final: open the test split at the end. In a sweep only the winner's trainings on fresh seeds
            do.
        resume: use the result or the checkpoint that is there; ``False`` trains from the start.
    """

    name: str
    plan: RunPlan
    run: ArmRun
    folder: RunFolder
    teachers: RunFolder
    cache: str | None = None
    final: bool = False
    resume: bool = True


@dataclass(frozen=True)
class Epoch:
    """A training has finished an epoch, or has read one from its checkpoint."""

    training: str
    result: EpochResult


@dataclass(frozen=True)
class Finished:
    """A training has ended; ``result`` is also in its ``result.json``."""

    training: str
    result: ArmResult


Cause = Literal["training", "machine", "process"]


@dataclass(frozen=True)
class Failed:
    """A training ended without a result.

    Attributes:
        training: its name.
        reason: one line for people.
        cause: ``training``: its settings, or a mistake in a program; ``machine``: the disk or a
            file on it, so that the training continues once that is put right; ``process``: its
            process died (out of memory?).
        trace: the traceback, for an error that no user is meant to see; otherwise empty.
    """

    training: str
    reason: str
    cause: Cause = "training"
    trace: str = ""


@dataclass(frozen=True)
class Stopped:
    """A training was stopped on request (pruned); its checkpoint stays."""

    training: str


Event = Epoch | Finished | Failed | Stopped


def load_finished(training: Training) -> Finished | None:
    """The result of a training that has ended before; ``None`` without one to resume.

    Raises:
        MachineError: if ``result.json`` is damaged.
    """
    path = training.folder.result(training.run.name)
    if not training.resume or not path.exists():
        return None
    try:
        return Finished(training.name, read_result(path))
    except UnderstudyError as error:
        raise MachineError(
            f"{path} is damaged: delete it, and --resume evaluates that training again"
        ) from error


def discard_earlier(training: Training) -> None:
    """Delete what an earlier run left of a training that starts from the beginning.

    A process that takes over from one that died then finds only what that one wrote.
    """
    if not training.resume:
        name = training.run.name
        training.folder.result(name).unlink(missing_ok=True)
        training.folder.checkpoint(name).unlink(missing_ok=True)


def failed(training: str, error: BaseException) -> Failed:
    """The event for an exception in a training."""
    expected = isinstance(error, (UnderstudyError, OSError, MemoryError))
    return Failed(
        training,
        one_line(error, with_type=True),
        "machine" if isinstance(error, (OSError, MachineError)) else "training",
        "" if expected else "".join(traceback.format_exception(error)),
    )


class Backend(ABC):
    """Trains what is submitted, continuing from the checkpoint of each training that resumes.

    A backend is a context manager; leaving it stops what still runs (checkpoints stay).
    """

    name: str
    capacity: int
    """How many trainings it is worth having submitted at once."""
    observer: Observer = SILENT
    """Gets the progress within epochs, if the backend knows it. Epochs are events."""

    @abstractmethod
    def submit(self, trainings: Sequence[Training]) -> None:
        """Accept trainings; returns at once."""

    @abstractmethod
    def wait(self) -> list[Event]:
        """Work or wait until something happens; empty without trainings, or after a time-out."""

    @abstractmethod
    def stop(self, training: str) -> None:
        """End a training after its current epoch; :class:`Stopped` follows, unless it ends
        before."""

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
