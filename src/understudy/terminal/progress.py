"""Long work on the terminal: bars with rate and time left; lines without a terminal."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from understudy.events import EpochResult, Progress
from understudy.terminal.time_left import TimeLeft, time_left_text

_LINE_SECONDS = 30.0
"""Without a terminal: between two lines about the labelling of a training."""


class Display:
    """What all displays share: a console, bars if it is a terminal, and lines for people.

    Args:
        console: where to draw; standard error by default, so that standard output stays clean.
    """

    def __init__(self, bars: Bars, console: Console) -> None:
        self.console, self.bars = console, bars
        self.live = console.is_terminal

    def __enter__(self) -> Self:
        if self.live:
            self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.bars.stop()

    def expect(self, epochs: int, training: str = "") -> None:
        """See :class:`understudy.events.Observer`."""

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`understudy.events.Observer`."""

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`understudy.events.Observer`."""

    def message(self, line: str) -> None:
        """One line, above the bars."""
        console = self.bars.console if self.live else self.console
        console.print(line, highlight=False, markup=False, soft_wrap=True)


class CountDisplay(Display):
    """One bar for work without trainings; without a terminal a line per finished piece.

    Args:
        title: what is being done: ``labelling``.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        console = console or Console(file=sys.stderr, emoji=False)
        text, left = TextColumn("{task.description}"), TimeRemainingColumn()
        bars = Bars(text, BarColumn(), MofNCompleteColumn(), left, console=console)
        super().__init__(bars, console)
        self.title = title
        self.task: TaskID | None = None
        self.latest = ""

    def progress(self, progress: Progress, training: str = "") -> None:
        """Move the bar, or print the piece that is finished."""
        label = f"{self.title}: {progress.detail}" if progress.detail else self.title
        if self.live:
            if self.task is None:
                self.task = self.bars.add_task(label)
            self.bars.update(
                self.task, description=label, completed=progress.done, total=progress.total
            )
        elif progress.done >= progress.total and label != self.latest:
            self.latest = label
            self.message(f"{label}, {progress.total:,} done")


class RunDisplay(Display):
    """The trainings of a run: a bar each and one for all, or a line per epoch.

    Args:
        console: where to draw; standard error by default.
        clock: seconds on a clock that never goes back.
        whole: the bar of all epochs; the name of the training itself if there is only one.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        whole: str = "all trainings",
    ) -> None:
        console = console or Console(file=sys.stderr, emoji=False)
        fields = [TextColumn(f"{{task.fields[{name}]}}") for name in ("epoch", "rate", "accuracy")]
        text, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
        bars = Bars(SpinnerColumn(), text, BarColumn(), *fields, left, console=console)
        super().__init__(bars, console)
        self.clock, self.time_left = clock, TimeLeft(clock)
        self.whole = whole
        self.epochs: dict[str, int] = {}
        """Training -> how many epochs it has."""
        self.done = 0
        self._tasks: dict[str, TaskID] = {}
        self._latest_line: dict[str, float] = {}

    def expect(self, epochs: int, training: str = "") -> None:
        """So many more epochs are to come."""
        self.time_left.expect(epochs, training)
        self.epochs[training] = self.epochs.get(training, 0) + epochs
        if self.live:
            self.bars.update(self._task(self.whole), total=sum(self.epochs.values()))

    def progress(self, progress: Progress, training: str = "") -> None:
        """Move the training's bar; or print now and then how far the labelling is."""
        if progress.phase in ("download", "decode"):
            self._prepare(progress)
            return
        if progress.phase not in ("train", "label") or progress.epoch is None:
            return
        self.time_left.progress(progress, training)
        share = progress.done / max(progress.total, 1)
        labels = f"teacher labels {100 * share:.0f} %"
        if self.live:
            trains = progress.phase == "train"
            text = self._count(training, progress.epoch) if trains else labels
            completed = progress.epoch + (share if trains else 0)
            self.bars.update(self._task(training), completed=completed, epoch=text)
            self._show_time_left()
        elif progress.phase == "label" and self._line_is_due(training) and share < 1:
            count = self._count(training, progress.epoch)
            self.message(f"{training}  {count}  {labels}{self._left_text('  ')}")

    def _prepare(self, progress: Progress) -> None:
        """Show how far the images are, before the first training."""
        is_done = progress.done >= progress.total
        if self.live:
            count = f"{progress.done:,}/{progress.total:,}"
            self.bars.update(
                self._task(progress.detail),
                completed=progress.done,
                total=progress.total,
                epoch=count,
                visible=not is_done,
            )
        elif is_done:
            self.message(f"{progress.detail}, {progress.total:,} done")

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """Show an epoch's accuracy and rate."""
        self.done += 1
        self.time_left.epoch(result, training)
        self._latest_line[training] = self.clock()
        accuracy = f"val {100 * result.val_accuracy:.2f} %"
        rate = f"{result.images_per_second:,.0f} images/s"
        if self.live:
            task = self._task(training)
            self.bars.update(task, completed=result.epoch + 1, rate=rate, accuracy=accuracy)
            self.bars.update(self._task(self.whole), completed=self.done)
            self._show_time_left()
            return
        count, loss = self._count(training, result.epoch), f"loss {result.losses['loss']:.4f}"
        left = self._left_text("  ")
        self.message(f"{training}  {count}  {loss}  {accuracy}  {rate}{left}")

    def _count(self, training: str, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.epochs.get(training, epoch + 1)}"

    def _line_is_due(self, training: str) -> bool:
        now = self.clock()
        latest = self._latest_line.setdefault(training, now)
        if now - latest < _LINE_SECONDS:
            return False
        self._latest_line[training] = now
        return True

    def _left_text(self, separator: str = "") -> str:
        """The time left after a separator; empty if it is not known, or nothing is left."""
        seconds = self.time_left.seconds()
        return f"{separator}{time_left_text(seconds)}" if seconds else ""

    def _show_time_left(self) -> None:
        self.bars.update(self._task(self.whole), left=self._left_text())

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            total = self.epochs.get(name)
            self._tasks[name] = self.bars.add_task(
                name, total=total, epoch="", rate="", accuracy="", left=""
            )
        return self._tasks[name]
