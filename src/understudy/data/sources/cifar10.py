"""``cifar10``: Krizhevsky's 60,000 images, from the official binary archive or a local copy."""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from understudy.data.decoding import Decoding, refuse_empty
from understudy.data.download import download
from understudy.data.identity import identity
from understudy.data.sources import parquet
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    SourceOptions,
    SourceReader,
    existing,
    refuse_options,
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
_RECORD = 1 + 3 * 32 * 32
"""Bytes: the label, then the red, green and blue planes, row by row."""
HINT = (
    "give a local copy (archive, extracted folder, or Parquet) with --data PATH or UNDERSTUDY_DATA"
)
"""What to do if the download fails."""


class Reader(SourceReader):
    """The official binary version (Krizhevsky 2009): the ``.tar.gz``, or the folder from it."""

    name = "cifar10"

    def __init__(self, path: Path, identity: str = "") -> None:
        self.path, self.identity = path, identity

    @classmethod
    def find(
        cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS
    ) -> SourceReader:
        """The archive, the extracted folder or the Parquet files at ``path``, else the download."""
        refuse_options("cifar10", options)
        if path is None:
            return Download(cache / "downloads" / ARCHIVE)
        place = existing(path)
        if place.suffix == ".parquet" or (place.is_dir() and any(place.rglob("*.parquet"))):
            return ParquetCopy.find(place, cache)
        if place.is_dir():
            folder = _extracted(place)
            files = [folder / name for name in (*_TRAIN, _TEST)]
            return cls(folder, identity(folder, files))
        return cls(place, identity(place.parent, [place]))

    def read(self, decoding: Decoding) -> Arrays:
        if self.path.is_file():
            batches = _from_archive(self.path)
        else:
            folder = _extracted(self.path)
            batches = {name: _read(folder / name) for name in (*_TRAIN, _TEST)}
        parts = [_records(name, batches[name]) for name in _TRAIN]
        train = np.concatenate([images for images, _ in parts])
        train_labels = np.concatenate([labels for _, labels in parts])
        test, test_labels = _records(_TEST, batches[_TEST])
        refuse_empty("train", len(train))
        refuse_empty("test", len(test))
        train_images = decoding.allocate("train", len(train), (32, 32))
        test_images = decoding.allocate("test", len(test), (32, 32))
        decoding.fit_arrays(train, train_images)
        decoding.fit_arrays(test, test_images)
        decoding.report("cifar10", len(train) + len(test), len(train) + len(test))
        return Arrays(train_images, train_labels, test_images, test_labels, CLASS_NAMES)


class Download(Reader):
    """The official archive at ``path``, which is downloaded first if it is not there."""

    def __init__(self, path: Path, url: str = URL, md5: str = MD5) -> None:
        super().__init__(path, md5)
        self.url = url

    def read(self, decoding: Decoding) -> Arrays:
        download(self.path, self.url, self.identity, HINT, decoding.observer)
        return super().read(decoding)


class ParquetCopy(parquet.Reader):
    """A copy of CIFAR-10 in the layout of Hugging Face. Refused unless there are ten classes."""

    def read(self, decoding: Decoding) -> Arrays:
        arrays = super().read(decoding)
        if len(arrays.class_names) != 10:
            raise UnderstudyError(
                f"{self.path} has {len(arrays.class_names)} classes and CIFAR-10 ten: "
                "set data.source=parquet to read it as another data set"
            )
        return arrays


def _extracted(folder: Path) -> Path:
    """The folder with the .bin files: this one or ``cifar-10-batches-bin`` in it.

    Raises:
        UnderstudyError: if a file is missing.
    """
    inner = folder / "cifar-10-batches-bin"
    place = inner if inner.is_dir() else folder
    missing = [name for name in (*_TRAIN, _TEST) if not (place / name).is_file()]
    if missing:
        raise UnderstudyError(
            f"{place} has no {missing[0]}: cifar10 needs the binary version ({ARCHIVE}), "
            "its extracted folder, or *.parquet"
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
            f"{name} is truncated: "
            f"{len(data)} bytes are not a multiple of {_RECORD}, the size of a record"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0].astype(np.int64)
