"""What happens while work goes on, and who may follow it: one protocol for the whole package."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Phase = Literal["download", "scan", "decode", "label", "train", "measure", "check"]


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        phase: files are downloaded, images scanned, images decoded, views labelled by the teacher,
            batches trained on, networks timed, cache rows checked.
        done: units finished (images, views, steps, rounds, rows), from 0 to ``total``.
        total: all units of this piece of work.
        epoch: the epoch it belongs to, from 0; ``None`` outside a training.
        detail: what exactly, for people: a split's name, a folder.
    """

    phase: Phase
    done: int
    total: int
    epoch: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class EpochResult:
    """One epoch, reduced over all ranks.

    Attributes:
        epoch: from 0.
        lr: learning rate of the last step.
        losses: mean of each weighted term over the epoch's images, and their sum as ``loss``.
        train_accuracy: of the training batches, as augmented, in [0, 1].
        val_loss: mean cross-entropy on the validation split, in nats.
        val_accuracy: on the validation split, in [0, 1].
        seconds: wall time of the training part, without labelling and validation.
        images_per_second: over these seconds, of all ranks together; without the first step of a
            session, which compiles kernels and allocates memory.
        label_seconds: wall time of labelling ahead of the epoch; 0 for a live teacher.
        measures: what the method reports in addition to its losses (a discriminator's accuracy).
    """

    epoch: int
    lr: float
    losses: dict[str, float]
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_second: float
    label_seconds: float = 0.0
    measures: dict[str, float] = field(default_factory=dict)


class StopTraining(Exception):
    """Raised by an observer to end a training, after an epoch or within one."""


class Observer(Protocol):
    """Follows work: a progress bar, a log, a queue to another process.

    Methods return quickly and raise nothing but :class:`StopTraining`. ``training`` is the name of
    a training (``distilled-seed0``); empty for work that belongs to none.
    """

    def expect(self, epochs: int, training: str = "") -> None:
        """So many more epochs are to come (fewer, below 0); without a name, of any training."""

    def progress(self, progress: Progress, training: str = "") -> None:
        """A piece of work has advanced; may be called at every step."""

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """A training has finished an epoch."""

    def message(self, line: str) -> None:
        """One line for people."""


class Silent:
    """An observer that ignores everything."""

    def expect(self, epochs: int, training: str = "") -> None: ...

    def progress(self, progress: Progress, training: str = "") -> None: ...

    def epoch(self, result: EpochResult, training: str = "") -> None: ...

    def message(self, line: str) -> None: ...


SILENT: Observer = Silent()


class Several:
    """Passes everything on to several observers, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = tuple(observers)

    def expect(self, epochs: int, training: str = "") -> None:
        """See :class:`Observer`."""
        for observer in self.observers:
            observer.expect(epochs, training)

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`Observer`."""
        for observer in self.observers:
            observer.progress(progress, training)

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`Observer`."""
        for observer in self.observers:
            observer.epoch(result, training)

    def message(self, line: str) -> None:
        """See :class:`Observer`."""
        for observer in self.observers:
            observer.message(line)


_PROGRESS_SECONDS = 0.5


class NamedObserver:
    """Passes everything on with a training's name, and its progress at most twice a second.

    The end of each phase is always passed on.
    """

    def __init__(self, name: str, observer: Observer) -> None:
        self.name, self.observer = name, observer
        self._latest = float("-inf")

    def expect(self, epochs: int, training: str = "") -> None:
        """See :class:`Observer`."""
        self.observer.expect(epochs, self.name)

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`Observer`."""
        now = time.monotonic()
        if progress.done >= progress.total or now - self._latest > _PROGRESS_SECONDS:
            self._latest = now
            self.observer.progress(progress, self.name)

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`Observer`."""
        self.observer.epoch(result, self.name)

    def message(self, line: str) -> None:
        """See :class:`Observer`."""
        self.observer.message(line)
