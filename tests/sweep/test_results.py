"""What a sweep writes down: gains paired by seed, the winner by validation, the final gain by test,
a row for each trial."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.report.example_sweep import typed, write_example_sweep

pytest.importorskip("optuna")

from understudy.errors import UnderstudyError
from understudy.evaluation.results import Metrics
from understudy.files import to_json
from understudy.runs.results import ArmResult
from understudy.sweep.csv_file import write_trials
from understudy.sweep.results import (
    TrialRun,
    accuracy_of,
    baseline_entries,
    baseline_key,
    best_of,
    final_entry,
    gain_over,
    read_runs,
    trial_entries,
)
from understudy.sweep.search import Record
from understudy.sweep.space import make_space


def run(seed: int, val: float, test: float = 0.0, seconds: float = 1.0) -> TrialRun:
    return TrialRun(
        seed=seed, val=Metrics(accuracy=val), test=Metrics(accuracy=test), seconds=seconds
    )


def record(
    number: int, values: dict[str, Any], runs: list[TrialRun], state: str = "complete"
) -> Record:
    mean = sum(one.val.accuracy for one in runs) / len(runs) if state == "complete" else None
    return Record(
        number,
        values,
        state,
        None if state in ("complete", "running") else f"{state} for a reason",
        to_json(runs),
        mean,
    )


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % t interval of a mean, by scipy."""
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def test_the_final_gain_pairs_test_accuracies_by_seed():
    baseline = [run(5, 0.90, 0.50), run(6, 0.80, 0.65), run(7, 0.70, 0.60)]
    best = [
        run(7, 0.10, 0.66),
        run(5, 0.20, 0.58),
        run(6, 0.30, 0.72),
    ]  # in another order, and worse on validation
    final = final_entry([5, 6, 7], baseline, best)
    gains = [0.08, 0.07, 0.06]
    assert final.gain.gains == pytest.approx(gains)
    assert final.gain.mean == pytest.approx(0.07)
    assert (final.gain.low, final.gain.high) == pytest.approx(interval(gains))
    assert final.verdict.startswith("distillation helped by +7.0 points"), (
        "validation says the opposite"
    )
    assert final.seeds == (5, 6, 7)
    assert final.arms.baseline.summary.mean == pytest.approx(np.mean([0.50, 0.65, 0.60]))
    assert final.arms.best.summary.mean == pytest.approx(np.mean([0.58, 0.72, 0.66]))
    assert final.arms.best.runs == tuple(best) and final.arms.baseline.runs == tuple(baseline)


def test_a_final_loss_is_called_a_loss():
    final = final_entry(
        [1, 2, 3],
        [run(s, 0.1, 0.9) for s in (1, 2, 3)],
        [run(s, 0.9, 0.5 + 0.01 * s) for s in (1, 2, 3)],
    )
    assert final.gain.gains == pytest.approx([-0.39, -0.38, -0.37])
    assert final.verdict.startswith("distillation hurt by -38.0 points")


def test_the_final_gain_does_not_depend_on_the_number_of_trials():
    """No correction for many comparisons: the winner is compared once, on fresh seeds. So p is that
    of one paired t test."""
    baseline, best = [0.50, 0.65, 0.60], [0.53, 0.66, 0.65]
    final = final_entry(
        [0, 1, 2], *[[run(s, 0.0, a) for s, a in enumerate(side)] for side in (baseline, best)]
    )
    assert final.gain.p == pytest.approx(float(stats.ttest_rel(best, baseline).pvalue))


def test_a_gain_pairs_seeds_and_needs_both_sides_complete():
    ours, plain = [run(3, 0.9, 0.1), run(1, 0.6, 0.2)], [run(1, 0.5, 0.7), run(3, 0.7, 0.9)]
    gain = gain_over(ours, plain)
    assert gain is not None and gain.gains == pytest.approx([0.1, 0.2]), (
        "seed 1, then seed 3, of validation"
    )
    assert gain.n == 2 and gain.mean == pytest.approx(0.15)
    tested = gain_over(ours, plain, "test")
    assert tested is not None and tested.gains == pytest.approx([-0.5, -0.8])
    assert gain_over(ours, plain[:1]) is None and gain_over(ours[:1], plain) is None
    assert gain_over([], []) is None and gain_over(ours, []) is None
    assert gain_over(ours, [run(1, 0.5), run(4, 0.5)]) is None, "as many seeds, but others"


def test_an_accuracy_has_its_mean_deviation_and_interval():
    values = [0.5, 0.7, 0.9]
    summary = accuracy_of([run(s, v, 1 - v) for s, v in enumerate(values)])
    assert summary is not None and list(to_json(summary)) == ["mean", "std", "n", "low", "high"]
    assert (
        summary.mean == pytest.approx(0.7)
        and summary.std == pytest.approx(np.std(values, ddof=1))
        and summary.n == 3
    )
    assert (summary.low, summary.high) == pytest.approx(interval(values))
    tested = accuracy_of([run(0, 0.9, 0.2), run(1, 0.9, 0.4)], "test")
    assert tested is not None and tested.mean == pytest.approx(0.3)
    single = accuracy_of([run(0, 0.9)])
    assert single is not None and (single.std, single.low, single.high) == (
        None,
        None,
        None,
    )
    assert accuracy_of([]) is None


def test_winner_is_the_first_of_the_highest_accuracy():
    def trial(number: int, value: float | None, state: str = "complete") -> Record:
        return Record(number, {"train.lr": number}, state, None, [], value)

    winner = best_of([trial(3, 0.8), trial(2, 0.9), trial(1, 0.9), trial(0, 0.5)])
    assert winner is not None and winner.number == 1
    winner = best_of([trial(0, None, "failed"), trial(1, 0.0), trial(2, None, "pruned")])
    assert winner is not None and winner.number == 1, (
        "a trial that is always wrong is complete all the same"
    )
    assert best_of([trial(0, None, "running")]) is None and best_of([]) is None


def test_only_a_final_training_keeps_test_figures():
    half = Metrics(accuracy=0.5)
    result = ArmResult(
        val=half,
        test=Metrics(accuracy=0.6),
        arm="distilled",
        seed=4,
        model="tiny_res",
        method="kd",
        precision="fp32",
        seconds=2.0,
        epochs=3,
        images_per_second=10.0,
        label_seconds=0.5,
        best_epoch=2,
        best_val_accuracy=0.5,
    )
    assert to_json(TrialRun.of(result)) == {
        "seed": 4,
        "val": to_json(half),
        "seconds": 2.0,
        "images_per_second": 10.0,
        "epochs": 3,
    }
    assert to_json(TrialRun.of(result, final=True)) == {
        "seed": 4,
        "val": to_json(half),
        "test": to_json(result.test),
    }


KD = [{"method.temperature": 1, "train.lr": lr} for lr in (0.1, 0.2)]
PLAIN = {
    baseline_key(values): [run(0, plain), run(1, plain)]
    for values, plain in zip(KD, (0.5, 0.75), strict=True)
}


def test_a_trial_is_compared_with_plain_training_of_its_values():
    records = [
        record(0, KD[0], [run(1, 0.8), run(0, 0.6)]),
        record(1, KD[1], [run(0, 0.7), run(1, 0.9)]),
        record(2, {"method.temperature": 2, "train.lr": 0.1}, [run(0, 0.55)], "pruned"),
        record(3, {"method.temperature": 2, "train.lr": 0.2}, [], "failed"),
        record(4, {"method.temperature": 2, "train.lr": 0.3}, [], "running"),
        record(5, {"method.temperature": 2, "train.lr": 0.4}, [run(0, 0.2), run(1, 0.4)]),
    ]
    entries = trial_entries(records, PLAIN, [0, 1])
    assert [(e.number, e.state) for e in entries] == [
        (0, "complete"),
        (1, "complete"),
        (2, "pruned"),
        (3, "failed"),
        (5, "complete"),
    ]
    assert [e.values for e in entries[:2]] == KD
    assert [one.seed for one in entries[0].runs] == [0, 1], "in the order of the seeds"
    assert entries[0].gain.gains == pytest.approx([0.1, 0.3])
    assert entries[1].gain.gains == pytest.approx([-0.05, 0.15])
    assert entries[0].summary.mean == pytest.approx(0.7) and entries[0].reason is None
    assert (entries[2].summary, entries[2].gain) == (None, None), (
        "one that was stopped has no figure of all seeds"
    )
    assert [one.seed for one in entries[2].runs] == [0] and entries[
        2
    ].reason == "pruned for a reason"
    assert entries[4].summary.mean == pytest.approx(0.3) and entries[4].gain is None, (
        "its baseline is not there"
    )
    backwards = trial_entries(records[:1], PLAIN, [1, 0])
    assert [one.seed for one in backwards[0].runs] == [1, 0]


def test_trials_that_differ_in_the_method_share_a_plain_student():
    both = {"train.lr": 0.1, "student.model.name": "resnet8"}
    assert baseline_key({"method.alpha": 0.3, **both}) == baseline_key(
        {**dict(reversed(both.items())), "method": {"name": "at"}}
    )
    assert baseline_key(both) != baseline_key({**both, "train.lr": 0.2})
    assert json.loads(baseline_key({"method.alpha": 0.3, "method.name": "at"})) == {}


def test_plain_students_stand_in_the_order_of_their_trials():
    records = [
        record(0, KD[1], [run(0, 0.1)]),
        record(1, KD[0], [run(0, 0.1)]),
        record(2, KD[1], [run(0, 0.1)]),
    ]
    entries = baseline_entries(records, PLAIN)
    assert [e.values for e in entries] == [{"train.lr": 0.2}, {"train.lr": 0.1}]
    assert [e.summary.mean for e in entries] == pytest.approx([0.75, 0.5])
    assert [one.seed for one in entries[0].runs] == [0, 1]
    assert baseline_entries([record(0, {"train.lr": 9}, [run(0, 0.1)])], PLAIN) == (), (
        "not trained yet"
    )


def test_the_table_of_trials_has_a_row_for_each_with_its_own_figures(tmp_path: Path):
    space = make_space({"train.step_milestones": [[1], [2]], "train.lr": [0.1, 0.2]})
    values = [
        {"train.step_milestones": [1], "train.lr": 0.1},
        {"train.step_milestones": [2], "train.lr": 0.2},
    ]
    plain = {baseline_key(values[0]): [run(0, 0.5), run(1, 0.5)]}
    records = [
        record(0, values[0], [run(0, 0.6, seconds=2.5), run(1, 0.8, seconds=4.0)]),
        record(1, values[1], [run(0, 0.3, seconds=1.5)], "pruned"),
    ]
    write_trials(tmp_path / "trials.csv", space, trial_entries(records, plain, [0, 1]))
    text = (tmp_path / "trials.csv").read_text()
    assert text.splitlines()[0] == (
        "number,train.step_milestones,train.lr,state,seeds,val_accuracy,std,low,high,gain,gain_low,gain_high,seconds,reason"
    )
    first, second = csv.DictReader(text.splitlines())
    assert {
        k: first[k]
        for k in ("number", "train.step_milestones", "train.lr", "state", "seeds", "reason")
    } == {
        "number": "0",
        "train.step_milestones": "[1]",
        "train.lr": "0.1",
        "state": "complete",
        "seeds": "2",
        "reason": "",
    }
    low, high = interval([0.6, 0.8])
    figures = {
        "val_accuracy": 0.7,
        "std": np.std([0.6, 0.8], ddof=1),
        "low": low,
        "high": high,
        "gain": 0.2,
        "seconds": 6.5,
    }
    figures["gain_low"], figures["gain_high"] = interval([0.1, 0.3])
    assert {key: float(first[key]) for key in figures} == pytest.approx(figures)
    assert {k: v for k, v in second.items() if v} == {
        "number": "1",
        "train.step_milestones": "[2]",
        "train.lr": "0.2",
        "state": "pruned",
        "seeds": "1",
        "seconds": "1.5",
        "reason": "pruned for a reason",
    }


def test_runs_round_trip_through_the_database() -> None:
    trained = (run(0, 0.7, 0.6), run(1, 0.8, 0.7))
    assert read_runs(json.loads(json.dumps(to_json(trained)))) == trained
    assert "test" not in to_json(TrialRun(seed=0, val=Metrics(accuracy=0.5)))


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
