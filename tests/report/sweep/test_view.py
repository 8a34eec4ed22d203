"""A sweep is read once, checked, and its trials are averaged seed by seed."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.example_sweep import LOG, view_of, write_example_sweep

from understudy.errors import UnderstudyError
from understudy.evaluation.correctness import pack, unpack
from understudy.evaluation.gain import PairedGain, gain_of_differences
from understudy.evaluation.statistics import estimate
from understudy.report.sweep.view import gain, pooled, same, written


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_example_sweep(
        tmp_path_factory.mktemp("sweep"), failed={3: "out of memory"}, pruned=[4]
    )


def test_gains_are_those_of_the_file(results: dict[str, Any]) -> None:
    sweep = view_of(results)
    for trial, entry in zip(sweep.trials, results["trials"], strict=True):
        assert (trial.number, trial.state, trial.reason) == (
            entry["number"],
            entry["state"],
            entry["reason"],
        )
        if trial.state == "complete":
            written_gain, found = entry["gain"], gain(trial)
            assert found is not None and found.low is not None
            assert found.mean == pytest.approx(written_gain["mean"])
            assert found.low == pytest.approx(written_gain["low"], rel=1e-4)
            assert found.sign == (written_gain["low"] > 0) - (written_gain["high"] < 0)
        else:
            assert not trial.accuracies
    assert sweep.best is not None
    assert sweep.best is sweep.complete[0]
    assert len(sweep.complete) == 23


def test_trials_are_pooled_seed_by_seed(results: dict[str, Any]) -> None:
    sweep = view_of(results)
    one, other = sweep.complete[:2]
    mean = [(one.gains[seed] + other.gains[seed]) / 2 for seed in one.gains]
    found, expected = pooled(sweep, [one, other], paired=True), estimate(mean)
    assert isinstance(found, PairedGain) and found.images is None, "an older file: seeds alone"
    assert (found.mean, found.low, found.high) == (expected.mean, expected.low, expected.high)
    assert pooled(sweep, [], paired=True) is None
    assert sweep.covers == "over seeds alone"


def test_pooled_gains_cover_images_where_it_is_recorded_which_were_right(
    results: dict[str, Any],
) -> None:
    rng = np.random.default_rng(0)
    for entry in (*results["baselines"], *results["trials"]):
        for run in entry["runs"]:
            correct = rng.random(200) < 0.8
            run["val"] |= {"correct": pack(correct), "accuracy": float(correct.mean())}
    sweep = view_of(results)
    one, other = sweep.complete[:2]
    found = pooled(sweep, [one, other], paired=True)
    assert isinstance(found, PairedGain) and found.images == 200
    plain = {run.seed: unpack(run.val.correct or "") for run in sweep.results.baselines[0].runs}
    differences = np.zeros((len(plain), 200))
    for trial in (one, other):
        for row, run in zip(differences, trial.runs, strict=True):
            row += (unpack(run.val.correct or "") * 1.0 - plain[run.seed]) / 2
    assert found == gain_of_differences(differences)


def test_values_are_ordered_and_named(tmp_path: Path) -> None:
    space = [
        {"key": "train.lr", "kind": "choice", "values": [0.01, 0.001]},
        {"key": "method.lr", "kind": "choice", "values": ["b", "a"]},
    ]
    first, second = view_of(
        write_example_sweep(tmp_path, space=space, effect=lambda _: 0.0)
    ).settings
    assert first.levels == (0.001, 0.01), "numbers rise"
    assert second.levels == ("b", "a"), "words stay in their order"
    assert (first.label, second.label) == ("train.lr", "method.lr"), "one last word would name both"
    many = view_of(write_example_sweep(tmp_path, space=[LOG], sampled=30)).settings[0]
    assert (many.levels, many.label, many.log, many.numeric) == (None, "lr", True, True)


def test_true_is_not_one() -> None:
    assert same(1, 1.0)
    assert not same(1, True)
    assert [written(value) for value in (True, 4.0, 0.000123456, "kd", [1, 2])] == [
        "true",
        "4",
        "0.0001235",
        "kd",
        "[1, 2]",
    ]
    assert written({"name": "kd", "temperature": 4.0}) == "name kd, temperature 4"


@pytest.mark.parametrize("broken", ["space", "trials", "values", "accuracy", "state", "gains"])
def test_incomplete_sweeps_are_one_clear_line(results: dict[str, Any], broken: str) -> None:
    sweep = copy.deepcopy(results)
    trial = sweep["trials"][0]
    if broken in sweep:
        del sweep[broken]
    elif broken == "values":
        trial["values"] = {"method.temperature": 99, "method.alpha": 0.1}
    elif broken == "accuracy":
        trial["runs"][0]["val"]["accuracy"] = math.nan
    elif broken == "state":
        trial["state"] = "odd"
    else:
        trial["gain"]["gains"].pop()
    with pytest.raises(UnderstudyError, match="here is incomplete") as error:
        view_of(sweep)
    assert "\n" not in str(error.value)
