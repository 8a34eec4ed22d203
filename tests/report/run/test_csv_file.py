"""``results.csv`` holds every scalar of every training."""

import csv
from pathlib import Path

from tests.report.example_run import typed, write_example_run

from understudy.report import write_csv


def test_one_row_for_each_arm_and_seed(tmp_path: Path) -> None:
    results = write_example_run(tmp_path, num_test=200, epochs=2)
    write_csv(typed(results), tmp_path / "results.csv")
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
