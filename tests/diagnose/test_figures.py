"""The figures of a diagnosis show the evidence's numbers, and are drawn where there is evidence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from tests.diagnose.example_evidence import (
    CURVE,
    FITS,
    GRADIENTS,
    TARGETS,
    fits,
    healthy,
    measured,
    recorded,
    without_weights,
)

from understudy.diagnose import figures
from understudy.report.colours import MUTED
from understudy.report.colours import ROLE_COLOURS as COLOURS


def rows(figure: Figure) -> dict[str, tuple[float, str]]:
    """Name of each row -> where its bar ends, and the bar's colour."""
    axes = figure.axes[0]
    patches: Any = axes.patches
    assert all(bar.get_x() == 0 for bar in patches), "bars start at zero"
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    at = {round(bar.get_y() + bar.get_height() / 2): bar for bar in patches}
    return {
        name: (at[row].get_width(), to_hex(at[row].get_facecolor()).upper())
        for row, name in enumerate(names)
    }


def test_fit_bars_are_accuracies_in_the_colour_of_the_network():
    found = rows(figures.draw_fits(FITS))
    assert list(found) == [
        f"{role}, {split}" for role in FITS for split in ("training", "validation")
    ]
    for role, fit in FITS.items():
        assert found[f"{role}, training"] == (
            pytest.approx(100 * fit.train_accuracy),
            COLOURS[role],
        )
        assert found[f"{role}, validation"] == (
            pytest.approx(100 * fit.val_accuracy),
            COLOURS[role],
        )


def test_dropout_has_a_bar_if_it_changes_the_accuracy():
    found = rows(figures.draw_fits(fits(distilled={"dropout_accuracy": 0.7})))
    assert [name for name in found if "dropout" in name] == ["distilled, dropout on"]
    assert found["distilled, dropout on"][0] == pytest.approx(70)


def test_every_loss_term_has_its_share_and_long_names_are_cut():
    figure = figures.draw_gradients(
        replace(GRADIENTS, shares={"ce": 0.25, "kd": 0.7, "a_term_with_a_very_long_name": 0.05})
    )
    found = rows(figure)
    assert [round(end) for end, _ in found.values()] == [25, 70, 5] and max(map(len, found)) <= 18
    assert found["ce"][1] == COLOURS["baseline"] and found["kd"][1] == COLOURS["teacher"]
    assert "%" in figure.axes[0].get_xlabel()


def test_targets_are_drawn_at_both_temperatures():
    figure = figures.draw_targets(TARGETS, 4)
    plain, soft = figure.axes[0].containers
    assert [bar.get_height() for bar in plain] == pytest.approx(
        [100 * p for p in TARGETS.profile_at_1]
    )
    assert [bar.get_height() for bar in soft] == pytest.approx([100 * p for p in TARGETS.profile])
    assert to_hex(plain[0].get_facecolor()).upper() == MUTED
    (uniform,) = figure.axes[0].get_lines()
    assert list(uniform.get_ydata()) == [10, 10]  # ten classes
    assert {text.get_text() for text in figure.legends[0].texts} == {
        "T = 1",
        "T = 4",
        "uniform",
    }


def test_targets_at_temperature_one_are_drawn_once():
    many = tuple([0.01] * 100)
    (only,) = (
        figures.draw_targets(replace(TARGETS, profile=many, profile_at_1=many), 1)
        .axes[0]
        .containers
    )
    assert len(only) == figures.MAX_CLASSES


def test_end_shows_accuracy_and_learning_rate_of_every_network():
    late = replace(CURVE, lr=(2.0, 1.0, 0.5, 0.5), val_accuracy=(0.5, 0.6, 0.65, 0.678))
    figure = figures.draw_end({"baseline": CURVE, "distilled": late})
    accuracy, rate = figure.axes
    assert list(accuracy.get_lines()[1].get_ydata()) == pytest.approx([50, 60, 65, 67.8])
    assert list(rate.get_lines()[1].get_ydata()) == pytest.approx([100, 50, 25, 25])
    assert [line.get_color() for line in rate.get_lines()] == [
        COLOURS["baseline"],
        COLOURS["distilled"],
    ]
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "baseline 75.0",
        "distilled 67.8",
    ]


def test_overlapping_lines_have_different_widths():
    rate = figures.draw_end(recorded().curves).axes[1]
    widths = [line.get_linewidth() for line in rate.get_lines()]
    assert len(widths) == 3 and widths == sorted(set(widths), reverse=True)


def test_figures_without_evidence_are_left_out(tmp_path: Path):
    assert [d.name for d in figures.draw_diagnosis(without_weights(), tmp_path)] == [
        "diagnosis_end"
    ]
    assert figures.draw_diagnosis(without_weights(recorded_=recorded(curves={})), tmp_path) == []
    drawn = figures.draw_diagnosis(healthy(measured_=measured(gradients=None)), tmp_path)
    assert [d.name for d in drawn] == ["diagnosis_fits", "diagnosis_targets", "diagnosis_end"]


def test_gradient_caption_names_unmeasured_terms(tmp_path: Path):
    partial = measured(gradients=replace(GRADIENTS, left_out="the terms of crd"))
    captions = {
        d.name: d.caption for d in figures.draw_diagnosis(healthy(measured_=partial), tmp_path)
    }
    assert captions["diagnosis_gradients"].endswith("Not measured: the terms of crd.")
