"""The seconds of a sweep's phases."""

from types import SimpleNamespace

import pytest

pytest.importorskip("optuna")

from understudy.sweep import summary
from understudy.sweep.summary import SweepSummary


def test_seconds_add_up_by_phase_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 103.0, 110.0, 114.0])
    monkeypatch.setattr(summary, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    sweep = SimpleNamespace(_seconds={"trials": 1.0, "final": 0.0, "total": 1.0})
    for phase in ("trials", "final"):
        with SweepSummary.timed(sweep, phase):
            pass
    assert sweep._seconds == {"trials": 4.0, "final": 4.0, "total": 8.0}
