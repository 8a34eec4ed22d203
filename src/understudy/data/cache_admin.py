"""Decoded data sets in the cache: list them, find and delete one."""

import contextlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from understudy.data.image_cache import cache_root
from understudy.errors import UnderstudyError


@dataclass(frozen=True, kw_only=True)
class CachedImages:
    """One decoded data set.

    Attributes:
        name: of its folder: the source and a digest.
        data_set: its name; empty for an entry of an older version.
        images: how many, of both splits.
        size: of each, width x height.
        bytes_on_disk: of all its files.
        last_use: date and time in UTC, to the minute.
        folder: its path.
    """

    name: str
    data_set: str
    images: int
    size: str
    bytes_on_disk: int
    last_use: str
    folder: str


def list_images(cache: Path | None = None) -> list[CachedImages]:
    """Every decoded data set, the one used last first; damaged ones and those being deleted aside.

    Args:
        cache: as for :func:`~understudy.data.image_cache.cache_root`.
    """
    found = []
    for folder in _entries(cache):
        with contextlib.suppress(UnderstudyError, OSError):  # it is built again when it is needed
            found.append((-_last_use(folder), describe(folder)))
    return [entry for _, entry in sorted(found, key=lambda pair: (pair[0], pair[1].name))]


def describe(folder: Path) -> CachedImages:
    """What an entry holds.

    Raises:
        UnderstudyError: if it is none.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        shapes = [
            np.load(folder / f"{split}_images.npy", mmap_mode="r", allow_pickle=False).shape
            for split in ("train", "test")
        ]
        (train, height, width, _), (test, *_) = shapes
        used = datetime.fromtimestamp(_last_use(folder), UTC)
        return CachedImages(
            name=folder.name,
            data_set=str(meta.get("name", "")),
            images=train + test,
            size=f"{width}x{height}",
            bytes_on_disk=sum(file.stat().st_blocks * 512 for file in folder.iterdir()),
            last_use=used.strftime("%Y-%m-%d %H:%M"),
            folder=str(folder),
        )
    except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise UnderstudyError(f"{folder} holds no decoded data set: {error}") from error


def find_images(name: str, cache: Path | None = None) -> Path | None:
    """The entry at this path, or whose name begins so; ``None`` if there is none.

    Raises:
        UnderstudyError: if several names begin so.
    """
    if (Path(name) / "train_images.npy").is_file():
        return Path(name)
    fitting = [folder for folder in _entries(cache) if folder.name.startswith(name)]
    if len(fitting) > 1:
        raise UnderstudyError(
            f"several caches begin with {name!r}: `understudy cache inspect` lists them"
        )
    return fitting[0] if fitting else None


def delete_images(folder: Path) -> int:
    """Delete an entry and return the bytes that it used on disk.

    Raises:
        UnderstudyError: if it is none: nothing else is ever deleted.
    """
    freed = describe(folder).bytes_on_disk
    shutil.rmtree(folder)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)
    return freed


def _entries(cache: Path | None) -> list[Path]:
    found = sorted((cache_root(cache) / "datasets").glob("*/meta.json"))
    return [file.parent for file in found if not file.parent.name.startswith("tmp-")]


def _last_use(folder: Path) -> float:
    """Seconds since 1970; opening an entry renews it."""
    return (folder / "meta.json").stat().st_mtime
