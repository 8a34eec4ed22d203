"""Caches of teacher outputs on disk: list them, inspect, find and delete one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from understudy.errors import UnderstudyError
from understudy.teachers.output_store import default_cache, row_width, valid_rows

_BLOCK = 1 << 22
"""Numbers checked at a time: a cache may be larger than memory."""


def list_caches(cache: Path | None = None) -> list[dict[str, Any]]:
    """:func:`inspect_cache` of every cache in a folder, ``default_cache()`` by default."""
    root = cache or default_cache()
    return [inspect_cache(folder) for folder in sorted(root.glob("*")) if _is_cache(folder)]


def inspect_cache(folder: Path) -> dict[str, Any]:
    """What a cache was made of, and how many of its rows are filled, empty and damaged.

    Raises:
        UnderstudyError: if it is not a cache.
    """
    meta = _read_meta(folder)
    width = row_width(
        meta["num_classes"], meta["num_teachers"], meta["embedding_dim"], meta["feature_shapes"]
    )
    counts = {"filled": 0, "empty": 0, "damaged": 0}
    files = sorted(folder.glob("*.bin"))
    for file in files:
        rows = _whole_rows(file, width)
        step = max(_BLOCK // (width + 1), 1)
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            valid, empty = valid_rows(block), ~block.any(1)
            counts["filled"] += int(valid.sum())
            counts["empty"] += int(empty.sum())
            counts["damaged"] += int((~valid & ~empty).sum())
    return {
        "name": folder.name,
        "images": meta["num_images"],
        "classes": meta["num_classes"],
        "teachers": meta["num_teachers"],
        "embedding": meta["embedding_dim"],
        "features": len(meta["feature_shapes"]),
        "views": meta["num_views"],
        **counts,
        "bytes_on_disk": sum(file.stat().st_blocks * 512 for file in files),
        "parts": meta["parts"],
        "folder": str(folder),
    }


def delete_cache(folder: Path) -> int:
    """Delete one cache and return the bytes that it used on disk.

    Raises:
        UnderstudyError: if it is not a cache: nothing else is ever deleted.
    """
    freed = int(inspect_cache(folder)["bytes_on_disk"])
    shutil.rmtree(folder)
    return freed


def find_cache(name: str, cache: Path | None = None) -> Path:
    """The folder of a cache, given its path, its name, or the beginning of its name.

    Raises:
        UnderstudyError: if there is none, or several begin so.
    """
    if Path(name).is_dir():
        return Path(name)
    root = cache or default_cache()
    caches = [folder for folder in sorted(root.glob("*")) if _is_cache(folder)]
    fitting = [folder for folder in caches if folder.name.startswith(name)]
    if len(fitting) != 1:
        found = "several caches begin" if fitting else "no cache begins"
        raise UnderstudyError(
            f"{found} with {name!r} in {root}: `understudy cache inspect` lists them"
        )
    return fitting[0]


def _is_cache(folder: Path) -> bool:
    return (folder / "meta.json").is_file()


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        found = {key: meta[key] for key in ("parts", "num_images", "num_classes", "num_views")}
        # Caches of one teacher's logits from older versions lack the last entries.
        return found | {
            "num_teachers": meta.get("num_teachers", 1),
            "embedding_dim": meta.get("embedding_dim", 0),
            "feature_shapes": tuple(tuple(map(int, s)) for s in meta.get("feature_shapes", ())),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnderstudyError(
            f"{folder} is not a cache of teacher outputs: it has no sound meta.json"
        ) from error


def _whole_rows(file: Path, values: int) -> np.ndarray:
    """uint16 ``[M, values + 1]``: the file's rows; a last one that is cut off does not count."""
    width = values + 1
    whole = file.stat().st_size // (2 * width)
    if not whole:
        return np.empty((0, width), np.uint16)
    return np.memmap(file, np.uint16, "r", shape=(whole, width))
