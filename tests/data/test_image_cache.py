import hashlib
import json
import mmap
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from understudy.data import image_cache, load_dataset
from understudy.data.decoding import NewArray
from understudy.data.image_cache import Entry, cache_key, cache_root, fingerprint, open_or_build
from understudy.data.options import SourceOptions
from understudy.data.sources.base import Arrays
from understudy.errors import UnderstudyError


class Builder:
    """A source of six images that counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, new_array: NewArray) -> Arrays:
        self.calls += 1
        train, test = new_array("train", (4, 2, 2, 3)), new_array("test", (2, 2, 2, 3))
        train[:] = np.arange(4)[:, None, None, None]
        test[:] = 9
        return Arrays(train, np.array([0, 1, 0, 1]), test, np.array([0, 1]), ("cat", "dog"))


def assert_whole(entry: Entry) -> None:
    assert entry.arrays.train_images[:, 1, 1, 2].tolist() == [0, 1, 2, 3]
    assert (entry.arrays.test_images == 9).all()
    assert entry.arrays.train_labels.tolist() == [0, 1, 0, 1]
    assert entry.arrays.class_names == ("cat", "dog")


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    build = Builder()
    first, second = open_or_build(tmp_path, "k", build), open_or_build(tmp_path, "k", build)
    assert build.calls == 1
    assert_whole(second)
    assert first.fingerprint == second.fingerprint and len(first.fingerprint) == 64


def test_writing_to_the_arrays_never_reaches_the_file(tmp_path: Path) -> None:
    open_or_build(tmp_path, "k", Builder()).arrays.train_images[:] = 77
    assert_whole(open_or_build(tmp_path, "k", Builder()))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems reserve no memory for mappings")
def test_no_memory_is_reserved_for_mapped_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else Linux refuses files that are larger than its memory."""
    flags, mapped = [], mmap.mmap

    def recorded(file: int, length: int, **options: int) -> mmap.mmap:
        flags.append(options.get("flags", 0))
        return mapped(file, length, **options)

    open_or_build(tmp_path, "k", Builder())
    monkeypatch.setattr(mmap, "mmap", recorded)
    assert_whole(open_or_build(tmp_path, "k", Builder()))
    assert sum(bool(flag & image_cache._MAP_NORESERVE) for flag in flags) == 4


def truncate(folder: Path) -> None:
    file = folder / "train_images.npy"
    file.write_bytes(file.read_bytes()[:-5])


def lose_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def break_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": 1, "cla')


def lose_labels(folder: Path) -> None:
    (folder / "test_labels.npy").unlink()


def cut_annotations(folder: Path) -> None:
    file = folder / "annotations.npz"
    file.write_bytes(file.read_bytes()[:-5])


def age(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 0}))


@pytest.mark.parametrize(
    "damage", [truncate, lose_meta, break_meta, lose_labels, cut_annotations, age]
)
def test_a_damaged_entry_is_rebuilt(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    build = Builder()
    open_or_build(tmp_path, "k", build)
    damage(tmp_path / "datasets" / "k")
    assert_whole(open_or_build(tmp_path, "k", build))
    assert build.calls == 2
    assert sorted(path.name for path in (tmp_path / "datasets").iterdir()) == ["k", "k.lock"]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(new_array: NewArray) -> Arrays:
        new_array("train", (4, 2, 2, 3))[:] = 1
        raise UnderstudyError("row 3 is corrupt")

    with pytest.raises(UnderstudyError, match="row 3"):
        open_or_build(tmp_path, "k", fail)
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["k.lock"]


@pytest.mark.slow
def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    left = tmp_path / "datasets" / "tmp-k-0123"
    left.mkdir(parents=True)
    (left / "train_images.npy").write_bytes(b"half")
    open_or_build(tmp_path, "k", Builder())
    assert not left.exists()


def test_of_several_racing_one_builds_and_all_get_it(tmp_path: Path) -> None:
    build = Builder()
    entries: list[Entry] = []
    threads = [
        threading.Thread(target=lambda: entries.append(open_or_build(tmp_path, "k", build)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.calls == 1 and len(entries) == 8
    for entry in entries:
        assert_whole(entry)


def test_a_cache_that_cannot_be_written_or_is_too_small_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnderstudyError, match=r"cannot write the cache in .*UNDERSTUDY_CACHE"):
        open_or_build(tmp_path / "file", "k", Builder())

    def huge(new_array: NewArray) -> Arrays:
        new_array("train", (10**9, 1000, 1000, 3))
        raise AssertionError("no disk holds 3 PB")

    with pytest.raises(UnderstudyError, match=r"need 3000000.0 GB"):
        open_or_build(tmp_path, "k", huge)


def test_the_key_tells_everything_apart() -> None:
    keys = {
        cache_key("npz", "a", None),
        cache_key("npz", "b", None),
        cache_key("npz", "a", (32, 32)),
        cache_key("npz", "a", (32, 16)),
        cache_key("npz", "a", (32, 32), "pad"),
        cache_key("parquet", "a", None),
        cache_key("npz", "a", None, max_pixels=100),
    }
    assert len(keys) == 7
    assert cache_key("npz", "a", (32, 32), "crop") in keys


def test_images_that_lacked_a_decoder_are_looked_for_again_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_bad, all_images = SourceOptions(skip_bad=True), SourceOptions()
    monkeypatch.setattr(image_cache, "lacks_decoder", lambda suffix: None)
    there = cache_key("npz", "a", None, options=without_bad)
    whole = cache_key("npz", "a", None, options=all_images)
    monkeypatch.setattr(image_cache, "lacks_decoder", lambda suffix: suffix == ".heic" or None)
    assert cache_key("npz", "a", None, options=without_bad) != there
    assert cache_key("npz", "a", None, options=all_images) == whole, "nothing is left out"


def test_pixels_of_another_version_of_the_preprocessing_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = cache_key("npz", "a", None)
    monkeypatch.setattr("understudy.data.preprocess.VERSION", 0)
    assert cache_key("npz", "a", None) != before


def test_the_folder_is_the_argument_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "env"))
    assert cache_root() == tmp_path / "env"
    assert cache_root(tmp_path / "argument") == tmp_path / "argument"
    monkeypatch.delenv("UNDERSTUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().name == "understudy"


def some_arrays(num_images: int = 5000) -> Arrays:
    """More images than are read at a time for the digest."""
    images = np.arange(num_images * 12).astype(np.uint8).reshape(num_images, 2, 2, 3)
    labels = np.arange(num_images, dtype=np.int64) % 2
    return Arrays(images, labels, images[:3], labels[:3], ("cat", "dog"))


def test_the_fingerprint_is_sha256_over_names_shapes_and_bytes() -> None:
    """May never move: checkpoints and caches of teacher outputs are filed under it."""
    arrays = some_arrays()
    digest = hashlib.sha256(b'["cat", "dog"]')
    for name, kind in (
        ("train_images", "uint8"),
        ("train_labels", "int64"),
        ("test_images", "uint8"),
        ("test_labels", "int64"),
    ):
        array = getattr(arrays, name)
        digest.update(f"{name} {kind} {array.shape}".encode() + array.tobytes())
    assert fingerprint(arrays) == digest.hexdigest()


@pytest.mark.parametrize("row", [0, 4095, 4096, 4999])
def test_the_fingerprint_follows_every_image(row: int) -> None:
    arrays = some_arrays()
    before = fingerprint(arrays)
    arrays.train_images[row, 1, 1, 2] ^= 1
    assert fingerprint(arrays) != before


def test_the_fingerprint_follows_labels_names_and_splits() -> None:
    arrays = some_arrays(10)
    swapped = Arrays(
        arrays.test_images,
        arrays.test_labels,
        arrays.train_images,
        arrays.train_labels,
        arrays.class_names,
    )
    others = [
        replace(arrays, class_names=("dog", "cat")),
        replace(arrays, test_labels=1 - arrays.test_labels),
        swapped,
    ]
    others += [
        replace(arrays, train_labels=1 - arrays.train_labels),
        replace(arrays, test_images=arrays.test_images + 1),
    ]
    others += [replace(arrays, train_images=arrays.train_images.reshape(10, 1, 4, 3))]
    assert len({fingerprint(other) for other in [arrays, *others]}) == 7


def test_the_key_is_the_one_that_entries_are_filed_under() -> None:
    for size, written in (((32, 48), b"[32, 48]"), (None, b"null")):
        content = b'[3, "npz", "abc", 2, ' + written + b', "crop", "", 178956970]'
        assert cache_key("npz", "abc", size) == "npz-" + hashlib.sha256(content).hexdigest()[:32]


def test_meta_json_describes_the_entry(tmp_path: Path) -> None:
    entry = open_or_build(tmp_path, "k", Builder())
    folder = tmp_path / "datasets" / "k"
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["format"], meta["class_names"], meta["fingerprint"]) == (
        3,
        ["cat", "dog"],
        fingerprint(entry.arrays),
    )
    assert (
        meta["bytes"] == {path.stem: path.stat().st_size for path in folder.glob("*.npy")}
        and len(meta["bytes"]) == 4
    )
    assert entry.arrays.train_labels.dtype == entry.arrays.test_labels.dtype == np.int64
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(f"{name}.npy" for name in meta["bytes"]), "annotations.npz", "meta.json"]
    )


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_an_entry_with_any_file_too_long_is_rebuilt(tmp_path: Path, name: str) -> None:
    build = Builder()
    open_or_build(tmp_path, "k", build)
    with open(tmp_path / "datasets" / "k" / f"{name}.npy", "ab") as file:
        file.write(b"x")
    assert_whole(open_or_build(tmp_path, "k", build))
    assert build.calls == 2


def test_entries_of_other_keys_stay_apart(tmp_path: Path) -> None:
    build = Builder()
    open_or_build(tmp_path, "k", build)
    open_or_build(tmp_path, "l", build)
    assert build.calls == 2
    leftover = tmp_path / "datasets" / "tmp-l-0123"
    leftover.mkdir()
    truncate(tmp_path / "datasets" / "k")
    open_or_build(tmp_path, "k", build)
    assert leftover.exists(), "another key's build may be under way"


def test_the_whole_disk_may_be_filled_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, enough in ((48, True), (47, False)):  # 4 * 2 * 2 * 3 bytes for the larger split
        monkeypatch.setattr(
            shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free)
        )
        if enough:
            assert_whole(open_or_build(tmp_path / str(free), "k", Builder()))
        else:
            with pytest.raises(UnderstudyError, match="the decoded train images need"):
                open_or_build(tmp_path / str(free), "k", Builder())


def test_unreadable_data_is_not_called_an_unwritable_cache(
    tmp_path: Path,
) -> None:
    def fail(new_array: NewArray) -> Arrays:
        raise OSError("page 3 is gone")

    with pytest.raises(UnderstudyError, match=r"^cannot read the data: page 3 is gone$"):
        open_or_build(tmp_path, "k", fail)
    with pytest.raises(UnderstudyError, match="the test split is empty"):
        open_or_build(tmp_path, "k", lambda new_array: new_array("test", (0, 2, 2, 3)))


def test_a_disk_without_room_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 + 2 images of 3,072 bytes, those to train on would still fit."""
    for number in range(10):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(file)
    room = iter([30_000, 5_000])
    monkeypatch.setattr(
        image_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(room))
    )

    def decoded(*args: object) -> None:
        raise AssertionError("nothing is decoded")

    monkeypatch.setattr("understudy.data.decoding.decode", decoded)
    with pytest.raises(UnderstudyError, match=r"test images need 0.0 GB but .* has 0.0 GB free"):
        load_dataset("imagefolder", tmp_path / "photos", image_size=32, cache_dir=tmp_path / "c")
    assert not list((tmp_path / "c" / "datasets").glob("*/*"))
