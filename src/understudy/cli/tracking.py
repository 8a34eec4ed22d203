"""``--track``: the numbers of a command's trainings for other tools."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.events import Observer, Several
from understudy.runs.tracking import Tracking, tracking

if TYPE_CHECKING:
    from understudy.runs.results import ArmResult, RunResults, SeedResult


class Followed(Several):
    """A display and perhaps trackers, as one observer.

    Args:
        display: on the terminal.
        tracker: all trackers; ``None`` for none.
    """

    def __init__(self, display: Observer, tracker: Tracking | None) -> None:
        super().__init__((display,) if tracker is None else (display, tracker))
        self.tracker = tracker

    def finish_run(self, results: "RunResults") -> None:
        """Track the final accuracies of all arms of a run."""
        if self.tracker is not None:
            for name, arm in results.arms.items():
                self.finish(name, arm.runs)

    def finish(self, arm: str, results: "Sequence[ArmResult | SeedResult]") -> None:
        """Track the final accuracies of an arm's trainings."""
        from understudy.runs.folder import training_name

        for result in results if self.tracker is not None else ():
            measured = {"val": result.val, "test": result.test}
            numbers = {
                f"final/{split}_accuracy": found.accuracy
                for split, found in measured.items()
                if found is not None
            }
            assert self.tracker is not None
            self.tracker.finish(training_name(arm, result.seed), numbers)


@contextlib.contextmanager
def followed(
    display: Observer, trackers: Sequence[str], folder: Path, name: str
) -> Iterator[Followed]:
    """The display and the trackers of a command, which write into ``tracking`` in its folder.

    Args:
        display: gets all events as well, and a line if a tracker fails.
        trackers: their names; on the first rank alone.
        folder: of the run or sweep.
        name: of the run.

    Raises:
        UnderstudyError: if a tracker cannot be opened.
    """
    from understudy.cli.checks import is_first_rank

    names = trackers if is_first_rank() else ()
    with tracking(names, folder / "tracking", name, display) as tracker:
        yield Followed(display, tracker)
