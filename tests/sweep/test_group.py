"""One configuration over its seeds."""

from pathlib import Path
from typing import Any

import pytest
from tests.sweep.small_sweep import small_config

pytest.importorskip("optuna")

from understudy.evaluation.results import Metrics
from understudy.runs.plan import resolve_plan
from understudy.runs.results import ArmResult
from understudy.sweep.folder import SweepFolder
from understudy.sweep.group import Group
from understudy.sweep.space import trial_plan

PLAN = resolve_plan(small_config(Path("nowhere.npz"), seeds=[4, 1]))


def result(seed: int, **changes: Any) -> ArmResult:
    metrics = Metrics(accuracy=0.5)
    values: dict[str, Any] = {
        "val": metrics,
        "test": metrics,
        "arm": "distilled",
        "seed": seed,
        "model": "m",
        "method": "kd",
        "taught_by": "teacher",
        "precision": "fp32",
        "threads": 1,
        "ranks": 1,
        "seconds": 2.5,
        "epochs": 2,
        "images_per_second": 10.0,
        "label_seconds": 0.0,
        "best_epoch": 0,
        "best_val_accuracy": 0.5,
    }
    return ArmResult(**values | changes)


def test_a_training_has_its_own_folder_and_the_sweeps_teacher():
    plan = trial_plan(PLAN, {"method.temperature": 9})
    group = Group("0003", plan, "distilled", (4, 1), {"method.temperature": 9}, final=True)
    training = group.training(1, SweepFolder(Path("sweep")), "outputs")
    assert (training.name, training.run.name) == ("0003-seed1", "distilled-seed1")
    assert training.folder.path == Path("sweep/trials/0003-seed1")
    assert training.teachers.path == Path("sweep") and training.cache == "outputs"
    assert training.final and training.plan.arm("distilled").method.temperature == 9
    assert group.seed_of("0003-seed1") == 1 and group.seed_of("0003-seed4") == 4


def test_results_are_listed_in_the_order_of_the_seeds():
    group = Group("plain", PLAN, "baseline", (4, 1), {})
    assert group.missing_seeds == [4, 1] and group.runs() == ()
    group.results[1] = result(1)
    assert group.missing_seeds == [4]
    group.results[4] = result(4)
    assert [run.seed for run in group.runs()] == [4, 1] and group.missing_seeds == []


def test_only_final_trainings_have_test_metrics():
    trial, final = (Group("g", PLAN, "distilled", (4,), {}, final=final) for final in (False, True))
    for group in (trial, final):
        group.results[4] = result(4)
    assert trial.runs()[0].test is None and trial.runs()[0].seconds == 2.5
    assert final.runs()[0].test is not None and final.runs()[0].seconds is None


def test_epochs_are_those_before_an_early_stop():
    plan = trial_plan(PLAN, {"train.stop_epoch": 1})
    assert Group("0000", plan, "distilled", (4,), {}).epochs == 1
    assert Group("0000", PLAN, "distilled", (4,), {}).epochs == 2
