"""Gains of older sweeps, again from the predictions of their trainings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.example_sweep import typed, write_example_sweep

from understudy.evaluation import paired_gain
from understudy.sweep.recompute import recomputed
from understudy.sweep.results import SweepResults, baseline_name

IMAGES = 200


def write_predictions(path: Path, entry: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """A file of predictions, and its accuracy in the record."""
    correct = rng.random(IMAGES) < 0.8
    path.parent.mkdir(parents=True, exist_ok=True)
    logits = np.stack([correct, ~correct], axis=1).astype(np.float16)
    np.savez_compressed(path, logits=logits, labels=np.zeros(IMAGES, np.int64))
    entry["accuracy"] = float(correct.mean())
    return correct


@pytest.fixture
def older(tmp_path: Path) -> tuple[Path, SweepResults, dict[str, np.ndarray]]:
    """A sweep's folder, its results without the images, and which were right by training."""
    results = write_example_sweep(tmp_path)
    rng, correct = np.random.default_rng(0), {}
    groups = [
        (baseline_name(each["values"]), "baseline", each["runs"]) for each in results["baselines"]
    ]
    groups += [(f"{t['number']:04d}", "distilled", t["runs"]) for t in results["trials"]]
    arms = results["final"]["arms"]
    groups += [
        ("final-baseline", "baseline", arms["baseline"]["runs"]),
        ("final-best", "distilled", arms["best"]["runs"]),
    ]
    for name, arm, runs in groups:
        for run in runs:
            training = tmp_path / "trials" / f"{name}-seed{run['seed']}"
            folder = training / "arms" / f"{arm}-seed{run['seed']}"
            key = f"{name}-{run['seed']}"
            right = write_predictions(folder / "predictions-val.npz", run["val"], rng)
            correct[f"{key}-val"] = right
            if run.get("test"):
                right = write_predictions(folder / "predictions.npz", run["test"], rng)
                correct[f"{key}-test"] = right
    return tmp_path, typed(json.loads(json.dumps(results))), correct


def test_every_trial_and_the_final_comparison_are_judged_image_by_image(older) -> None:
    path, results, correct = older
    found = recomputed(path, results)

    def rows(name: str, seeds: tuple[int, ...], split: str) -> np.ndarray:
        return np.array([correct[f"{name}-{seed}-{split}"] for seed in seeds])

    for trial in found.trials:
        expected = paired_gain(
            rows(f"{trial.number:04d}", results.seeds, "val"),
            rows("plain", results.seeds, "val"),
        )
        assert trial.gain is not None and trial.gain.num_compared == len(results.trials)
        assert (trial.gain.low, trial.gain.high, trial.gain.images) == (
            expected.low,
            expected.high,
            IMAGES,
        )
    assert found.final is not None
    seeds = found.final.seeds
    assert found.final.gain == paired_gain(
        rows("final-best", seeds, "test"), rows("final-baseline", seeds, "test")
    )
    assert f"seeds and {IMAGES} test images" in found.final.verdict
    assert recomputed(path, found) is found, "nothing is computed twice"


def test_without_predictions_gains_are_over_seeds_alone(older, tmp_path_factory) -> None:
    _, results, _ = older
    found = recomputed(tmp_path_factory.mktemp("elsewhere"), results)
    assert found.final is not None and "seeds alone" in found.final.verdict
    assert all(trial.gain is not None and trial.gain.images is None for trial in found.trials)
