"""Caches on disk: counted row by row, found by the beginning of a name, nothing else is deleted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.errors import UnderstudyError
from understudy.teachers import cache_admin
from understudy.teachers.cache_admin import delete_cache, find_cache, inspect_cache, list_caches
from understudy.teachers.output_store import OutputStore, encode_rows


def make_store(root: Path, teacher: str = "t") -> OutputStore:
    """Ten images with two views, three classes: rows 0 to 11 filled, one of them damaged."""
    store = OutputStore(root, {"teacher": teacher}, 10, 3, 2)
    rows = store.open(0)
    rows[:12] = encode_rows(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))
    rows[4, 0] ^= 1
    rows.flush()
    return store


@pytest.mark.parametrize("block", [1 << 16, 7])
def test_every_row_is_filled_empty_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(cache_admin, "_BLOCK", block)
    store = make_store(tmp_path)
    entry = inspect_cache(store.folder)
    assert (entry["filled"], entry["empty"], entry["damaged"]) == (11, 8, 1)
    assert (entry["images"], entry["views"], entry["classes"]) == (10, 2, 3)
    assert entry["parts"]["teacher"] == "t" and entry["name"] == store.folder.name


def test_last_row_that_is_cut_off_does_not_count(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with (store.folder / "views.bin").open("r+b") as file:
        file.truncate(6 * 4 * 2 + 3)
    entry = inspect_cache(store.folder)
    assert (entry["filled"], entry["empty"], entry["damaged"]) == (5, 0, 1)
    (store.folder / "views.bin").write_bytes(b"")
    assert inspect_cache(store.folder)["filled"] == 0


def test_rows_of_every_epoch_are_counted(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, {"teacher": "t"}, 4, 3, None, num_teachers=2)
    for epoch in (0, 3):
        store.open(epoch)[:2] = encode_rows(torch.ones(2, 6))
    entry = inspect_cache(store.folder)
    assert (entry["filled"], entry["empty"], entry["teachers"]) == (4, 4, 2)


def test_cache_of_an_older_version_has_one_teacher_and_no_embedding(tmp_path: Path) -> None:
    folder = make_store(tmp_path).folder
    meta = json.loads((folder / "meta.json").read_text())
    del meta["num_teachers"], meta["embedding_dim"]
    (folder / "meta.json").write_text(json.dumps(meta))
    entry = inspect_cache(folder)
    assert (entry["teachers"], entry["embedding"], entry["filled"]) == (1, 0, 11)


def test_caches_are_listed_by_name_without_other_folders(tmp_path: Path) -> None:
    names = {make_store(tmp_path, teacher).folder.name for teacher in "abc"}
    (tmp_path / "letters").mkdir()
    assert [entry["name"] for entry in list_caches(tmp_path)] == sorted(names)
    assert list_caches(tmp_path / "none") == []


def test_cache_is_found_by_path_name_or_the_beginning_of_its_name(tmp_path: Path) -> None:
    folder = make_store(tmp_path).folder
    for name in (str(folder), folder.name, folder.name[:4]):
        assert find_cache(name, tmp_path) == folder
    twin = tmp_path / (folder.name[:6] + "x")
    twin.mkdir()
    assert find_cache(folder.name[:6], tmp_path) == folder, "the other folder is not a cache"
    (twin / "meta.json").write_text("{}")
    with pytest.raises(UnderstudyError, match=r"^several caches begin with"):
        find_cache(folder.name[:6], tmp_path)
    with pytest.raises(UnderstudyError, match=r"^no cache begins with '\*'"):
        find_cache("*", tmp_path)


def test_only_caches_are_deleted(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "caches").folder
    other = tmp_path / "letters"
    other.mkdir()
    with pytest.raises(UnderstudyError, match=r"no sound meta\.json"):
        delete_cache(other)
    size = inspect_cache(folder)["bytes_on_disk"]
    assert delete_cache(folder) == size > 0
    assert not folder.exists() and other.exists()


def test_inspecting_does_not_write(tmp_path: Path) -> None:
    folder = make_store(tmp_path).folder
    before = np.fromfile(folder / "views.bin", np.uint16)
    inspect_cache(folder)
    assert np.array_equal(np.fromfile(folder / "views.bin", np.uint16), before)
