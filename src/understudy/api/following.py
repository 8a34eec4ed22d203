"""Who follows a training that is started from Python: a display, trackers, a function."""

import contextlib
import time
from collections.abc import Callable, Iterator

from torch import nn

from understudy.api.inputs import RunOptions
from understudy.events import SILENT, EpochResult, NamedObserver, Observer, Several, Silent
from understudy.runs.tracking import tracking
from understudy.terminal.one_training import training_display
from understudy.training.device import ranks


@contextlib.contextmanager
def following(run: RunOptions, method: str, network: nn.Module | str) -> Iterator[Observer]:
    """The observer that a call's options name; the first rank's only, but for ``on_epoch``.

    Args:
        run: the options.
        method: its name, for the name of the training.
        network: what is trained.

    Raises:
        UnderstudyError: if a tracker cannot be opened.
    """
    called = network if isinstance(network, str) else type(network).__name__
    name = f"{method} {called}"
    observers: list[Observer] = []
    with contextlib.ExitStack() as stack:
        if ranks().is_first:
            display = stack.enter_context(training_display(run.progress, name))
            report = display or SILENT
            started = f"{method}-{called}-{time.strftime('%Y%m%d-%H%M%S')}"
            tracker = stack.enter_context(
                tracking(run.track, run.track_folder, run.track_folder.name, report)
            )
            if display is not None:
                observers.append(NamedObserver(name, display))
            if tracker is not None:
                observers.append(NamedObserver(started, tracker))
        if run.on_epoch is not None:
            observers.append(_CallEachEpoch(run.on_epoch))
        yield Several(observers) if observers else SILENT


class _CallEachEpoch(Silent):
    """Calls a function after each epoch; what the function raises ends the training."""

    def __init__(self, on_epoch: Callable[[EpochResult], None]) -> None:
        self.on_epoch = on_epoch

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.on_epoch(result)
