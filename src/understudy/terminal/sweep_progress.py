"""The live picture of a sweep: one bar over all trainings' epochs, and a line for each trial that has ended."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class SweepDisplay:
    """Follows a sweep on standard error.

    Args:
        shown: ``False`` keeps silent.
        console: where to draw; standard error by default.
    """

    def __init__(self, shown: bool = True, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr)
        self.shown = shown
        self.live = shown and self.console.is_terminal
        self.total = self.done = 0
        self.started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[news]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console)
        self.bar: TaskID | None = None

    def __enter__(self) -> "SweepDisplay":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.progress.stop()

    def expect(self, epochs: int) -> None:
        """More (or, below 0, fewer) epochs are to come."""
        self.total += epochs
        if self.live and self.bar is None:  # not before: the teacher has a picture of its own
            self.progress.start()
            self.bar = self.progress.add_task("sweep", total=None, news="")
        self._draw("")

    def epoch(self, training: str, result: Any) -> None:
        """A training has finished an epoch."""
        self.done += 1
        self._draw(f"{training} epoch {result.epoch + 1}: val {100 * result.val_accuracy:.2f} %")

    def say(self, line: str) -> None:
        """One line above the bar, with the time left where no bar shows it."""
        if not self.shown:
            return
        if not self.live and 0 < self.done < self.total:
            left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            line = f"{line}  (about {left / 60:.0f} min left)"
        (self.progress.console if self.live else self.console).print(
            line, highlight=False, markup=False, soft_wrap=True
        )

    def _draw(self, news: str) -> None:
        if self.bar is not None:
            self.progress.update(
                self.bar, total=self.total, completed=min(self.done, self.total), news=news
            )
