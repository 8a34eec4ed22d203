"""Shares of the spread: exact where the grid is full, estimated where it is not."""

from pathlib import Path
from typing import Any

import pytest
from tests.report.example_sweep import GRID, LOG, view_of, write_example_sweep

from understudy.report.sweep.importance import by_importance, importance, main_effects

SQUARE = (
    {"key": "a", "kind": "choice", "values": [0, 1]},
    {"key": "b", "kind": "choice", "values": [0, 1]},
)


def grid_of(folder: Path, effect: Any) -> Any:
    return view_of(write_example_sweep(folder, space=SQUARE, noise=0.0, effect=effect))


def test_settings_that_add_up_leave_no_rest(tmp_path: Path) -> None:
    # Differences of 0.02 and 0.01: sums of squares as 4 to 1.
    found = main_effects(grid_of(tmp_path, lambda v: 0.02 * v["a"] + 0.01 * v["b"]))
    assert found is not None
    assert found.shares == pytest.approx({"a": 0.8, "b": 0.2})
    assert found.rest == pytest.approx(0, abs=1e-9)
    assert found.chance == pytest.approx({"a": 1 / 3, "b": 1 / 3})
    assert by_importance(grid_of(tmp_path, lambda v: 0.02 * v["b"]), found) == ["a", "b"]


def test_settings_that_only_work_together_have_no_share_of_their_own(tmp_path: Path) -> None:
    found = main_effects(grid_of(tmp_path, lambda v: 0.01 * (v["a"] == v["b"])))
    assert found is not None
    assert found.shares == pytest.approx({"a": 0.0, "b": 0.0})
    assert found.rest == pytest.approx(1)


def test_equal_trials_have_no_shares(tmp_path: Path) -> None:
    assert importance(grid_of(tmp_path, lambda _: 0.0)) is None


def test_what_the_sweep_recorded_comes_first(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path) | {
        "importance": {"method.alpha": 0.7, "method.temperature": 0.3}
    }
    sweep = view_of(results)
    found = importance(sweep)
    assert found is not None
    assert found.shares == {"method.temperature": 0.3, "method.alpha": 0.7}
    assert by_importance(sweep, found) == ["method.alpha", "method.temperature"]


def test_sampled_trials_have_shares_only_if_recorded(tmp_path: Path) -> None:
    kinds = {"key": "student.name", "kind": "choice", "values": ["one", "two"]}
    view = view_of(write_example_sweep(tmp_path, space=[kinds, LOG], sampled=30))
    assert importance(view) is None
    assert by_importance(view, None) == ["student.name", "train.lr"], "the order of the command"


def test_a_grid_with_a_hole_is_not_exact(tmp_path: Path) -> None:
    assert (
        main_effects(view_of(write_example_sweep(tmp_path, space=GRID, failed={0: "lost"}))) is None
    )
