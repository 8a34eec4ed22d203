"""Tables hold the numbers of results.json and the published ones; no name can break them."""

from pathlib import Path
from typing import Any

import pytest
from tests.report.example_run import skew_classes, typed, write_example_run

from understudy.report import markdown_table, read_results
from understudy.report.run.table import paired_per_class


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    return write_example_run(tmp_path, num_test=200, epochs=2)


def test_per_class_changes_are_paired_by_seed(results: dict[str, Any]) -> None:
    distilled, baseline = results["arms"]["distilled"]["runs"], results["arms"]["baseline"]["runs"]
    changes = paired_per_class(typed(results), "distilled", "baseline")
    assert changes[3] == [
        d["test"]["per_class"][3] - b["test"]["per_class"][3]
        for d, b in zip(distilled, baseline, strict=True)
    ]
    baseline.reverse()  # the order of runs does not matter, their seeds do
    assert paired_per_class(typed(results), "distilled", "baseline") == changes
    del baseline[0]
    assert [
        len(change) for change in paired_per_class(typed(results), "distilled", "baseline")
    ] == [2] * 10


def test_markdown_has_published_figures_beside_ours(results: dict[str, Any]) -> None:
    lines = markdown_table(typed(results)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    headings, teacher = cells[0], cells[2]
    at = headings.index("top-1 %")
    accuracy = results["arms"]["teacher"]["summary"]["accuracy"]["mean"]
    assert teacher[at : at + 2] == [f"{100 * accuracy:.2f}", "83.13"]
    results["reference"] = {}
    assert "published" not in markdown_table(typed(results))


def test_markdown_cells_cannot_be_broken_by_names(results: dict[str, Any]) -> None:
    columns = markdown_table(typed(results)).splitlines()[0].count(" | ")
    results["arms"]["a|b\n<script>"] = results["arms"].pop("dkd")
    last = markdown_table(typed(results)).splitlines()[-1]
    assert "<script>" not in last
    assert last.replace("\\|", "").count(" | ") == columns


def test_skewed_classes_have_balanced_accuracy_and_macro_f1_in_the_table(tmp_path: Path) -> None:
    write_example_run(tmp_path, num_test=200, epochs=2)
    even = markdown_table(read_results(tmp_path))
    skewed = skew_classes(tmp_path)
    table = markdown_table(read_results(tmp_path))
    assert "balanced %" not in even and "macro F1 %" not in even
    assert "| top-1 % | published | balanced % | macro F1 % |" in table
    mean = skewed["arms"]["distilled"]["summary"]["balanced_accuracy"]["mean"]
    assert f"{100 * mean:.2f} ±" in table
