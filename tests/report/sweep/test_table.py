"""A sweep's outcome in sentences."""

from pathlib import Path

from tests.report.example_sweep import view_of, write_example_sweep

from understudy.report.sweep.table import conclusions


def test_conclusions_say_what_is_known_and_no_more(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, failed={0: "lost"}, pruned=[1])
    tested, best, lost = conclusions(view_of(results))
    assert tested[0].startswith(results["final"]["verdict"].capitalize()[:20])
    assert tested[1] == (results["final"]["gain"]["low"] > 0)
    assert "fresh seeds 100, 101" in tested[0]
    assert not best[1], "a winner on validation is no evidence"
    assert lost[0] == "Of 25 trials 1 failed and 1 was pruned."
    results["final"] = None
    assert "not tested on fresh seeds" in conclusions(view_of(results))[0][0]
