"""`understudy cache`: labelling ahead leaves nothing to label, damage is found and mended, nothing
else is ever deleted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.worlds import config_for

from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.errors import UnderstudyError
from understudy.events import Progress, Silent
from understudy.experiment import train_arm
from understudy.runs.folder import load_run
from understudy.runs.warm_cache import build_cache, verify_cache
from understudy.teachers import cache_admin
from understudy.teachers.cache_admin import delete_cache, find_cache, inspect_cache, list_caches
from understudy.teachers.output_store import encode_rows


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def test_every_row_is_counted_once_as_filled_empty_or_damaged(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """48 images under 18 views, in blocks of rows that do not divide them; what is cut off at the
    end does not count."""
    monkeypatch.setattr(cache_admin, "_BLOCK", 100)
    (folder,) = (Path(f) for f in build_cache(run, all_views=True, cache=tmp_path)["folders"])
    rows = np.memmap(folder / "views.bin", np.uint16, "r+", shape=(48 * 18, 4))
    rows[[0, 99, 100, 500, 863]] = 0
    rows[[1, 101, 862], 0] ^= 1
    rows.flush()
    entry = inspect_cache(folder)
    assert (entry["filled"], entry["empty"], entry["damaged"]) == (48 * 18 - 8, 5, 3)
    assert (
        entry["images"],
        entry["classes"],
        entry["teachers"],
        entry["embedding"],
        entry["views"],
    ) == (48, 3, 1, 0, 18)
    assert (
        entry["name"] == folder.name
        and entry["folder"] == str(folder)
        and "teacher" in entry["parts"]
    )
    assert 0 < entry["bytes_on_disk"] <= 2 * 8192
    with (folder / "views.bin").open("r+b") as file:
        file.truncate(2 * 4 * 200 + 5)
    cut = inspect_cache(folder)
    assert (cut["filled"], cut["empty"], cut["damaged"]) == (200 - 5, 3, 2)
    with pytest.raises(
        UnderstudyError, match=r"has 2 damaged rows: the next run labels them again"
    ):
        verify_cache(folder)


class Labelling(Silent):
    """The last progress of each group of views: done and total."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[int, int]] = {}

    def progress(self, progress: Progress, training: str = "") -> None:
        self.last[progress.detail] = (progress.done, progress.total)


def test_labelling_ahead_goes_epoch_by_epoch_through_the_seeds(
    images: Path,
    tmp_path: Path,
):
    data = {
        "source": "npz",
        "path": str(images),
        "val_fraction": 0.2,
        "augment": {"photometric": 1, "padding": 1},
    }
    fixed = data | {"augment": data["augment"] | {"view_seed": 0}}
    teacher = config_for(images).teacher.model
    per_seed = {"model": {"name": teacher.name, "options": teacher.options}, "per_seed": True}
    quick = {"train": {"epochs": 1, "batch_size": 16}, "seeds": [2, 3]}
    for name, changes, seeds, teachers in (
        ("free", {"data": data}, [2, 3], [0]),
        ("fixed", {"data": fixed}, [2], [0]),
        ("apart", {"data": fixed, "teacher": per_seed}, [2, 3], [2, 3]),
    ):
        config = config_for(images, **quick | changes)
        for seed in teachers:
            train_arm(config, "teacher", seed, tmp_path / name, device="cpu")
        labelling = Labelling()
        built = build_cache(
            tmp_path / name,
            epochs=2,
            cache=tmp_path / f"{name}-cache",
            device="cpu",
            observer=labelling,
        )
        seen = labelling.last
        assert list(seen) == [f"seed {seed}, epoch {epoch}/2" for seed in seeds for epoch in (1, 2)]
        assert built["labelled"] == 48 * 2 * len(seeds) and all(
            done == total > 0 for done, total in seen.values()
        )
        assert len(built["folders"]) == len(seeds) == len(list_caches(tmp_path / f"{name}-cache"))
        with pytest.raises(UnderstudyError, match="endlessly many views"):
            build_cache(
                tmp_path / name, all_views=True, cache=tmp_path / f"{name}-cache", device="cpu"
            )


def test_a_cache_whose_rows_are_sound_but_wrong_is_found_out(run: Path, tmp_path: Path):
    (folder,) = (Path(f) for f in build_cache(run, all_views=True, cache=tmp_path)["folders"])
    assert (
        verify_cache(folder, run, sample=7)["compared"] == 7
        and verify_cache(folder, run)["compared"] == 48
    )
    rows = np.memmap(folder / "views.bin", np.uint16, "r+", shape=(48 * 18, 4))
    values = torch.from_numpy(rows[:, :3].copy().view(np.float16)).float()
    rows[:] = encode_rows(values.roll(1, 1))
    rows.flush()
    assert verify_cache(folder)["filled"] == 48 * 18, "every checksum is right"
    with pytest.raises(
        UnderstudyError,
        match=r"the teacher's outputs differ from the cache's by up to .*: delete the cache",
    ):
        verify_cache(folder, run)
    rows[:] = 0
    rows.flush()
    assert verify_cache(folder, run) | {"compared": 0, "largest_difference": None} == verify_cache(
        folder, run
    )


def test_a_cache_is_found_by_the_unique_start_of_its_name(run: Path, tmp_path: Path):
    (folder,) = (Path(f) for f in build_cache(run, epochs=1, cache=tmp_path)["folders"])
    twin = tmp_path / (folder.name[:6] + "-twin")
    shutil.copytree(folder, twin)
    (tmp_path / (folder.name[:6] + "-no-cache")).mkdir()
    assert [entry["name"] for entry in list_caches(tmp_path)] == sorted([folder.name, twin.name])
    with pytest.raises(UnderstudyError, match=f"^several caches begin with '{folder.name[:6]}'"):
        find_cache(folder.name[:6], tmp_path)
    assert find_cache(folder.name[:8], tmp_path) == folder and find_cache(str(twin)) == twin
    on_disk = inspect_cache(twin)["bytes_on_disk"]
    assert delete_cache(twin) == on_disk > 0 and not twin.exists()
    assert find_cache(folder.name[:6], tmp_path) == folder


def test_a_cache_of_an_older_version_held_one_teachers_logits(run: Path, tmp_path: Path):
    (folder,) = (Path(f) for f in build_cache(run, epochs=1, cache=tmp_path)["folders"])
    before = inspect_cache(folder)
    meta = json.loads((folder / "meta.json").read_text())
    del meta["num_teachers"], meta["embedding_dim"]
    (folder / "meta.json").write_text(json.dumps(meta))
    assert inspect_cache(folder) == before and before["filled"] > 0


def test_all_views_fill_the_whole_file(run: Path, tmp_path: Path):
    built = build_cache(run, all_views=True, cache=tmp_path)
    (entry,) = list_caches(tmp_path)
    assert entry["empty"] == 0 and entry["filled"] == built["labelled"] == 48 * 18


def test_a_method_that_reads_embeddings_has_them_labelled_ahead(
    images: Path,
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
    with pytest.raises(UnderstudyError, match="pkt reads more than logits, and that is"):
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


def test_the_cache_of_another_run_is_not_compared(run: Path, tmp_path: Path, images: Path):
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
