"""The figures of a sweep: which are drawn, and what the winner's says."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
from tests.report.example_sweep import GRID, view_of, write_example_sweep

from understudy.report.sweep import figures as sweep_figures
from understudy.report.sweep.importance import importance


def test_winner_is_compared_on_validation_and_test(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path)
    drawn = sweep_figures.draw_best(view_of(results))
    assert drawn is not None
    chosen = results["trials"][results["best"]["number"]]["gain"]
    for axes, gain in zip(drawn[0].axes, (chosen, results["final"]["gain"]), strict=True):
        title = axes.get_title().splitlines()[1]
        assert (
            title == f"{100 * gain['mean']:+.2f} "
            f"[{100 * gain['low']:.2f}, {100 * gain['high']:.2f}] points"
        )
    results["final"] = None
    drawn = sweep_figures.draw_best(view_of(results))
    assert drawn is not None
    assert len(drawn[0].axes) == 1
    assert "only a test" in drawn[1]


def test_bars_of_importance_are_the_shares(tmp_path: Path) -> None:
    sweep = view_of(write_example_sweep(tmp_path))
    found = importance(sweep)
    drawn = sweep_figures.draw_importance(sweep, found)
    assert found is not None and found.rest is not None and drawn is not None
    widths = [bar.get_width() for bar in drawn[0].axes[0].patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx(
        [*sorted((100 * share for share in found.shares.values()), reverse=True), 100 * found.rest]
    )


def test_nothing_timed_nothing_drawn(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path)
    results["backend"]["measured"] = {}
    for trial in results["trials"]:
        for run in trial["runs"]:
            del run["seconds"]
    assert sweep_figures.draw_cost(view_of(results)) is None


def test_accuracies_have_a_figure_where_plain_students_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_figures, "save", lambda figure, name, title, caption, folder: name)
    rates = {"key": "train.lr", "kind": "choice", "values": [1e-3, 3e-3]}
    names = {}
    for name, space in (
        ("one", [*GRID[:1], {**rates, "key": "method.lr"}]),
        ("two", [*GRID[:1], rates]),
    ):
        sweep = view_of(write_example_sweep(tmp_path / name, space=space))
        names[name] = set(sweep_figures.draw_sweep(sweep, importance(sweep), tmp_path / name))
    assert names["two"] - names["one"] == {"landscape_accuracy"}
