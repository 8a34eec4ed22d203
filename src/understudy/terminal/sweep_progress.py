"""A sweep on the terminal: one bar over the epochs of all trainings, and a line per trial."""

import re
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from understudy.events import EpochResult, Progress
from understudy.terminal.progress import Display
from understudy.terminal.time_left import TimeLeft, time_left_text

_SHARED = re.compile(r"(teacher|member\d+|assistant\d+)-seed")
"""Names of the trainings before the trials."""


class SweepDisplay(Display):
    """The trainings of a sweep.

    Without a terminal: a line per message with the time left, and per epoch of a teacher.

    Args:
        console: where to draw; standard error by default.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        console = console or Console(file=sys.stderr, emoji=False)
        names = ("news", "left")
        fields = [TextColumn(f"{{task.fields[{name}]}}") for name in names]
        text = TextColumn("{task.description}")
        super().__init__(Bars(text, BarColumn(), *fields, console=console), console)
        self.time_left = TimeLeft(clock)
        self.total = self.done = 0
        self._task: TaskID | None = None

    def expect(self, epochs: int, training: str = "") -> None:
        """So many more epochs are to come."""
        self.total += epochs
        self.time_left.expect(epochs, training)
        self._draw()

    def progress(self, progress: Progress, training: str = "") -> None:
        """For the time left."""
        if progress.phase in ("train", "label"):
            self.time_left.progress(progress, training)
            self._draw()

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """Move the bar; print a teacher's epoch."""
        self.done += 1
        self.time_left.epoch(result, training)
        line = f"{training}  epoch {result.epoch + 1}  val {100 * result.val_accuracy:.2f} %"
        if self.live:
            self._draw(line)
        elif _SHARED.match(training):
            super().message(line)

    def message(self, line: str) -> None:
        """One line above the bar, with the time left if no bar shows it."""
        left = "" if self.live else self._left_text()
        super().message(f"{line}  ({left})" if left else line)

    def _left_text(self) -> str:
        seconds = self.time_left.seconds()
        return time_left_text(seconds) if seconds and self.done < self.total else ""

    def _draw(self, news: str | None = None) -> None:
        if not self.live:
            return
        if self._task is None:
            self._task = self.bars.add_task("sweep", total=None, news="", left="")
        if news is not None:
            self.bars.update(self._task, news=news)
        done = min(self.done, self.total)
        self.bars.update(self._task, total=self.total, completed=done, left=self._left_text())
