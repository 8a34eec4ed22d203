"""A sweep's directory: its paths, one sweep at a time, and whose sweep it is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sweep.small_sweep import small_config

from understudy.errors import UnderstudyError
from understudy.sweep.folder import (
    SweepFolder,
    claim_folder,
    exclusive,
    read_or_empty,
    record_sweep,
    removed_if_refused,
)

CONFIG = small_config(Path("nowhere.npz"))


def test_paths_of_a_sweep(tmp_path: Path):
    folder = SweepFolder(tmp_path)
    assert folder.training("0003-seed1").path == tmp_path / "trials" / "0003-seed1"
    assert folder.run.weights("teacher-seed0") == tmp_path / "models" / "teacher-seed0.safetensors"
    names = [folder.identity, folder.trials_csv, folder.run.results, folder.run.config]
    assert [path.name for path in names] == [
        "sweep.json",
        "trials.csv",
        "results.json",
        "config.yaml",
    ]


def test_second_sweep_in_a_directory_is_refused(tmp_path: Path):
    folder = SweepFolder(tmp_path / "sweep")
    refused = pytest.raises(UnderstudyError, match=r"another sweep is at work in .*: wait for it")
    with exclusive(folder), refused, exclusive(folder):
        raise AssertionError("held already")
    with exclusive(folder):  # the lock has ended with the first
        assert folder.path.is_dir()


def test_directory_of_a_refused_sweep_is_removed_unless_it_was_there(tmp_path: Path):
    old = tmp_path / "old"
    old.mkdir()
    for path in (tmp_path / "new", old):
        with pytest.raises(UnderstudyError, match="refused"), exclusive(SweepFolder(path)):
            raise UnderstudyError("refused")
    assert not (tmp_path / "new").exists() and old.exists()
    (tmp_path / "file").write_text("")
    refused = pytest.raises(UnderstudyError, match="is a file: choose another --out")
    with refused, exclusive(SweepFolder(tmp_path / "file")):
        raise AssertionError("a file holds no sweep")


def test_only_what_a_refused_sweep_wrote_is_deleted(tmp_path: Path):
    (tmp_path / "kept.txt").write_text("mine")

    def refuse() -> None:
        with removed_if_refused(SweepFolder(tmp_path)):
            (tmp_path / "sweep.json").write_text("{}")
            raise UnderstudyError("refused")

    with pytest.raises(UnderstudyError, match=r"^refused$"):
        refuse()
    with removed_if_refused(SweepFolder(tmp_path)):
        (tmp_path / "config.yaml").write_text("")
    assert {path.name for path in tmp_path.iterdir()} == {"kept.txt", "config.yaml"}


def test_resumed_sweep_has_the_drivers_id_and_must_have_its_settings(tmp_path: Path):
    folder, settings = SweepFolder(tmp_path), {"search": "grid", "final_seeds": [2, 3]}
    driver = record_sweep(CONFIG, folder, settings, resume=False)
    assert json.loads(folder.identity.read_text()) == {"driver": driver, "asked": settings}
    assert record_sweep(CONFIG, folder, {**settings, "final_seeds": (2, 3)}, resume=True) == driver
    for changes, resume, says in (
        (settings, False, "already holds a sweep: go on with it by --resume"),
        ({**settings, "search": "tpe"}, True, "its search differ; give another --out"),
    ):
        with pytest.raises(UnderstudyError, match=says):
            record_sweep(CONFIG, folder, changes, resume)
    folder.identity.write_text("{")
    with pytest.raises(UnderstudyError, match=r"sweep\.json is damaged"):
        record_sweep(CONFIG, folder, settings, resume=True)


def test_directory_of_a_run_holds_no_sweep(tmp_path: Path):
    SweepFolder(tmp_path).run.config.write_text("name: run")
    with pytest.raises(UnderstudyError, match="already holds a run: choose another --out"):
        record_sweep(CONFIG, SweepFolder(tmp_path), {}, resume=False)


def test_a_training_goes_on_if_only_its_images_have_moved(tmp_path: Path):
    folder = SweepFolder(tmp_path).training("0000-seed0")
    claim_folder(folder, CONFIG)
    moved = replace(CONFIG, data=replace(CONFIG.data, path="elsewhere.npz"))
    claim_folder(folder, moved)
    assert "nowhere.npz" in folder.config.read_text(), "as it was written first"
    other = replace(CONFIG, train=replace(CONFIG.train, lr=0.5))
    with pytest.raises(UnderstudyError, match="holds a training of another configuration"):
        claim_folder(folder, other)


def test_damaged_or_missing_file_is_empty(tmp_path: Path):
    assert read_or_empty(tmp_path / "missing.json") == {}
    (tmp_path / "damaged.json").write_text('{"a": ')
    assert read_or_empty(tmp_path / "damaged.json") == {}
    (tmp_path / "sound.json").write_text('{"a": 1}')
    assert read_or_empty(tmp_path / "sound.json") == {"a": 1}
