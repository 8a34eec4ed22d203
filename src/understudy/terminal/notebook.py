"""A training in a notebook: one output below the cell that is drawn again as it goes on.

No widgets are needed: the output is plain HTML with an id, which every front end can replace.
"""

import sys
import time
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import Any, Self

from understudy.events import EpochResult, Progress
from understudy.terminal.time_left import TimeLeft, time_left_text

_SECONDS = 0.3
"""Between two drawings, except at the end of an epoch."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; loads nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def show(html: str, text: str, handle: Any = None) -> Any:
    """Show HTML below the cell, or draw it in place of an earlier one; returns its handle."""
    from IPython.display import display

    content = {"text/html": html, "text/plain": text}
    if handle is None:
        return display(content, raw=True, display_id=True)
    handle.update(content, raw=True)
    return handle


class NotebookDisplay:
    """One training: what is done, a bar, its latest numbers and the time left.

    Args:
        draw: shows (HTML, plain text) in place of what the given handle shows; returns the handle.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        draw: Callable[[str, str, Any], Any] = show,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.draw, self.clock, self.time_left = draw, clock, TimeLeft(clock)
        self.epochs, self.done = 0, 0
        self.doing, self.share, self.numbers = "", 0.0, ""
        self.lines: list[str] = []
        self._handle: Any = None
        self._latest = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            self._draw()

    def expect(self, epochs: int, training: str = "") -> None:
        """See :class:`understudy.events.Observer`."""
        self.epochs += epochs
        self.time_left.expect(epochs, training)

    def progress(self, progress: Progress, training: str = "") -> None:
        """Move the bar, a few times a second."""
        share = progress.done / max(progress.total, 1)
        if progress.epoch is None:
            self.doing = f"{progress.detail or progress.phase} {progress.done:,}/{progress.total:,}"
            self.share = share
        else:
            self.time_left.progress(progress, training)
            is_training = progress.phase == "train"
            self.doing = f"epoch {min(self.done + 1, self.epochs)}/{self.epochs}"
            if not is_training:
                self.doing += f", teacher labels {100 * share:.0f} %"
            self.share = (self.done + (share if is_training else 0)) / max(self.epochs, 1)
        if self.clock() - self._latest >= _SECONDS:
            self._draw()

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """Show the epoch's numbers."""
        self.time_left.epoch(result, training)
        self.done += 1
        self.share = self.done / max(self.epochs, 1)
        self.doing = f"epoch {self.done}/{max(self.epochs, self.done)}"
        self.numbers = (
            f"loss {result.losses['loss']:.4f} · val {100 * result.val_accuracy:.2f} % · "
            f"{result.images_per_second:,.0f} images/s"
        )
        self._draw()

    def message(self, line: str) -> None:
        """One line, below the bar."""
        self.lines.append(line)
        self._draw()

    def _draw(self) -> None:
        self._latest = self.clock()
        seconds = self.time_left.seconds()
        left = time_left_text(seconds) if seconds else ""
        text = " · ".join(filter(None, (self.doing, self.numbers, left)))
        bar = f'<progress value="{self.share:.4f}" max="1" style="width: 12em"></progress>'
        lines = "".join(f"<div>{escape(line)}</div>" for line in self.lines)
        html = f'<div style="white-space: nowrap">{bar} {escape(text)}</div>{lines}'
        self._handle = self.draw(html, "\n".join([text, *self.lines]), self._handle)
