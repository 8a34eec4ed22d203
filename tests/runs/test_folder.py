"""The paths of a run's directory, names of trainings, and the configuration that a resumed run must
have."""

from dataclasses import replace
from pathlib import Path

import pytest

from understudy.config.recipe import load_config
from understudy.errors import UnderstudyError
from understudy.runs.folder import (
    RunFolder,
    load_run,
    record_config,
    split_training_name,
    training_name,
)


def test_paths_of_a_training():
    folder, name = RunFolder(Path("run")), "distilled-seed0"
    found = {
        folder.checkpoint(name): "run/arms/distilled-seed0/checkpoint.pt",
        folder.arm_history(name): "run/arms/distilled-seed0/history.csv",
        folder.result(name): "run/arms/distilled-seed0/result.json",
        folder.predictions(name): "run/arms/distilled-seed0/predictions.npz",
        folder.predictions(name, "val"): "run/arms/distilled-seed0/predictions-val.npz",
        folder.weights(name): "run/models/distilled-seed0.safetensors",
    }
    assert all(str(path) == expected for path, expected in found.items())


def test_paths_of_a_run():
    folder = RunFolder(Path("run"))
    found = [folder.config, folder.results, folder.environment, folder.history, folder.report]
    assert [path.name for path in found] == [
        "config.yaml",
        "results.json",
        "environment.json",
        "history.csv",
        "report.html",
    ]
    assert {path.parent for path in (*found, folder.figures, folder.models)} == {Path("run")}


@pytest.mark.parametrize(
    ("arm", "seed"), [("distilled", 0), ("distilled-gen1", 12), ("a-seed7", -3)]
)
def test_name_of_a_training_is_read_back(arm: str, seed: int):
    assert split_training_name(training_name(arm, seed)) == (arm, seed)


@pytest.mark.parametrize("name", ["model", "distilled-seed", "distilled-seedx", ""])
def test_other_names_are_refused_in_one_line(name: str):
    with pytest.raises(UnderstudyError, match="does not name a training: expected ARM-seedNUMBER"):
        split_training_name(name)


def test_weights_that_are_missing_name_the_remedy(tmp_path: Path):
    folder, name = RunFolder(tmp_path), "teacher-seed0"
    with pytest.raises(UnderstudyError, match="yet: run again with --resume to train it"):
        folder.require_weights(name)
    folder.result(name).parent.mkdir(parents=True)
    folder.result(name).write_text("{}")
    with pytest.raises(
        UnderstudyError, match=f"is gone: put it back, or delete {folder.result(name)}"
    ):
        folder.require_weights(name)
    for other in ("teacher-seed0", "baseline-seed1"):
        folder.models.mkdir(exist_ok=True)
        folder.weights(other).write_bytes(b"")
    assert folder.require_weights(name) == folder.weights(name)
    assert [path.stem for path in folder.all_weights()] == ["baseline-seed1", "teacher-seed0"]


def test_resumed_run_may_have_further_seeds_and_its_images_elsewhere(tmp_path: Path):
    config, folder = load_config("digits", []), RunFolder(tmp_path)
    record_config(config, folder, resume=False)
    assert load_run(tmp_path) == config
    moved = replace(config, seeds=(0, 1, 2, 3), data=replace(config.data, path="elsewhere"))
    record_config(moved, folder, resume=True)
    assert load_run(tmp_path) == moved
    other = replace(config, name="other", train=replace(config.train, lr=0.5))
    with pytest.raises(UnderstudyError, match=r"cannot resume .*: name, train\.lr differ from its"):
        record_config(other, folder, resume=True)
    assert load_run(tmp_path) == moved


def test_a_run_goes_on_with_the_images_that_it_began_with(tmp_path: Path):
    config, folder = load_config("digits", []), RunFolder(tmp_path)
    record_config(config, folder, resume=False, images="abc")
    record_config(config, folder, resume=True, images="abc")
    with pytest.raises(UnderstudyError, match=r"cannot resume .*: the images have changed"):
        record_config(config, folder, resume=True, images="def")
    folder.images.unlink()  # as in a run of an earlier version
    record_config(config, folder, resume=True, images="def")
    assert folder.images.read_text() == "def\n"


def test_a_cross_validation_is_no_run(tmp_path: Path):
    RunFolder(tmp_path).folds.mkdir()
    with pytest.raises(UnderstudyError, match="holds a cross-validation"):
        record_config(load_config("digits", []), RunFolder(tmp_path), resume=True)
    assert not RunFolder(tmp_path).config.exists()


def test_directory_without_a_configuration_is_not_a_run(tmp_path: Path):
    with pytest.raises(UnderstudyError, match=r"is not a run directory: it has no config.yaml"):
        load_run(tmp_path)
