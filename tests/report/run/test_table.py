"""Tables say what results.json says, beside the published figures, and nothing a name contains can break them."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest
from tests.report.example_run import write_example_run

from understudy.report import markdown_table, terminal_table, write_csv
from understudy.report.run.table import (
    ABSENT,
    counted,
    mean_interval,
    number,
    paired_per_class,
    percent,
    significant,
)


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    return write_example_run(tmp_path, num_test=200, epochs=2)


def test_interval_over_two_values_is_known_in_closed_form() -> None:
    # n = 2: std / sqrt(n) is half the distance, and t with one degree of freedom is tan(0.95 pi / 2)
    mean, half = mean_interval([1.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(math.tan(0.95 * math.pi / 2))


def test_one_seed_has_no_interval() -> None:
    assert mean_interval([0.7]) == (0.7, None)


def test_numbers_are_written_for_people() -> None:
    assert (counted(106_826), counted(4_664_970), counted(560_000_000), counted(42)) == (
        "107 k",
        "4.66 M",
        "560 M",
        "42",
    )
    assert (significant(0.03141), significant(7.459), significant(1234.5), significant(0)) == (
        "0.0314",
        "7.46",
        "1,234",
        "0",
    )
    assert (percent(0.8313), number(None), number(float("nan")), percent(None)) == (
        "83.13",
        ABSENT,
        ABSENT,
        ABSENT,
    )


def test_per_class_changes_are_paired_by_seed(results: dict[str, Any]) -> None:
    distilled, baseline = results["arms"]["distilled"]["runs"], results["arms"]["baseline"]["runs"]
    changes = paired_per_class(results, "distilled", "baseline")
    assert changes[3] == [
        d["test"]["per_class"][3] - b["test"]["per_class"][3]
        for d, b in zip(distilled, baseline, strict=True)
    ]
    baseline.reverse()  # the order of runs does not matter, their seeds do
    assert paired_per_class(results, "distilled", "baseline") == changes
    del baseline[0]
    assert [len(change) for change in paired_per_class(results, "distilled", "baseline")] == [
        2
    ] * 10


def test_markdown_has_published_figures_beside_ours(results: dict[str, Any]) -> None:
    lines = markdown_table(results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    headings, teacher = cells[0], cells[2]
    at = headings.index("top-1 %")
    accuracy = results["arms"]["teacher"]["summary"]["accuracy"]["mean"]
    assert teacher[at : at + 2] == [f"{100 * accuracy:.2f}", "83.13"]
    results["reference"] = {}
    assert "published" not in markdown_table(results)


def test_markdown_cells_cannot_be_broken_by_names(results: dict[str, Any]) -> None:
    columns = markdown_table(results).splitlines()[0].count(" | ")
    results["arms"]["a|b\n<script>"] = results["arms"].pop("dkd")
    last = markdown_table(results).splitlines()[-1]
    assert "<script>" not in last
    assert last.replace("\\|", "").count(" | ") == columns


@pytest.mark.parametrize("published", [True, False])
def test_terminal_table_fits_eighty_characters(results: dict[str, Any], published: bool) -> None:
    from rich.console import Console

    results["arms"]["[red]x"] = results["arms"].pop("dkd")  # rich markup in a name stays text
    if not published:
        results["reference"] = {}
    console = Console(width=80, file=io.StringIO())
    console.print(terminal_table(results))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x" in text
    assert ("72.70" in text) == published
    assert "…" not in text
    assert len([line for line in text.splitlines() if "baseline" in line]) == 1


def test_csv_has_one_row_for_each_arm_and_seed(results: dict[str, Any], tmp_path: Path) -> None:
    write_csv(results, tmp_path / "results.csv")
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        (name, str(run["seed"])) for name, arm in results["arms"].items() for run in arm["runs"]
    ]
    last = results["arms"]["dkd"]["runs"][-1]
    assert (
        float(rows[-1]["test_accuracy"]) == last["test"]["accuracy"]
    )  # exactly: repr of a float reads back
    assert float(rows[-1]["latency_128_median_ms"]) == 31.4
    assert rows[0]["test_agreement"] == ""  # absent, not zero
    assert not any("per_class" in column or "reliability" in column for column in rows[0])
