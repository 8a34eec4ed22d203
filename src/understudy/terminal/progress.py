"""The live picture of long work: a bar per training, with rate and time left; plain lines where there is no terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """One bar with rate and time left for work that reports (label, done, total); a line per label without a terminal."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        last = [""]

        def line(label: str, done: int, total: int) -> None:
            if done >= total and label != last[0]:
                last[0] = label
                console.print(
                    f"{what}: {label}, {total:,} done",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what)
        yield lambda label, done, total: progress.update(
            task, description=f"{what}: {label}", completed=done, total=total
        )


class RunDisplay:
    """Follows the news of a run's trainings.

    Args:
        epochs: how many epochs each training has, by name.
        console: where to draw; standard error by default, so that standard output stays clean.
    """

    def __init__(self, epochs: dict[str, int], console: Console | None = None) -> None:
        self.epochs = epochs
        self.console = console or Console(file=sys.stderr)
        self.live = self.console.is_terminal
        self.done = 0
        self.started = time.monotonic()
        self.total = sum(epochs.values())
        self.finished: dict[str, int] = {}
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[epoch]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[accuracy]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=False,
        )

    def __enter__(self) -> "RunDisplay":
        if self.live:
            self.progress.start()
            self.bars["all"] = self.progress.add_task(
                "all trainings", total=self.total, epoch="", rate="", accuracy=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.progress.stop()

    def say(self, line: str) -> None:
        """One line above the bars."""
        (self.progress.console if self.live else self.console).print(
            line, highlight=False, markup=False, soft_wrap=True
        )

    def tell(self, name: str, message: tuple[Any, ...]) -> None:
        """Take in one piece of news: ``("progress", phase, epoch, done, total)`` or ``("epoch", EpochResult)``."""
        if message[0] == "progress":
            self._step(name, *message[1:])
        elif message[0] == "epoch":
            self._epoch(name, message[1])

    def _bar(self, name: str) -> TaskID:
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(
                name, total=self.epochs[name], epoch="", rate="", accuracy=""
            )
        return self.bars[name]

    def _step(self, name: str, phase: str, epoch: int, done: int, total: int) -> None:
        if not self.live:
            return
        share = done / max(total, 1)
        text = (
            f"epoch {epoch + 1}/{self.epochs[name]}"
            if phase == "train"
            else f"teacher labels {100 * share:.0f} %"
        )
        completed = epoch + (share if phase == "train" else 0)
        self.progress.update(self._bar(name), completed=completed, epoch=text)

    def _epoch(self, name: str, result: Any) -> None:
        self.done += 1
        accuracy = f"val {100 * result.val_accuracy:.2f} %"
        rate = f"{result.images_per_second:,.0f} images/s"
        if self.live:
            self.progress.update(
                self._bar(name), completed=result.epoch + 1, rate=rate, accuracy=accuracy
            )
            self.progress.update(self.bars["all"], completed=self.done)
            return
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        self.say(
            f"{name}  epoch {result.epoch + 1}/{self.epochs[name]}  loss {result.losses['loss']:.4f}  {accuracy}  {rate}  "
            f"about {left / 60:.0f} min left"
        )
