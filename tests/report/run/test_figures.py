"""Figures exist for what was measured, and look the same for the same arm."""

import re
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.example_run import many_methods, skew_classes, typed, write_example_run

pytest.importorskip("matplotlib")
from understudy.report.colours import CROWD, EXTRA_COLOURS, ROLE_COLOURS
from understudy.report.run import figures
from understudy.report.run.confusion import draw_confusion


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    return write_example_run(tmp_path, num_test=200, epochs=2)


def test_arms_keep_their_colour_by_role(results: dict[str, Any]) -> None:
    looks = figures.arm_looks(typed(results))
    assert [looks[role].colour for role in ("teacher", "baseline", "distilled")] == list(
        ROLE_COLOURS.values()
    )
    reordered = results | {"arms": dict(reversed(results["arms"].items()))}
    assert figures.arm_looks(typed(reordered)) == looks
    assert (
        len({look.colour for look in looks.values()})
        == len({look.marker for look in looks.values()})
        == 4
    )
    assert figures.INK.lower() not in {
        colour.lower() for colour in (*ROLE_COLOURS.values(), *EXTRA_COLOURS)
    }


def test_accuracy_bars_start_at_zero_and_end_at_the_mean(results: dict[str, Any]) -> None:
    figure = figures.draw_accuracy(typed(results))
    assert figure is not None
    bars: list[Any] = [bar for bar in figure.axes[0].patches if bar.get_x() == 0]  # type: ignore[attr-defined]
    means = [100 * arm["summary"]["accuracy"]["mean"] for arm in results["arms"].values()]
    assert [bar.get_width() for bar in bars] == pytest.approx(means)
    assert figure.axes[0].get_xlim()[0] == 0


def test_more_arms_than_colours_are_ranked_and_share_a_legend_entry(tmp_path: Path) -> None:
    results = write_example_run(
        tmp_path / "many", named_arms=many_methods(20), num_test=100, epochs=1
    )
    looks = figures.arm_looks(typed(results))
    assert {looks[name].colour for name in ("dkd", "crd", "at+kd")} == {CROWD}
    assert looks["baseline"].colour == ROLE_COLOURS["baseline"]
    figure = figures.draw_gain(typed(results))
    assert figure is not None
    shown = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ranked = sorted(results["comparisons"], key=lambda comparison: -comparison["mean"])
    assert shown[:3] == [looks[comparison["arm"]].label for comparison in ranked[:3]]
    assert "over baseline" in figure.axes[0].get_xlabel()
    figure = figures.draw_accuracy_size(typed(results))
    assert figure is not None
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "teacher",
        "baseline",
        "distilled",
        "20 further arms",
    ]
    figure = figures.draw_size(typed(results))
    assert figure is not None
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "teacher",
        "baseline\nand 21 more",
    ]


def test_nothing_measured_nothing_drawn(results: dict[str, Any]) -> None:
    for arm in results["arms"].values():
        arm |= {"latency": {}, "size": None}
        for run in arm["runs"]:
            run["test"] |= {"per_class": [], "reliability": None}
    results["comparisons"] = []
    for draw in (
        figures.draw_latency,
        figures.draw_size,
        figures.draw_parameters,
        figures.draw_accuracy_size,
        figures.draw_gain,
    ):
        assert draw(typed(results)) is None
    assert figures.draw_per_class(typed(results)) is None
    assert figures.draw_reliability(typed(results)) is None
    assert figures.draw_curves(typed(results), []) is None


def test_many_classes_show_the_best_and_the_worst(tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(100)]
    results = write_example_run(tmp_path / "wide", class_names=names, num_test=500, epochs=1)
    figure = figures.draw_per_class(typed(results))
    assert figure is not None
    assert len(figure.axes[0].get_yticks()) == figures.MAX_CLASSES
    assert "12 best and 12 worst classes" in figure.axes[0].get_xlabel()


def test_a_confusion_matrix_is_drawn_for_each_role_with_shares_of_each_row(tmp_path: Path) -> None:
    write_example_run(tmp_path, num_test=200, epochs=1)
    results = skew_classes(tmp_path)
    figure = draw_confusion(typed(results))
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "teacher",
        "baseline",
        "distilled",
    ]
    seeds = [run["test"]["confusion"] for run in results["arms"]["distilled"]["runs"]]
    counts = np.array(seeds, float).mean(0)
    expected = 100 * counts / counts.sum(1, keepdims=True)
    drawn = figure.axes[2].collections[0].get_array()
    np.testing.assert_allclose(np.asarray(drawn).reshape(10, 10), expected)
    np.testing.assert_allclose(expected.sum(1), 100)


def test_no_confusion_matrix_of_more_classes_than_can_be_read(tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(25)]
    write_example_run(tmp_path, class_names=names, num_test=500, epochs=1)
    assert draw_confusion(typed(skew_classes(tmp_path, share=0.5))) is None


def test_svg_takes_the_colour_of_the_text_and_holds_no_names(
    results: dict[str, Any], tmp_path: Path
) -> None:
    results["data"]["class_names"][0] = "<b>--></svg>$x^2$"
    only = {"per_class": figures.CAPTIONS["per_class"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "CAPTIONS", only)
        (drawing,) = figures.draw_all(typed(results), [], tmp_path)
    ElementTree.fromstring(drawing.svg)  # well-formed
    assert drawing.svg.count("</svg>") == 1
    assert "<b>" not in drawing.svg
    assert "<!--" not in drawing.svg
    assert "currentColor" in drawing.svg
    assert figures.INK not in drawing.svg
    ids = re.findall(r'\bid="([^"]+)"', drawing.svg)
    assert ids
    assert all(name.startswith("per_class-") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', drawing.svg)) <= set(ids)
    alone = (tmp_path / "per_class.svg").read_text()
    assert "prefers-color-scheme:dark" in alone
    ElementTree.fromstring(alone)
    png = (tmp_path / "per_class.png").read_bytes()
    assert struct.unpack(">I", png[16:20])[0] == round(figures.WIDTH * 200)
    assert b"Matplotlib" not in png  # no version stamp: the same numbers, the same file
