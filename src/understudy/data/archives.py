"""Images inside a zip or a tar, read in place: nothing is extracted to the disk.

The members of a zip and of a plain tar are read by their position in the file, from any thread. A
compressed tar can only be read from its beginning, and its order is not that of the classes: its
images are held in memory, up to :data:`MOST_IN_MEMORY`. Images are compressed already, so above
that a plain tar of the same files is hardly larger.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from understudy.data import litter
from understudy.data.detect import ARCHIVES
from understudy.data.litter import Census
from understudy.data.names import counted, listed, refuse_undecodable, shown
from understudy.data.tree import Encoded, Tree
from understudy.errors import UnderstudyError, one_line

MOST_IN_MEMORY = 2**30
"""Bytes of a compressed tar, without its compression."""
LARGEST_IMAGE = 2**30
"""Bytes of one file inside an archive."""
_BOMB = 200
"""How many times larger than the archive its images may be; BMP files of drawings shrink to a
hundredth."""
_HARMLESS = 64 * 2**20
"""Bytes of images that are never too many."""
_PACKED: dict[str, type[gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File]] = {
    **dict.fromkeys((".gz", ".tgz"), gzip.GzipFile),
    **dict.fromkeys((".xz", ".txz"), lzma.LZMAFile),
    **dict.fromkeys((".bz2", ".tbz2"), bz2.BZ2File),
}
_LOCAL_HEADER = 30
"""Bytes before the name of a member of a zip; the lengths of name and extra field end it."""
_BROKEN: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, NotImplementedError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What the modules of archives raise on broken bytes."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A file inside: where its bytes are, and of a compressed one how to check them."""

    start: int
    stored: int
    size: int
    crc: int | None = None
    is_deflated: bool = False


def is_archive(path: Path) -> bool:
    """Whether a file is one by the end of its name."""
    return path.name.lower().endswith(ARCHIVES)


def data_set_name(path: Path) -> str:
    """The name of the file without ``.zip``, ``.tar.gz``, ..."""
    suffix = max((s for s in ARCHIVES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def scan_archive(path: Path) -> Tree:
    """The images in an archive.

    Raises:
        UnderstudyError: if it is damaged or encrypted, holds links or paths that lead out of it,
            unpacks to far more than it should, or is a large compressed tar.
    """
    contents = _Contents(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".zip":
            _index_zip(path, contents)
        elif suffix == ".tar":
            _index_tar(path, contents)
        else:
            _read_packed(path, contents)
    except _BROKEN as error:
        raise UnderstudyError(
            f"cannot read {shown(str(path))} as {suffix} ({one_line(error)}): is it complete?"
        ) from error
    return contents.tree()


class _Contents:
    """What has been found in an archive so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members: dict[str, _Member | bytes] = {}
        self.folders: set[str] = {""}
        self.census = Census()

    def wants(self, name: str, kind: str) -> bool:
        """Whether a member is an image to read; anything else is noted.

        Args:
            name: its path in the archive.
            kind: ``file``, ``folder``, ``link`` or ``other``.
        """
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            self.refuse(name, "a path that leads out of the archive")
        if not parts:
            return False
        folders = parts if kind == "folder" else parts[:-1]
        for depth, folder in enumerate(folders, 1):
            reason = litter.why_not_folder(folder)
            if reason is not None:
                self.census.add(reason, "/".join(parts[:depth]) + "/")
                return False
        self.folders.update("/".join(folders[:depth]) for depth in range(1, len(folders) + 1))
        if kind == "folder":
            return False
        reason = litter.why_not_file(parts[-1])
        if kind == "link" and reason != litter.HIDDEN:
            self.refuse(name, "a link")
        if reason is None and kind != "file":
            reason = litter.NOT_A_FILE
        if reason is not None:
            self.census.add(reason, "/".join(parts))
        return reason is None

    def add(self, name: str, member: _Member | bytes) -> None:
        """An image."""
        clean = "/".join(part for part in name.split("/") if part not in ("", "."))
        if clean in self.members:
            self.refuse(name, "two files of this name")
        size = len(member) if isinstance(member, bytes) else member.size
        if size > LARGEST_IMAGE:
            self.refuse(name, f"a file of {size / 1e9:.1f} GB")
        self.members[clean] = member

    def refuse(self, name: str, what: str) -> NoReturn:
        raise UnderstudyError(
            f"{shown(str(self.path))} holds {what}: {shown(name)}; pack plain files again, or "
            "extract it yourself and give the folder"
        )

    def tree(self) -> Tree:
        """The images found."""
        names = sorted(self.members)
        refuse_undecodable([*self.folders, *names], str(self.path))
        counts = dict.fromkeys(self.folders, 0)
        for name in names:
            counts[name.rpartition("/")[0]] += 1
        encoded = _reader(self.path, self.members, names)
        where = str(self.path)
        return Tree(data_set_name(self.path), where, names, counts, encoded, self.census)


def _reader(path: Path, members: Mapping[str, _Member | bytes], names: Sequence[str]) -> Encoded:
    def encoded(positions: Sequence[int]) -> Iterator[tuple[str, bytes]]:
        with open(path, "rb") as file:  # a file of its own for each caller
            for position in positions:
                name = names[position]
                member, where = members[name], f"{shown(path.name)}/{shown(name)}"
                yield where, member if isinstance(member, bytes) else _bytes(file, member, where)

    return encoded


def _bytes(file: IO[bytes], member: _Member, where: str) -> bytes:
    """The content of a member, checked."""
    try:
        start = member.start
        if member.crc is not None:
            file.seek(start + _LOCAL_HEADER - 4)
            lengths = file.read(4)
            start += _LOCAL_HEADER
            start += int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        file.seek(start)
        data = file.read(member.stored)
        if member.is_deflated:
            # No more than the declared size is unpacked, whatever the archive is made of.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        is_whole = len(data) == member.size
        if not is_whole or (member.crc is not None and zlib.crc32(data) != member.crc):
            raise UnderstudyError(f"{where} is damaged in the archive: pack or download it again")
    except (OSError, zlib.error) as error:
        raise UnderstudyError(
            f"cannot read {where} ({one_line(error)}): pack or download the archive again"
        ) from error
    return data


def _index_zip(path: Path, contents: _Contents) -> None:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    encrypted = []
    total = 0
    for info in infos:
        name = _zip_name(info)
        if not contents.wants(name, _kind_of(info)):
            continue
        if info.flag_bits & 1:
            encrypted.append(name)
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnderstudyError(
                f"{shown(str(path))} is packed by an unusual method ({shown(name)}): pack it with "
                "a usual zip program, or extract it and give the folder"
            )
        total += info.file_size
        is_deflated = info.compress_type == zipfile.ZIP_DEFLATED
        start, stored = info.header_offset, info.compress_size
        contents.add(name, _Member(start, stored, info.file_size, info.CRC, is_deflated))
    if encrypted:
        raise UnderstudyError(
            f"{shown(str(path))} has {counted(len(encrypted), 'encrypted image')}: "
            f"{listed(encrypted)}; pack it without a password"
        )
    size = path.stat().st_size
    if total > max(_BOMB * size, _HARMLESS):
        raise UnderstudyError(
            f"{shown(str(path))} has {size:,} bytes and claims {total:,} of images, "
            f"more than {_BOMB} times as many: it may have been made to fill the memory"
        )


def _kind_of(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if info.is_dir():
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if not stat.S_IFMT(mode) or stat.S_ISREG(mode) else "other"


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as it is meant: macOS and others store UTF-8 without the flag for it."""
    name = info.orig_filename
    if "/" not in name:  # some programs of Windows separate folders by backslashes
        name = name.replace("\\", "/")
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _index_tar(path: Path, contents: _Contents) -> None:
    size = path.stat().st_size
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if not contents.wants(member.name, _kind_in_tar(member)):
                continue
            if member.issparse():
                contents.refuse(member.name, "a sparse file")
            if member.offset_data + member.size > size:
                raise EOFError(f"the file ends inside {shown(member.name)}")
            contents.add(member.name, _Member(member.offset_data, member.size, member.size))


def _read_packed(path: Path, contents: _Contents) -> None:
    """All images of a compressed tar, in one pass."""
    with _PACKED[path.suffix.lower()](path) as plain:
        limited = _Limited(plain, path)
        with tarfile.open(fileobj=limited, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                if contents.wants(member.name, _kind_in_tar(member)):
                    file = archive.extractfile(member)
                    assert file is not None
                    contents.add(member.name, file.read())


class _Limited:
    """A stream that ends with an error above the limit, whatever it is made of."""

    def __init__(self, stream: Any, path: Path) -> None:
        self.stream, self.path, self.left = stream, path, MOST_IN_MEMORY

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise UnderstudyError(
                f"{shown(str(self.path))} unpacks to more than {MOST_IN_MEMORY / 1e9:.1f} GB, "
                "and a compressed tar cannot be read in place: pack the files as a plain .tar or "
                "a .zip, or extract it and give the folder"
            )
        return data


def _kind_in_tar(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return "folder"
    if member.issym() or member.islnk():
        return "link"
    return "file" if member.isreg() else "other"
