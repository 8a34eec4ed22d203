"""Decoded data sets in the cache: listed with what they are, found by name, deleted alone."""

import os
from pathlib import Path

import pytest
from tests.data.picture_folders import write_pictures

from understudy.data import load_dataset
from understudy.data.cache_admin import delete_images, describe, find_images, list_images
from understudy.errors import UnderstudyError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two entries: a folder of pictures at two sizes, the larger one used last."""
    write_pictures(tmp_path / "pets", {"cat": 10, "dog": 10})
    for side in (8, 16):
        load_dataset("imagefolder", tmp_path / "pets", image_size=side, cache_dir=tmp_path / "c")
    for entry in list_images(tmp_path / "c"):
        time = 1_700_000_000 + 60 * int(entry.size.split("x")[0])
        os.utime(Path(entry.folder) / "meta.json", (time, time))
    return tmp_path / "c"


def test_entries_are_listed_by_last_use(cache: Path) -> None:
    large, small = list_images(cache)
    assert (large.size, small.size) == ("16x16", "8x8")
    assert (large.data_set, large.images) == ("pets", 20)
    assert large.name.startswith("imagefolder-")
    assert large.bytes_on_disk >= 20 * 16 * 16 * 3
    assert large.last_use == "2023-11-14 22:29"


def test_a_damaged_entry_does_not_hide_the_others(cache: Path) -> None:
    large, small = list_images(cache)
    (Path(large.folder) / "test_images.npy").write_bytes(b"")
    assert list_images(cache) == [small]


def test_using_an_entry_renews_its_time(cache: Path) -> None:
    load_dataset("imagefolder", cache.parent / "pets", image_size=8, cache_dir=cache)
    assert list_images(cache)[0].size == "8x8"


def test_entry_is_found_by_path_or_beginning(cache: Path) -> None:
    entry = list_images(cache)[0]
    assert find_images(entry.folder) == Path(entry.folder)
    assert find_images(entry.name[:-4], cache) == Path(entry.folder)
    assert find_images("nothing", cache) is None
    with pytest.raises(UnderstudyError, match="several caches begin with 'image'"):
        find_images("image", cache)


def test_only_an_entry_is_deleted(cache: Path) -> None:
    large, small = list_images(cache)
    assert delete_images(Path(large.folder)) == large.bytes_on_disk
    assert list_images(cache) == [small]
    with pytest.raises(UnderstudyError, match="holds no decoded data set"):
        delete_images(cache)
    assert cache.exists()


def test_entry_of_an_older_version_has_no_name(cache: Path) -> None:
    folder = Path(list_images(cache)[0].folder)
    meta = (folder / "meta.json").read_text().replace('"name": "pets",', "")
    (folder / "meta.json").write_text(meta)
    assert describe(folder).data_set == ""


def test_there_may_be_no_cache(tmp_path: Path) -> None:
    assert list_images(tmp_path / "missing") == []
