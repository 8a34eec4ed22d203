"""`understudy cache`: labelling ahead leaves nothing to label, damage is found and mended, nothing else is ever deleted."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.test_experiment import config_for, images  # noqa: F401 (a fixture)

from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.errors import UnderstudyError
from understudy.experiment import train_arm
from understudy.runs.folder import load_run
from understudy.runs.warm_cache import build_cache, verify_cache
from understudy.teachers.cache_admin import delete_cache, find_cache, inspect_cache, list_caches


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("runs") / "colours"
    train_arm(config_for(images), "teacher", 0, out, device="cpu")
    return out


def test_labelled_ahead_verified_damaged_and_mended(run: Path, tmp_path: Path):
    built = build_cache(run, cache=tmp_path)
    (folder,) = (Path(f) for f in built["folders"])
    entry = inspect_cache(folder)
    assert (
        built["labelled"] == entry["filled"] > 48 and entry["views"] == 18 and entry["damaged"] == 0
    )
    assert build_cache(run, cache=tmp_path)["labelled"] == 0  # everything is there
    checked = verify_cache(folder, run)
    assert checked["compared"] > 0 and checked["largest_difference"] < 1e-2

    rows = np.memmap(folder / "views.bin", np.uint16, "r+")
    rows[np.flatnonzero(rows)[:3]] ^= 1
    rows.flush()
    damaged = inspect_cache(folder)["damaged"]
    assert damaged >= 1
    with pytest.raises(UnderstudyError, match="damaged rows"):
        verify_cache(folder)
    assert build_cache(run, cache=tmp_path)["labelled"] == damaged
    assert verify_cache(folder)["damaged"] == 0


def test_only_the_epochs_before_an_early_stop_are_labelled(run: Path, tmp_path: Path):
    stopped = tmp_path / "run"
    shutil.copytree(run, stopped)
    config = load_run(run)
    (stopped / "config.yaml").write_text(
        to_yaml(replace(config, train=replace(config.train, epochs=3, stop_epoch=1)))
    )
    first = build_cache(run, epochs=1, cache=tmp_path / "first")["labelled"]
    assert build_cache(stopped, cache=tmp_path / "stopped")["labelled"] == first > 0


def test_all_views_fill_the_whole_file(run: Path, tmp_path: Path):
    built = build_cache(run, all_views=True, cache=tmp_path)
    (entry,) = list_caches(tmp_path)
    assert entry["empty"] == 0 and entry["filled"] == built["labelled"] == 48 * 18


def test_a_method_that_reads_embeddings_has_them_labelled_ahead(
    images: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch,
):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "user"))
    out = tmp_path / "run"
    config = config_for(images, method={"name": "pkt"})
    train_arm(config, "teacher", 0, out, device="cpu")
    built = build_cache(out)
    assert built["labelled"] == 2 * 2 * 48 and len(built["folders"]) == 2, "two epochs of two seeds"
    checked = verify_cache(Path(built["folders"][0]), out)
    assert (
        checked["embedding"] == 8
        and checked["compared"] > 0
        and checked["largest_difference"] < 1e-2
    )
    train_arm(config, "distilled", 0, out, device="cpu")
    assert len(list_caches()) == 2, "the training found what it wanted"
    with pytest.raises(UnderstudyError, match="pkt reads embeddings, which are kept by epoch"):
        build_cache(out, all_views=True)


def test_only_caches_are_deleted(run: Path, tmp_path: Path):
    build_cache(run, epochs=1, cache=tmp_path)
    (tmp_path / "letters").mkdir()
    with pytest.raises(UnderstudyError, match=r"no sound meta\.json"):
        delete_cache(tmp_path / "letters")
    folder = find_cache(list_caches(tmp_path)[0]["name"][:6], tmp_path)
    delete_cache(folder)
    assert not folder.exists() and (tmp_path / "letters").exists()
    with pytest.raises(UnderstudyError, match="no cache begins"):
        find_cache("feed", tmp_path)


def test_the_cache_of_another_run_is_not_compared(run: Path, tmp_path: Path, images: Path):  # noqa: F811
    other = tmp_path / "other"
    train_arm(
        config_for(images, data={"source": "npz", "path": str(images), "val_fraction": 0.3}),
        "teacher",
        0,
        other,
        device="cpu",
    )
    (folder,) = build_cache(other, epochs=1, cache=tmp_path / "caches")["folders"]
    with pytest.raises(UnderstudyError, match="is not the cache of"):
        verify_cache(Path(folder), run)


def test_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["cache", "build", str(run), "--epochs", "1", "--device", "cpu"]) == 0
    folder = capsys.readouterr().out.split("Cache: ")[1].split("\n")[0]
    assert main(["cache", "inspect"]) == 0
    assert main(["cache", "inspect", Path(folder).name[:8], "--json"]) == 0
    assert main(["cache", "verify", folder, "--run", str(run), "--device", "cpu"]) == 0
    assert "rows compared with the live teacher" in capsys.readouterr().out
    assert main(["cache", "delete", folder]) == 0
    assert main(["cache", "delete", "nothing-like-it"]) == 2
