"""Which display follows a training that is started from Python."""

import contextlib
import sys
from collections.abc import Iterator

from understudy.events import Observer
from understudy.terminal.notebook import NotebookDisplay, in_notebook
from understudy.terminal.progress import RunDisplay


@contextlib.contextmanager
def training_display(progress: bool | None, name: str) -> Iterator[Observer | None]:
    """What shows a training while it goes on; ``None`` if nothing does.

    Args:
        progress: whether to show it; ``None`` shows it in terminals and notebooks, where a line
            can be drawn again. Elsewhere ``True`` writes a line for each epoch.
        name: of the training.
    """
    if progress is None:
        progress = in_notebook() or sys.stderr.isatty()
    if not progress:
        yield None
    elif in_notebook():
        with NotebookDisplay() as notebook:
            yield notebook
    else:
        with RunDisplay(whole=name) as display:
            yield display
