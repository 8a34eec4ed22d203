"""What a sweep concludes from its trainings, and how it is written."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tests.report.example_sweep import typed, write_example_sweep

from understudy.errors import UnderstudyError
from understudy.evaluation.results import Metrics
from understudy.files import to_json
from understudy.sweep.results import (
    TrialRun,
    accuracy_of,
    baseline_entries,
    best_of,
    final_entry,
    gain_over,
    plain_key,
    read_runs,
    trial_entries,
    write_trials,
)
from understudy.sweep.search import Record
from understudy.sweep.space import Choice


def runs(*accuracies: float, first_seed: int = 0) -> tuple[TrialRun, ...]:
    return tuple(
        TrialRun(
            seed=first_seed + number,
            val=Metrics(accuracy=accuracy),
            test=Metrics(accuracy=accuracy - 0.01),
            seconds=2.0,
            epochs=1,
        )
        for number, accuracy in enumerate(accuracies)
    )


def record(number: int, state: str, *accuracies: float, value: float | None = None) -> Record:
    written = to_json(runs(*accuracies))
    return Record(number, {"method.alpha": 0.1 * number}, state, None, written, value)


def test_runs_round_trip_through_the_database() -> None:
    trained = runs(0.7, 0.8)
    assert read_runs(json.loads(json.dumps(to_json(trained)))) == trained
    assert "test" not in to_json(TrialRun(seed=0, val=Metrics(accuracy=0.5)))


def test_accuracy_has_the_interval_of_its_seeds() -> None:
    found = accuracy_of(runs(0.7, 0.8, 0.75))
    assert found is not None and found.low is not None and found.high is not None
    assert (found.mean, found.n) == (pytest.approx(0.75), 3)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.05 / 3**0.5, rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert accuracy_of(()) is None
    one = accuracy_of(runs(0.7))
    assert one is not None and one.low is one.high is one.std is None


def test_gain_needs_the_same_seeds() -> None:
    gain = gain_over(runs(0.7, 0.9), tuple(reversed(runs(0.6, 0.7))))
    assert gain is not None and gain.gains == pytest.approx((0.1, 0.2)), "paired by seed"
    assert gain_over(runs(0.7, 0.9), runs(0.6)) is None
    assert gain_over((), ()) is None


def test_best_of_equals_is_the_first() -> None:
    records = [record(0, "failed"), record(1, "complete", 0.8, value=0.8)]
    records += [record(2, "complete", 0.8, value=0.8), record(3, "complete", 0.7, value=0.7)]
    best = best_of(records)
    assert best is not None and best.number == 1
    assert best_of(records[:1]) is None


def test_trials_are_compared_with_their_baseline() -> None:
    records = [
        record(0, "complete", 0.8, 0.9, value=0.85),
        record(1, "pruned", 0.5),
        record(2, "running"),
    ]
    plain = {plain_key({}): runs(0.7, 0.7)}
    complete, pruned = trial_entries(records, plain, [0, 1])
    assert complete.gain is not None and complete.gain.gains == pytest.approx((0.1, 0.2))
    assert complete.summary is not None and complete.summary.mean == pytest.approx(0.85)
    assert (pruned.state, pruned.summary, pruned.gain, len(pruned.runs)) == (
        "pruned",
        None,
        None,
        1,
    )
    (baseline,) = baseline_entries(records, plain)
    assert baseline.values == {} and baseline.runs == runs(0.7, 0.7)


def test_final_comparison_is_on_the_test_images() -> None:
    final = final_entry([5, 6], runs(0.7, 0.7, first_seed=5), runs(0.9, 0.8, first_seed=5))
    assert final.gain.gains == pytest.approx((0.2, 0.1))
    assert final.arms.best.summary is not None
    assert final.arms.best.summary.mean == pytest.approx(0.85 - 0.01)
    assert final.verdict.startswith("no evidence that distillation helped or hurt: +15.0 points")


def test_table_has_one_row_for_each_trial(tmp_path: Path) -> None:
    space = [Choice("method.alpha", (0.0, 0.1))]
    records = [record(0, "complete", 0.8, 0.9, value=0.85), record(1, "failed")]
    trials = trial_entries(records, {plain_key({}): runs(0.7, 0.7)}, [0, 1])
    write_trials(tmp_path / "trials.csv", space, trials)
    with (tmp_path / "trials.csv").open(newline="") as file:
        complete, failed = csv.DictReader(file)
    assert float(complete["val_accuracy"]) == pytest.approx(0.85)
    assert float(complete["gain"]) == pytest.approx(0.15)
    assert (complete["seeds"], complete["seconds"], complete["state"]) == ("2", "4.0", "complete")
    assert (failed["val_accuracy"], failed["gain"], failed["seconds"]) == ("", "", "0")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"runs": []}, "trial 0 is complete, but has no runs"),
        ({"values": {"method.temperature": 1}}, "trial 0 has no value of method.alpha"),
        ({"state": "odd"}, r"trials\.0\.state: input should be 'complete', 'pruned' or 'failed'"),
    ],
)
def test_damaged_trials_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    results = write_example_sweep(tmp_path)
    results["trials"][0] |= change
    with pytest.raises(UnderstudyError, match=problem):
        typed(results)
