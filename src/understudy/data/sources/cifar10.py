"""``cifar10``: Krizhevsky's 60,000 images, from the official binary archive or a local copy."""

import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from understudy.data.image_cache import locked
from understudy.data.sources import parquet
from understudy.data.sources.base import (
    Arrays,
    NewArray,
    Progress,
    Source,
    existing,
    fit_arrays,
    identity,
    in_memory,
    no_progress,
    refuse_empty,
)
from understudy.errors import UnderstudyError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE = "cifar-10-binary.tar.gz"
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue planes, row by row
_HINT = (
    "give a local copy (archive, extracted folder, or Parquet) with --data PATH or UNDERSTUDY_DATA"
)
_ATTEMPTS = 5


def find(path: Path | None, cache: Path) -> Source:
    """The archive, the extracted folder or the Parquet files at ``path``; without one, the download."""
    if path is None:
        return Source("cifar10", MD5, partial(load_download, cache))
    place = existing(path)
    if place.suffix == ".parquet" or (place.is_dir() and any(place.rglob("*.parquet"))):
        copy = parquet.find(place, cache)
        return Source(copy.name, copy.identity, partial(load_parquet, place))
    if place.is_dir():
        folder = _extracted(place)
        files = [folder / name for name in (*_TRAIN, _TEST)]
        return Source("cifar10", identity(folder, files), partial(load, folder))
    return Source("cifar10", identity(place.parent, [place]), partial(load, place))


def load(
    path: Path,
    *,
    image_size: int | None = None,
    new_array: NewArray = in_memory,
    progress: Progress = no_progress,
) -> Arrays:
    """Read the official binary version (Krizhevsky 2009): the ``.tar.gz`` itself or the folder extracted from it.

    Raises:
        UnderstudyError: if files are missing, truncated, or not of this version.
    """
    batches = (
        _from_archive(path)
        if path.is_file()
        else {name: _read(_extracted(path) / name) for name in (*_TRAIN, _TEST)}
    )
    train, train_labels = zip(*(_records(name, batches[name]) for name in _TRAIN), strict=True)
    test, test_labels = _records(_TEST, batches[_TEST])
    images = np.concatenate(train)
    refuse_empty("train", len(images))
    refuse_empty("test", len(test))
    size = image_size or 32
    train_images = new_array("train", (len(images), size, size, 3))
    test_images = new_array("test", (len(test), size, size, 3))
    fit_arrays(images, train_images)
    fit_arrays(test, test_images)
    progress("reading cifar10", len(images) + len(test), len(images) + len(test))
    return Arrays(train_images, np.concatenate(train_labels), test_images, test_labels, CLASS_NAMES)


def load_download(
    cache: Path,
    *,
    image_size: int | None = None,
    new_array: NewArray = in_memory,
    progress: Progress = no_progress,
    url: str = URL,
    md5: str = MD5,
) -> Arrays:
    """``load`` from the archive in ``cache/downloads``, which is downloaded if it is not there."""
    archive = download(cache / "downloads" / ARCHIVE, url, md5, progress)
    return load(archive, image_size=image_size, new_array=new_array, progress=progress)


def load_parquet(
    path: Path,
    *,
    image_size: int | None = None,
    new_array: NewArray = in_memory,
    progress: Progress = no_progress,
) -> Arrays:
    """``parquet.load``, for a copy of CIFAR-10 in that layout. Raises UnderstudyError unless there are ten classes."""
    arrays = parquet.load(path, image_size=image_size, new_array=new_array, progress=progress)
    if len(arrays.class_names) != 10:
        raise UnderstudyError(
            f"{path} has {len(arrays.class_names)} classes and CIFAR-10 ten: set data.source=parquet to read it as what it is"
        )
    return arrays


def download(target: Path, url: str, md5: str, progress: Progress = no_progress) -> Path:
    """Fetch a file whole: resumed where an earlier attempt broke off, checked, and in place only when it is right.

    What has arrived is kept beside the target as ``<target>.part``.

    Args:
        md5: of the whole file, as hex. It guards against damage, not against malice.

    Raises:
        UnderstudyError: without a network, if the server refuses or breaks off, or if the checksum differs
            (the part is then deleted).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        part = target.with_name(target.name + ".part")
        for attempt in range(1, _ATTEMPTS + 1):
            before = part.stat().st_size if part.exists() else 0
            try:
                _fetch(part, url, progress)
                break
            except (OSError, http.client.HTTPException) as error:
                arrived = part.stat().st_size if part.exists() else 0
                if arrived > before and attempt < _ATTEMPTS:
                    continue
                reason = (
                    " ".join(str(getattr(error, "reason", "") or error).split())
                    or type(error).__name__
                )
                state = (
                    f"; {arrived / 1e6:.1f} MB are kept and the next run resumes" if arrived else ""
                )
                raise UnderstudyError(
                    f"cannot download {url} ({reason}){state}: {_HINT}"
                ) from error
        found = _md5(part)
        if found != md5:
            part.unlink()
            raise UnderstudyError(
                f"{url} arrived with md5 {found} in place of {md5} and was deleted: run again, or {_HINT}"
            )
        os.replace(part, target)
    return target


def _fetch(part: Path, url: str, progress: Progress) -> None:
    """Bring the part to its full length. Raises OSError or HTTPException if the connection breaks off; what came is kept."""
    have = part.stat().st_size if part.exists() else 0
    # S310: the address is the constant above, or a test's; no user gives it.
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=30)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if (
            error.code == 416 and have
        ):  # nothing after what we have: it is complete, or wrong, and the checksum tells
            return
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if response.status == 206 and not resumed:
            raise OSError("the server sent another range than was asked for")
        if not resumed:
            have = 0  # the server sends everything from the start
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with open(part, "ab" if resumed else "wb") as file:
            while block := response.read(1 << 18):
                file.write(block)
                have += len(block)
                progress("downloading cifar10", have, total)
        if total and have < total:
            raise ConnectionError(
                f"the connection broke off at {have / 1e6:.1f} of {total / 1e6:.1f} MB"
            )


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _extracted(folder: Path) -> Path:
    """The folder with the .bin files: this one or ``cifar-10-batches-bin`` in it. Raises UnderstudyError if one is missing."""
    inner = folder / "cifar-10-batches-bin"
    place = inner if inner.is_dir() else folder
    missing = [name for name in (*_TRAIN, _TEST) if not (place / name).is_file()]
    if missing:
        raise UnderstudyError(
            f"{place} has no {missing[0]}: cifar10 needs the binary version ({ARCHIVE}), its extracted folder, or *.parquet"
        )
    return place


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnderstudyError(f"cannot read {file}: {error.strerror or error}") from error


def _from_archive(path: Path) -> dict[str, bytes]:
    """The batches by name, read in one pass; nothing is extracted to the disk."""
    batches = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in (*_TRAIN, _TEST):
                    file = archive.extractfile(member)
                    assert file is not None
                    batches[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UnderstudyError(
            f"cannot read {path} as a .tar.gz archive ({error}): is it complete?"
        ) from error
    missing = [name for name in (*_TRAIN, _TEST) if name not in batches]
    if missing:
        raise UnderstudyError(
            f"{path} has no {missing[0]}: the binary version ({ARCHIVE}) is needed"
        )
    return batches


def _records(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, 32, 32, 3]`` and labels int64 ``[N]``."""
    if len(data) % _RECORD:
        raise UnderstudyError(
            f"{name} is truncated: {len(data)} bytes are no multiple of {_RECORD}, the size of a record"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0].astype(
        np.int64
    )
