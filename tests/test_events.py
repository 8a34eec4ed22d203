"""Observers: the name that a training's observer adds, and how often it passes progress on."""

import pytest

from understudy import events
from understudy.events import EpochResult, NamedObserver, Progress, Silent

EPOCH = EpochResult(0, 0.1, {"loss": 1.0}, 0.5, 1.0, 0.5, 1.0, 1.0)


class Notes(Silent):
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def expect(self, epochs: int, training: str = "") -> None:
        self.seen.append((epochs, training))

    def progress(self, progress: Progress, training: str = "") -> None:
        self.seen.append((progress.done, training))

    def epoch(self, result: EpochResult, training: str = "") -> None:
        self.seen.append((result, training))

    def message(self, line: str) -> None:
        self.seen.append((line,))


def test_everything_is_passed_on_with_the_name():
    notes = Notes()
    named = NamedObserver("distilled-seed0", notes)
    named.expect(3)
    named.epoch(EPOCH)
    named.message("a line")
    assert notes.seen == [(3, "distilled-seed0"), (EPOCH, "distilled-seed0"), ("a line",)]


def test_progress_is_thinned_out_but_its_end_is_passed_on(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    notes = Notes()
    named = NamedObserver("a", notes)
    for done in range(1, 9):
        named.progress(Progress("train", done, 8, 0))
        now[0] += 0.2
    assert notes.seen == [(1, "a"), (4, "a"), (7, "a"), (8, "a")]
