"""A sweep compares fairly: each trial with the baseline of its own settings, the winner on seeds
that did not choose it.

What is checked is worked out from the trainings' own files, not from what the sweep says of them.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("optuna")

from tests.sweep.small_sweep import figures, small_config
from tests.worlds import write_colours

from understudy.config.recipe import from_yaml
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import agreement
from understudy.sweep import backend_choice
from understudy.sweep.driver import run_sweep
from understudy.sweep.results import read_sweep

SPACE = {"train.lr": [5e-3, 2e-2], "method.temperature": [8, 1]}
QUIET: dict[str, Any] = {"device": "cpu", "workers": 1, "backend": "sequential"}
CHANGES: dict[str, Any] = {
    "seeds": [4, 1],
    "train": {"epochs": 2, "batch_size": 12, "lr": 3e-3, "precision": "fp32"},
    "method": {"name": "kd", "alpha": 0.9},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", contrast=25)


@pytest.fixture(scope="module", autouse=True)
def one_core():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("understudy.execution.wave.available_cores", lambda: [0])
        yield


@pytest.fixture(scope="module")
def swept(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Learning rate and temperature, two seeds in falling order: a learning rate changes the
    baseline as well."""
    out = tmp_path_factory.mktemp("sweep") / "sweep"
    run_sweep(small_config(images, **CHANGES), SPACE, out, cache=str(out.parent / "cache"), **QUIET)
    return out, json.loads((out / "results.json").read_text())


def trained(out: Path, name: str) -> tuple[RunConfig, dict[str, Any]]:
    """The configuration and the result of one training of a sweep."""
    folder = out / "trials" / name
    (result,) = folder.glob("arms/*/result.json")
    return from_yaml((folder / "config.yaml").read_text(), name), json.loads(result.read_text())


def validated(out: Path, name: str) -> float:
    return float(trained(out, name)[1]["val"]["accuracy"])


def plain_accuracy(out: Path, lr: float, seed: int) -> float:
    """Validation accuracy of the baseline of this learning rate and seed."""
    found = [trained(out, folder.name) for folder in out.glob(f"trials/plain*-seed{seed}")]
    (accuracy,) = [result["val"]["accuracy"] for config, result in found if config.train.lr == lr]
    return float(accuracy)


def test_final_trainings_have_next_seeds_and_differ_by_method(swept):
    out, results = swept
    assert results["final"]["seeds"] == [5, 6]
    assert sorted(p.name for p in out.glob("trials/final-*")) == [
        f"final-{side}-seed{seed}" for side in ("baseline", "best") for seed in (5, 6)
    ]
    best = results["best"]["values"]
    for seed in (5, 6):
        (plain, plain_result), (taught, taught_result) = (
            trained(out, f"final-{side}-seed{seed}") for side in ("baseline", "best")
        )
        assert plain.train.lr == taught.train.lr == best["train.lr"] != CHANGES["train"]["lr"]
        assert (
            plain.train == taught.train
            and plain.student == taught.student
            and plain.data == taught.data
        )
        assert taught.method == {
            "name": "kd",
            "alpha": 0.9,
            "temperature": best["method.temperature"],
        }
        assert (plain_result["arm"], plain_result["method"], plain_result["seed"]) == (
            "baseline",
            "ce",
            seed,
        )
        assert (taught_result["arm"], taught_result["method"], taught_result["seed"]) == (
            "distilled",
            "kd",
            seed,
        )
        assert plain.teacher_train.lr == taught.teacher_train.lr == CHANGES["train"]["lr"], (
            "the teacher is the recipe's"
        )


def test_the_final_gain_is_the_seeds_difference_in_test_accuracy(swept):
    out, results = swept
    tested, validated = (
        [
            trained(out, f"final-best-seed{s}")[1][split]["accuracy"]
            - trained(out, f"final-baseline-seed{s}")[1][split]["accuracy"]
            for s in (5, 6)
        ]
        for split in ("test", "val")
    )
    assert tested != pytest.approx(validated), "else this could not tell the two apart"
    assert results["final"]["gain"]["gains"] == pytest.approx(tested)
    assert results["final"]["gain"]["mean"] == pytest.approx(np.mean(tested))
    for side in ("baseline", "best"):
        entry = results["final"]["arms"][side]
        for run, seed in zip(entry["runs"], (5, 6), strict=True):
            result = trained(out, f"final-{side}-seed{seed}")[1]
            assert (run["seed"], run["val"], run["test"]) == (seed, result["val"], result["test"])
        assert entry["summary"]["mean"] == pytest.approx(
            np.mean([run["test"]["accuracy"] for run in entry["runs"]])
        )


def test_winner_has_the_highest_mean_validation_accuracy(swept):
    out, results = swept
    means = [np.mean([validated(out, f"{n:04d}-seed{s}") for s in (4, 1)]) for n in range(4)]
    assert len(set(means)) > 1, "else any trial would win"
    assert results["best"]["number"] == int(np.argmax(means)), "of equals the first"
    assert [trial["summary"]["mean"] for trial in results["trials"]] == pytest.approx(means)


def test_trials_are_compared_at_their_own_learning_rate(swept):
    out, results = swept
    assert [b["values"] for b in results["baselines"]] == [{"train.lr": 5e-3}, {"train.lr": 2e-2}]
    for baseline in results["baselines"]:
        expected = [plain_accuracy(out, baseline["values"]["train.lr"], s) for s in (4, 1)]
        assert [(r["seed"], r["val"]["accuracy"]) for r in baseline["runs"]] == list(
            zip((4, 1), expected, strict=True)
        )
        assert baseline["summary"]["mean"] == pytest.approx(np.mean(expected))
    differences = set()
    for trial in results["trials"]:
        config, _ = trained(out, f"{trial['number']:04d}-seed4")
        assert (config.train.lr, config.method["temperature"]) == tuple(trial["values"].values())
        assert [run["seed"] for run in trial["runs"]] == [4, 1]
        ours = {s: validated(out, f"{trial['number']:04d}-seed{s}") for s in (1, 4)}
        gains = [ours[s] - plain_accuracy(out, trial["values"]["train.lr"], s) for s in (1, 4)]
        assert trial["gain"]["gains"] == pytest.approx(gains), "seed 1, then seed 4"
        differences.add(tuple(gains))
    assert len(differences) > 1


def test_the_table_of_trials_holds_the_figures_of_the_results(swept):
    out, results = swept
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert [int(row["number"]) for row in rows] == [0, 1, 2, 3]
    for row, trial in zip(rows, results["trials"], strict=True):
        assert {key: float(row[key]) for key in SPACE} == trial["values"]
        assert (
            float(row["val_accuracy"]) == trial["summary"]["mean"]
            and float(row["gain"]) == trial["gain"]["mean"]
        )
        assert (
            float(row["seconds"]) == pytest.approx(sum(run["seconds"] for run in trial["runs"]))
            and row["seeds"] == "2"
        )


def test_the_results_describe_the_whole_sweep(swept):
    _, results = swept
    assert (
        results["data"]["num_test"] == 30
        and results["data"]["num_train"] + results["data"]["num_val"] == 60
    )
    assert results["search"] == {
        "name": "grid",
        "pruner": "none",
        "storage": "SQLite in the sweep's folder",
    }
    assert results["backend"] == {
        "name": "sequential",
        "capacity": 1,
        "chosen": "given",
        "measured": {},
    }
    assert results["seeds"] == [4, 1] and results["config"]["train"]["lr"] == 3e-3
    seconds = results["seconds"]
    assert seconds["total"] == pytest.approx(
        seconds["teacher"] + seconds["trials"] + seconds["final"]
    )
    assert all(seconds[phase] > 0 for phase in ("teacher", "trials", "final"))
    assert set(results["importance"]) == set(SPACE) and sum(
        results["importance"].values()
    ) == pytest.approx(1)


def test_a_moved_sweep_whose_study_is_lost_is_read_from_its_folders(
    swept, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The data may lie elsewhere when a sweep is resumed; finished trainings are read, whatever the
    study knows of them."""
    out, results = swept
    shutil.copytree(out, tmp_path / "sweep")
    (tmp_path / "sweep" / "study.db").unlink()
    shutil.copy(images, tmp_path / "moved.npz")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(backend_choice, "open_backend", refuse)
    again = run_sweep(
        small_config(tmp_path / "moved.npz", **CHANGES),
        SPACE,
        tmp_path / "sweep",
        resume=True,
        **QUIET,
    )
    assert figures(again) == figures(read_sweep(out))
    assert again.created == results["created"], "it was begun when it was begun"
    assert again.seconds["total"] > results["seconds"]["total"], "the time of both sessions"


@pytest.mark.parametrize(
    ("changes", "options", "differs"),
    [
        ({"seeds": [4, 1, 9]}, {"final_seeds": [5, 6]}, "recipe"),
        ({}, {"search": "random", "trials": 4}, "search"),
        ({}, {"pruner": "median"}, "pruner"),
        ({}, {"final_seeds": [6, 5]}, "final_seeds"),
        ({}, {"space": {"train.lr": [5e-3, 2e-2], "method.temperature": [8, 2]}}, "space"),
    ],
)
def test_another_sweep_is_not_resumed(
    swept,
    images: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    options: dict[str, Any],
    differs: str,
):
    shutil.copytree(swept[0], tmp_path / "sweep")
    arguments = {"space": SPACE} | options | QUIET
    with pytest.raises(
        UnderstudyError, match=f"^cannot resume .*: its {differs} differ; give another --out$"
    ):
        run_sweep(
            small_config(images, **CHANGES | changes),
            out=tmp_path / "sweep",
            resume=True,
            **arguments,
        )


@pytest.mark.parametrize(
    ("final", "says"),
    [
        ([7, 7], "each only once"),
        ([3, 1], "--final-seeds 1 is a seed of the search"),
        ([2**62], "--final-seeds must lie between"),
        ([-(2**62)], "--final-seeds must lie between"),
    ],
)
def test_final_seeds_must_be_fresh_and_differ(
    images: Path, tmp_path: Path, final: list[int], says: str
):
    with pytest.raises(UnderstudyError, match=says):
        run_sweep(
            small_config(images, **CHANGES), SPACE, tmp_path / "sweep", final_seeds=final, **QUIET
        )
    assert not (tmp_path / "sweep").exists()


def test_final_students_have_the_teachers_of_their_seeds(images: Path, tmp_path: Path):
    teacher = {
        "model": {"name": "fast_teacher", "options": {"widths": [4, 4, 4], "stem_width": 4}},
        "per_seed": True,
    }
    config = small_config(
        images,
        **CHANGES | {"teacher": teacher, "seeds": [3], "train": CHANGES["train"] | {"epochs": 1}},
    )
    out = tmp_path / "sweep"
    results = run_sweep(
        config,
        {"method.name": ["ce", "kd"]},
        out,
        final_seeds=[8],
        cache=str(tmp_path / "cache"),
        **QUIET,
    )
    assert {path.stem for path in (out / "models").iterdir()} == {"teacher-seed3", "teacher-seed8"}
    assert results.final is not None and results.final.seeds == (8,)
    assert results.final.gain.n == 1

    def logits(folder: Path) -> torch.Tensor:
        with np.load(folder / "predictions-val.npz") as file:
            return torch.from_numpy(file["logits"].astype(np.float32))

    for name, seed in (("0001-seed3", 3), ("final-best-seed8", 8)):
        ours, theirs = (
            logits(out / f"trials/{name}/arms/distilled-seed{seed}"),
            logits(out / f"arms/teacher-seed{seed}"),
        )
        assert trained(out, name)[1]["val"]["agreement"] == pytest.approx(agreement(ours, theirs))
