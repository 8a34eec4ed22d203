import os
from pathlib import Path

import pytest

from understudy.data.sources import base as source
from understudy.data.sources.base import existing, identity


def test_identity_follows_content_or_else_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    by_content, by_time = identity(tmp_path, [file]), identity(tmp_path, [file], by_content=False)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "a").write_bytes(b"one")
    assert identity(moved, [moved / "a"]) == by_content
    assert identity(moved, [moved / "a"], by_content=False) != by_time
    file.write_bytes(b"two")
    assert identity(tmp_path, [file]) != by_content
    assert identity(tmp_path, [file], by_content=False) != by_time


def test_small_sets_are_recognised_by_content_and_large_ones_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"xyz")
    two.write_bytes(b"12")

    def touched() -> bool:
        before = identity(tmp_path, [one, two])
        stat = two.stat()
        os.utime(two, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        return identity(tmp_path, [one, two]) != before

    monkeypatch.setattr(source, "_SMALL", 5)
    assert not touched(), "five bytes in all"
    monkeypatch.setattr(source, "_SMALL", 4)
    assert touched()


@pytest.mark.parametrize("by_content", [True, False])
def test_identity_follows_names_and_sizes(tmp_path: Path, by_content: bool) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    for file, content in ((one, b"xyz"), (two, b"xyz")):
        file.write_bytes(content)
        os.utime(file, ns=(5, 5))
    prints = {identity(tmp_path, files, by_content) for files in ([one], [two], [one, two])}
    two.write_bytes(b"xyzz")
    os.utime(two, ns=(5, 5))
    assert len(prints | {identity(tmp_path, [one, two], by_content)}) == 4


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert existing(Path("here")) == tmp_path.resolve() / "here"
