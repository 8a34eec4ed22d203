"""One line a trial, whatever became of it."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
from tests.report.example_sweep import GRID, LOG, write_example_sweep

from understudy.report.sweep.parallel import LANES, draw_parallel
from understudy.report.sweep.results import parse_sweep


def test_lines_end_at_their_accuracy_or_in_a_lane(tmp_path: Path) -> None:
    results = write_example_sweep(
        tmp_path, space=[*GRID[:1], LOG], sampled=25, failed={0: "lost"}, pruned=[1, 2]
    )
    drawn = draw_parallel(parse_sweep(results, "here"), ["train.lr", "method.temperature"])
    assert drawn is not None
    lines = [
        line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == 3
    ]  # axes are lines of two points
    ends = [line.get_ydata()[-1] for line in lines]
    assert len(lines) == 25 + 1, "the winner is drawn twice"
    assert ends.count(LANES["failed"]) == 1
    assert ends.count(LANES["pruned"]) == 2
    means = [
        sum(r["val"]["accuracy"] for r in t["runs"]) / 3
        for t in results["trials"]
        if t["state"] == "complete"
    ]
    heights = [(mean - min(means)) / (max(means) - min(means)) for mean in means]
    assert sorted(end for end in ends if end >= 0) == pytest.approx(sorted([*heights, 1.0]))


def test_one_setting_needs_no_lines(tmp_path: Path) -> None:
    assert (
        draw_parallel(
            parse_sweep(write_example_sweep(tmp_path, space=GRID[:1]), "here"),
            ["method.temperature"],
        )
        is None
    )
