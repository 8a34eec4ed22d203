import os
from pathlib import Path

import pytest

from understudy.data import identity as module
from understudy.data.identity import identity


def test_identity_follows_content_or_else_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, moved = tmp_path / "a", tmp_path / "elsewhere"
    moved.mkdir()
    for place in (file, moved / "a"):
        place.write_bytes(b"one")
    by_content = identity(tmp_path, [file])
    assert identity(moved, [moved / "a"]) == by_content
    with monkeypatch.context() as patch:
        patch.setattr(module, "_SMALL", 0)
        by_time = identity(tmp_path, [file])
        assert identity(moved, [moved / "a"]) != by_time
    file.write_bytes(b"two")
    assert identity(tmp_path, [file]) != by_content
    monkeypatch.setattr(module, "_SMALL", 0)
    assert identity(tmp_path, [file]) != by_time


def test_a_file_replaced_with_its_size_and_time_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``rsync -t`` does it, and as a program that writes into the file."""
    monkeypatch.setattr(module, "_SMALL", 0)
    file = tmp_path / "a"
    file.write_bytes(b"one")
    state = file.stat()
    prints = [identity(tmp_path, [file])]
    (tmp_path / "new").write_bytes(b"two")
    os.utime(tmp_path / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(tmp_path / "new", file)
    prints.append(identity(tmp_path, [file]))
    file.write_bytes(b"six")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    prints.append(identity(tmp_path, [file]))
    assert file.stat().st_mtime_ns == state.st_mtime_ns and len(set(prints)) == 3


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

    monkeypatch.setattr(module, "_SMALL", 5)
    assert not touched(), "five bytes in all"
    monkeypatch.setattr(module, "_SMALL", 4)
    assert touched()


@pytest.mark.parametrize("by_content", [True, False])
def test_identity_follows_names_and_sizes(
    tmp_path: Path, by_content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_content:
        monkeypatch.setattr(module, "_SMALL", 0)
    one, two = tmp_path / "a", tmp_path / "b"
    for file, content in ((one, b"xyz"), (two, b"xyz")):
        file.write_bytes(content)
        os.utime(file, ns=(5, 5))
    prints = {identity(tmp_path, files) for files in ([one], [two], [one, two])}
    two.write_bytes(b"xyzz")
    os.utime(two, ns=(5, 5))
    assert len(prints | {identity(tmp_path, [one, two])}) == 4
