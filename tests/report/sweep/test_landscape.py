"""The landscape of a sweep shows the file's numbers, and marks only what its intervals allow."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from tests.report.example_sweep import GRID, LOG, view_of, write_example_sweep

from understudy.evaluation.gain import holm
from understudy.report.sweep.landscape import draw_landscape

THIRD = {"key": "method.name", "kind": "choice", "values": ["kd", "lskd"]}


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def landscape(results: dict[str, Any], ranked: list[str], paired: bool = True) -> Any:
    drawn = draw_landscape(view_of(results), ranked, paired=paired)
    assert drawn is not None
    return drawn


def test_every_cell_prints_gain_and_interval(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, failed={0: "lost"}, pruned=[1])
    figure, caption = landscape(results, ["method.temperature", "method.alpha"])
    expected = ["failed", "pruned"]
    gains = [trial["gain"] for trial in results["trials"][2:]]
    for gain, p in zip(gains, holm([gain["p"] for gain in gains]), strict=True):
        sure = p <= 0.05
        mark = "▲" if sure and gain["low"] > 0 else "▼" if sure and gain["high"] < 0 else ""
        expected += [
            f"{mark}{100 * gain['mean']:+.2f}",
            f"± {50 * (gain['high'] - gain['low']):.2f}",
        ]
    assert sorted(texts(figure.axes[0])) == sorted(expected)
    alone = sum(gain["low"] > 0 for gain in gains)
    assert 0 < sum(text.startswith("▲") for text in expected) < alone, "more would be marked alone"
    assert "Holm's correction" in caption and "over seeds alone" in caption


def test_accuracies_where_no_gain_is_asked_for(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, seeds=(0,))
    figure, _ = landscape(results, ["method.alpha", "method.temperature"], paired=False)
    expected = [f"{100 * trial['runs'][0]['val']['accuracy']:.2f}" for trial in results["trials"]]
    assert sorted(texts(figure.axes[0])) == sorted(expected), "one seed has no interval"
    assert figure.axes[0].get_xlabel() == "method.alpha"


def test_one_map_for_each_value_of_a_third_setting(tmp_path: Path) -> None:
    figure, _ = landscape(
        write_example_sweep(tmp_path, space=[*GRID, THIRD]),
        [entry["key"] for entry in [*GRID, THIRD]],
    )
    assert [axes.get_title() for axes in figure.axes] == ["name kd", "name lskd"]


def test_many_slices_become_one_map_of_means(tmp_path: Path) -> None:
    many = {"key": "train.seed", "kind": "choice", "values": list(range(8))}
    results = write_example_sweep(tmp_path, space=[THIRD, GRID[0], many])
    figure, caption = landscape(results, ["method.name", "method.temperature", "train.seed"])
    assert len(figure.axes) == 1
    assert "taken seed by seed" in caption
    cell = [
        t
        for t in results["trials"]
        if t["values"]["method.name"] == "kd" and t["values"]["method.temperature"] == 4
    ]
    mean = sum(t["gain"]["mean"] for t in cell) / len(cell)
    assert len(cell) == 8
    assert any(f"{100 * mean:+.2f}" in text for text in texts(figure.axes[0]))


def test_sampled_ranges_are_dots(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, space=[GRID[0], LOG], sampled=30, failed={2: "lost"})
    figure, caption = landscape(results, ["train.lr", "method.temperature"])
    dots = [len(some.get_offsets()) for some in figure.axes[0].collections]
    assert sum(dots) == 30 + 1, "a mark for each trial, and the winner's ring"
    assert figure.axes[0].get_xscale() == "log"
    assert "Crosses" in caption


def test_one_number_is_a_line_and_one_word_is_not(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, space=GRID[:1])
    figure, caption = landscape(results, ["method.temperature"])
    line = next(line for line in figure.axes[0].lines if line.get_marker() == "D")
    assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(line.get_ydata()) == pytest.approx(
        [100 * trial["gain"]["mean"] for trial in results["trials"]]
    )
    assert "Band" in caption
    _, caption = landscape(write_example_sweep(tmp_path, space=[THIRD]), ["method.name"])
    assert "Bar" in caption


def test_nothing_finished_nothing_drawn(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, space=[THIRD], failed={0: "lost", 1: "lost"})
    assert draw_landscape(view_of(results), ["method.name"], paired=False) is None
