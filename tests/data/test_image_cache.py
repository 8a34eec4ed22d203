import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from understudy.data.image_cache import Entry, cache_key, cache_root, open_or_build
from understudy.data.sources.base import Arrays, NewArray
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


def truncate(folder: Path) -> None:
    file = folder / "train_images.npy"
    file.write_bytes(file.read_bytes()[:-5])


def lose_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def break_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": 1, "cla')


def lose_labels(folder: Path) -> None:
    (folder / "test_labels.npy").unlink()


def age(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 0}))


@pytest.mark.parametrize("damage", [truncate, lose_meta, break_meta, lose_labels, age])
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
        cache_key("npz", "a", 32),
        cache_key("parquet", "a", None),
    }
    assert len(keys) == 4
    assert cache_key("npz", "a", 32) in keys


def test_the_folder_is_the_argument_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "env"))
    assert cache_root() == tmp_path / "env"
    assert cache_root(tmp_path / "argument") == tmp_path / "argument"
    monkeypatch.delenv("UNDERSTUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().name == "understudy"
