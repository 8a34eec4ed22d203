"""Gains of older runs, again from their predictions; over seeds alone where these are gone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.report.example_run import write_example_run

from understudy.errors import UnderstudyError
from understudy.evaluation import paired_gain
from understudy.runs.recompute import correct_in, recomputed
from understudy.runs.results import read_results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of an earlier version: results without the images, and files of predictions."""
    write_example_run(tmp_path, num_test=200, epochs=1)
    assert "correct" not in (tmp_path / "results.json").read_text()
    return tmp_path


def test_an_older_file_is_read_with_its_interval_over_seeds(run: Path) -> None:
    written = json.loads((run / "results.json").read_text())["comparisons"][0]
    comparison = read_results(run).comparisons[0]
    assert (comparison.low, comparison.high) == (written["low"], written["high"])
    assert comparison.images is None and comparison.verdict == written["verdict"]


def test_the_gain_comes_from_the_predictions(run: Path) -> None:
    results = recomputed(run, read_results(run))
    seeds = [result.seed for result in results.arms["distilled"].runs]
    arms = [
        np.array([correct_in(run / "arms" / f"{arm}-seed{s}" / "predictions.npz") for s in seeds])
        for arm in ("distilled", "baseline")
    ]
    comparison = results.comparisons[0]
    expected = paired_gain(*arms)
    assert (comparison.low, comparison.high, comparison.p) == (
        expected.low,
        expected.high,
        expected.p,
    )
    assert "over 3 seeds and 200 test images" in comparison.verdict
    assert recomputed(run, results) is results, "nothing is computed twice"


def test_without_predictions_the_sentence_is_over_seeds_alone(run: Path) -> None:
    before = read_results(run)
    shutil.rmtree(run / "arms")
    after = recomputed(run, before)
    assert "over 3 seeds alone" in after.comparisons[0].verdict
    assert after.comparisons[0].low == pytest.approx(before.comparisons[0].low, rel=1e-3)


def test_predictions_of_another_training_are_not_taken(run: Path) -> None:
    path = run / "arms" / "distilled-seed0" / "predictions.npz"
    with np.load(path) as file:
        logits, labels = file["logits"], file["labels"]
    np.savez_compressed(path, logits=-logits, labels=labels)
    assert recomputed(run, read_results(run)).comparisons[0].images is None


@pytest.mark.parametrize("size", [2, 100])  # of another kind, of the right one
def test_damaged_predictions_are_one_line(run: Path, size: int) -> None:
    path = run / "arms" / "distilled-seed0" / "predictions.npz"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UnderstudyError, match=r"predictions\.npz cannot be read"):
        recomputed(run, read_results(run))
