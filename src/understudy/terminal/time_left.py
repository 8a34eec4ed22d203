"""How long a run still takes, from what its trainings have taken so far."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from understudy.events import EpochResult, Progress

_RECENT = 16
"""Epochs, of whatever training, that stand for a training of which nothing is known yet."""


def time_left_text(seconds: float) -> str:
    """``45 s left``, ``about 12 min left`` or ``about 2.5 h left``."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s left"
    if seconds < 120 * 60:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


@dataclass(frozen=True)
class _Cost:
    """Wall seconds of one epoch: labelling, and everything else."""

    label: float
    rest: float

    @property
    def total(self) -> float:
        return self.label + self.rest


@dataclass
class _Track:
    """What is known of one training.

    Attributes:
        epochs: that it has in all.
        done: epochs that have ended.
        cost: of its latest epoch.
        ended: when its latest epoch ended, in this session.
        phase, share: what its current epoch is doing, and how much of that is done, in [0, 1].
        phase_start, first_share: time and share of the first report of this phase.
    """

    epochs: int = 0
    done: int = 0
    cost: _Cost | None = None
    ended: float | None = None
    phase: str = ""
    share: float = 0.0
    phase_start: float = 0.0
    first_share: float = 0.0

    @property
    def left(self) -> int:
        return max(0, self.epochs - self.done)

    @property
    def is_running(self) -> bool:
        return self.left > 0 and (self.done > 0 or self.phase != "")


class TimeLeft:
    """Estimates the seconds until all expected epochs are done.

    An epoch costs what the latest epoch of the same training cost, labelling included; without one,
    the mean of the same arm's other seeds, or else of the latest epochs of all trainings. The sum
    is divided by the number of trainings that run at once. The first epoch of a training counts
    without the start of its process and without its first step, which compiles kernels; an epoch
    that was read from a checkpoint counts with the seconds that it took.

    Args:
        clock: seconds on a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.unnamed = 0
        """Epochs of trainings that are not named yet."""
        self.tracks: dict[str, _Track] = {}
        self.recent: deque[_Cost] = deque(maxlen=_RECENT)
        self.lanes = 1

    def expect(self, epochs: int, training: str = "") -> None:
        """See :meth:`understudy.events.Observer.expect`."""
        if training:
            self.tracks.setdefault(training, _Track()).epochs += epochs
        else:
            self.unnamed += epochs

    def progress(self, progress: Progress, training: str) -> None:
        """A training has advanced within an epoch."""
        track = self.tracks.setdefault(training, _Track())
        share = progress.done / max(progress.total, 1)
        if progress.phase != track.phase or share < track.share:
            track.phase, track.phase_start = progress.phase, self.clock()
            track.first_share = share
        track.share = share
        self._count_lanes(training)

    def epoch(self, result: EpochResult, training: str) -> None:
        """A training has finished an epoch."""
        track, now = self.tracks.setdefault(training, _Track()), self.clock()
        self._count_lanes(training)
        if track.done >= track.epochs:  # not expected by name
            self.unnamed -= 1
            track.epochs += 1
        if track.ended is not None:
            rest = max(result.seconds, now - track.ended - result.label_seconds)
        elif track.phase == "train" and track.first_share < 1:
            rest = (now - track.phase_start) / (1 - track.first_share)
        else:
            rest = result.seconds
        track.cost = _Cost(result.label_seconds, rest)
        track.done, track.ended = track.done + 1, now
        track.phase, track.share = "", 0.0
        self.recent.append(track.cost)

    def seconds(self) -> float | None:
        """The estimate; ``None`` before the first epoch has ended."""
        if not self.recent:
            return None
        left = [self._seconds_of(name, track) for name, track in self.tracks.items()]
        unnamed = max(0, self.unnamed) * _mean(list(self.recent)).total
        return max((sum(left) + unnamed) / self.lanes, *left, 0.0)

    def _count_lanes(self, training: str) -> None:
        """Count the trainings that run: begun and not ended, and the one of this event."""
        running = {name for name, track in self.tracks.items() if track.is_running}
        waiting = self.unnamed > 0 or any(
            track.left > 0 and name not in running for name, track in self.tracks.items()
        )
        # A place that is free for the moment is taken by what waits.
        self.lanes = max(len(running | {training}), self.lanes if waiting else 1)

    def _seconds_of(self, name: str, track: _Track) -> float:
        cost = track.cost or self._cost_of_arm(name)
        label, rest = cost.label, cost.rest
        spent = 0.0
        if track.phase == "label" and track.share > track.first_share:
            elapsed = self.clock() - track.phase_start
            label = elapsed / (track.share - track.first_share)
            spent = track.share * label
        elif track.phase == "train":
            spent = label + track.share * rest
        return max(0.0, track.left * (label + rest) - spent)

    def _cost_of_arm(self, name: str) -> _Cost:
        arm = name.partition("-seed")[0]
        same = [
            track.cost
            for other, track in self.tracks.items()
            if track.cost is not None and other.partition("-seed")[0] == arm
        ]
        return _mean(same or list(self.recent))


def _mean(costs: list[_Cost]) -> _Cost:
    number = len(costs)
    return _Cost(sum(c.label for c in costs) / number, sum(c.rest for c in costs) / number)
