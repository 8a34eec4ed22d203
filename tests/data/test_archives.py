"""Data sets inside a zip or a tar, read in place; hostile ones, refused in one line."""

import io
import os
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import read

from understudy.data import archives
from understudy.data.sources.base import Arrays
from understudy.data.sources.imagefolder import Reader
from understudy.errors import UnderstudyError

Files = Mapping[str, bytes]


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def pets() -> dict[str, bytes]:
    """In an order that is not that of the classes."""
    files = {
        f"train/{name}/{number}.png": png(10 * label + number)
        for label, name in enumerate(("cat", "dog", "émeu"))
        for number in range(4)
    }
    files |= {f"test/{name}/x.png": png(100) for name in ("cat", "émeu")}
    names = list(files)
    random.Random(0).shuffle(names)
    return {name: files[name] for name in names}


def write_zip(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Files) -> Path:
    mode = {".tar": "w:", ".tgz": "w:gz"}.get(path.suffix, f"w:{path.suffix[1:]}")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def load(path: Path) -> Arrays:
    return read(Reader.find(path, path))


ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("wrapped", ["", "./", "outer/"])
def test_an_archive_reads_as_the_folder_it_was_made_of(
    tmp_path: Path, ending: str, wrapped: str
) -> None:
    files = pets()
    folder = load(write_folder(tmp_path / "pets", files))
    inside = {f"{wrapped}{name}": content for name, content in files.items()}
    inside |= {f"__MACOSX/{wrapped}._x": b"x", f"{wrapped}train/cat/._0.png": b"x"}
    write = write_zip if ending == ".zip" else write_tar
    path = write(tmp_path / f"pets.v2{ending}", inside)
    reader = Reader.find(path, path)
    found = read(reader)
    assert reader.name == "pets.v2" and found.class_names == folder.class_names
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(found, name), getattr(folder, name))
    assert sum(part.count for part in reader.listing.passed_over) == 2
    assert sorted(os.listdir(tmp_path)) == sorted(("pets", path.name)), "nothing is extracted"


@pytest.mark.parametrize("ending", ENDINGS[:3])
def test_any_thread_reads_any_image(tmp_path: Path, ending: str) -> None:
    files = {f"{'ab'[number % 2]}/{number:03}.png": os.urandom(5000) for number in range(60)}
    write = write_zip if ending == ".zip" else write_tar
    tree = archives.scan_archive(write(tmp_path / f"x{ending}", files))
    rows = random.Random(0).choices(range(60), k=400)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: list(tree.encoded([row, 59 - row])), rows))
    for row, pair in zip(rows, found, strict=True):
        for position, (where, content) in zip((row, 59 - row), pair, strict=True):
            assert content == files[tree.images[position]] and where.endswith(tree.images[position])


def test_names_of_a_zip_are_utf8_with_or_without_the_flag(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "mac.zip", {"é/0.png": png(0)})
    content = path.read_bytes()
    assert content.count(struct.pack("<H", 0x800)) >= 2
    path.write_bytes(content.replace(b"\x14\x00\x00\x08", b"\x14\x00\x00\x00"))
    assert zipfile.ZipFile(path).namelist() != ["é/0.png"], "the flag is gone"
    assert archives.scan_archive(path).images == ["é/0.png"]


def test_folders_separated_by_backslashes_are_found(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a_0.png": png(0)})
    path.write_bytes(path.read_bytes().replace(b"a_0.png", b"a\\0.png"))
    assert archives.scan_archive(path).images == ["a/0.png"]


def entry(path: Path, **changes: object) -> None:
    """A tar of one member with these attributes."""
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("cat/0.png")
        for name, value in changes.items():
            setattr(member, name, value)
        archive.addfile(member)


def zip_link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("cat/0.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")


def zip_flagged(path: Path) -> None:
    """Marked as encrypted, in the directory of the archive."""
    write_zip(path, {"cat/0.png": png(0)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")
    content[start + 8] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.zip", lambda p: write_zip(p, {"../cat/0.png": b"x"}), "leads out of the archive"),
        ("x.zip", lambda p: write_zip(p, {"/cat/0.png": b"x"}), "leads out of the archive"),
        ("x.zip", lambda p: write_zip(p, {"a/../../0.png": b"x"}), "leads out of the archive"),
        ("x.zip", lambda p: write_zip(p, {"a.png": b"\0" * 10**6}), "may have been made to fill"),
        ("x.zip", lambda p: write_zip(p, {"a.png": b"x"}, zipfile.ZIP_LZMA), "unusual method"),
        ("x.zip", lambda p: p.write_bytes(b"PK no zip"), "cannot read .*: is it complete"),
        ("x.zip", zip_link, "holds a link: cat/0.png"),
        ("x.zip", zip_flagged, r"has 1 encrypted image: cat/0\.png"),
        ("x.tar", lambda p: entry(p, name="/etc/0.png"), "leads out of the archive"),
        ("x.tar", lambda p: entry(p, name="a/../../0.png"), "leads out of the archive"),
        ("x.tar", lambda p: entry(p, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "holds a link"),
        ("x.tar", lambda p: entry(p, type=tarfile.LNKTYPE, linkname="cat/1.png"), "holds a link"),
        ("x.tar", lambda p: p.write_bytes(b"no tar" * 200), "cannot read .*: is it complete"),
        ("x.tar.gz", lambda p: p.write_bytes(b"no gzip"), "cannot read .*: is it complete"),
        ("x.tar.xz", lambda p: p.write_bytes(b"no xz"), "cannot read .*: is it complete"),
    ],
)
def test_hostile_and_damaged_archives_are_refused_in_one_line(
    tmp_path: Path,
    name: str,
    write: Callable[[Path], object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archives, "_HARMLESS", 1000)
    path = tmp_path / name
    write(path)
    with pytest.raises(UnderstudyError, match=message) as caught:
        archives.scan_archive(path)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == [name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/0.png", "one")
        archive.writestr("cat/0.png", "two")
    with pytest.raises(UnderstudyError, match=r"two files of this name: cat/0\.png"):
        archives.scan_archive(path)


def test_devices_and_nested_archives_are_passed_over(tmp_path: Path) -> None:
    entry(tmp_path / "x.tar", type=tarfile.FIFOTYPE)
    tree = archives.scan_archive(tmp_path / "x.tar")
    assert not tree.images and tree.census.results()[0].reason == "neither a file nor a folder"
    tree = archives.scan_archive(write_zip(tmp_path / "x.zip", {"inner.zip": b"x"}))
    assert tree.census.results()[0].reason == "not an image (.zip)"


def test_a_compressed_tar_above_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "x.tar.gz", {"notes.bin": b"\0" * 10**6})
    assert not archives.scan_archive(path).images
    monkeypatch.setattr(archives, "MOST_IN_MEMORY", 10**5)
    with pytest.raises(UnderstudyError, match=r"unpacks to more than .* as a plain \.tar or"):
        archives.scan_archive(path)


def test_a_truncated_tar_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"cat/0.png": b"x" * 5000, "cat/1.png": b"x" * 5000})
    path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises(UnderstudyError, match="is it complete"):
        archives.scan_archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_byte_in_a_zip_is_noticed(tmp_path: Path, method: int) -> None:
    content = os.urandom(1000)
    path = write_zip(tmp_path / "x.zip", {"cat/0.png": content}, method)
    changed = bytearray(path.read_bytes())
    changed[500] ^= 255
    path.write_bytes(changed)
    tree = archives.scan_archive(path)
    with pytest.raises(UnderstudyError, match=r"x\.zip/cat/0\.png"):
        list(tree.encoded([0]))


@pytest.mark.parametrize("ending", [".tar", ".tgz"])
def test_names_that_are_not_utf8_are_refused_escaped(tmp_path: Path, ending: str) -> None:
    name = b"\xff\xfeants/0.png".decode("utf-8", "surrogateescape")
    path = write_tar(tmp_path / f"x{ending}", {name: b"x"})
    with pytest.raises(UnderstudyError, match=r"2 names not in UTF-8: \\xff\\xfeants, "):
        archives.scan_archive(path)


def test_a_zip_that_claims_less_than_it_holds_is_not_unpacked_further(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"cat/0.png": b"\0" * 10**6})
    content = path.read_bytes()
    assert content.count(struct.pack("<I", 10**6)) == 2
    path.write_bytes(content.replace(struct.pack("<I", 10**6), struct.pack("<I", 100)))
    tree = archives.scan_archive(path)
    with pytest.raises(UnderstudyError, match=r"0\.png is damaged in the archive"):
        list(tree.encoded([0]))
