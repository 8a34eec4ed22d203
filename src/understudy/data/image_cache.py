"""Decoded images as memory-mapped files in the user's cache folder, shared by all processes.

An entry is built once; it is complete or does not exist.
"""

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from understudy.config.images import MOST_PIXELS, Interpolation
from understudy.data import preprocess
from understudy.data.annotations import Annotations
from understudy.data.decoding import NewArray, refuse_empty
from understudy.data.formats import SUFFIXES, lacks_decoder
from understudy.data.inspection import Inspection
from understudy.data.options import NO_OPTIONS, SourceOptions
from understudy.data.preprocess import Resize
from understudy.data.sources.base import Arrays
from understudy.errors import UnderstudyError
from understudy.files import from_json, to_json

FORMAT = 3
"""Raise it when the files of an entry, or what the sources decode, change."""

_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Python 3.11 lacks the name; the value is Linux's."""
_FILES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, eq=False)
class Entry:
    """The mapped arrays and the hex digest of their content.

    Writing to the arrays changes a private copy, never the file.
    """

    arrays: Arrays
    fingerprint: str


def cache_root(cache_dir: Path | None = None) -> Path:
    """The folder for all that can be computed again.

    The argument, else UNDERSTUDY_CACHE, else the user's cache folder.
    """
    import platformdirs

    return Path(
        cache_dir or os.environ.get("UNDERSTUDY_CACHE") or platformdirs.user_cache_dir("understudy")
    ).expanduser()


def cache_key(
    source: str,
    identity: str,
    size: tuple[int, int] | None,
    resize: Resize = "crop",
    options: SourceOptions = NO_OPTIONS,
    max_pixels: int = MOST_PIXELS,
    interpolation: Interpolation = "bilinear",
    channels: int = 3,
) -> str:
    """The name of an entry: the same files, source, size, rules and format share one."""
    rules: list[object] = [preprocess.VERSION, size, resize, options.key(), max_pixels]
    if options.skip_bad:  # an image may have been left out for want of its decoder
        rules.append([suffix for suffix in SUFFIXES if lacks_decoder(suffix)])
    if (interpolation, channels) != ("bilinear", 3):  # entries were named before these existed
        rules.append([interpolation, channels])
    content = json.dumps([FORMAT, source, identity, *rules])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"{source}-{digest[:32]}"


def open_or_build(
    root: Path, key: str, build: Callable[[NewArray], Arrays], name: str = ""
) -> Entry:
    """Map the entry ``key``; if it is missing or damaged, make it first by ``build(new_array)``.

    A process that finds another one building the same entry waits for it and maps the result.
    Nothing is left behind if ``build`` raises. ``name`` is that of the data set, for people.

    Raises:
        UnderstudyError: if the cache cannot be written or the disk is too small.
    """
    folder = root / "datasets" / key
    entry = _open(folder)
    if entry is not None:
        with contextlib.suppress(OSError):  # somebody else's, read-only
            os.utime(folder / "meta.json")  # when it was used last
        return entry
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{key}.lock"):
            entry = _open(folder)  # another process may have built it while we waited
            if entry is None:
                _build(folder, build, name)
                entry = _open(folder)
    except OSError as error:
        raise _unwritable(root, error) from error
    assert entry is not None, folder
    return entry


def _build(folder: Path, build: Callable[[NewArray], Arrays], name: str) -> None:
    """Make the entry in a temporary folder and rename it; the caller holds the lock."""
    for left_over in folder.parent.glob(f"tmp-{folder.name}-*"):  # by processes that were killed
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = folder.parent / f"tmp-{folder.name}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        try:
            arrays = build(allocator(temporary))
        except OSError as error:
            raise UnderstudyError(f"cannot read the data: {error}") from error
        _write_entry(temporary, arrays, name)
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_entry(folder: Path, arrays: Arrays, name: str) -> None:
    """Labels and metadata; the images are in their files already."""
    np.save(folder / "train_labels.npy", arrays.train_labels.astype(np.int64))
    np.save(folder / "test_labels.npy", arrays.test_labels.astype(np.int64))
    for images in (arrays.train_images, arrays.test_images):
        assert isinstance(images, np.memmap), "a source must fill the arrays that new_array gives"
        images.flush()
        _shorten(Path(str(images.filename)), images)
    (folder / "annotations.npz").write_bytes(arrays.annotations.to_bytes())
    if arrays.inspection is not None:
        content = json.dumps(to_json(arrays.inspection))
        (folder / "inspection.json").write_text(content, encoding="utf-8")
    meta = {
        "format": FORMAT,
        "name": name,
        "class_names": list(arrays.class_names),
        "fingerprint": fingerprint(arrays),
        "bytes": {name: (folder / f"{name}.npy").stat().st_size for name in _FILES},
    }
    # The last file: without it the folder is no entry.
    with open(folder / "meta.json", "w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _shorten(path: Path, images: np.ndarray) -> None:
    """Cut the file off after these images, its first: a source may leave out bad ones."""
    with open(path, "r+b") as file:
        version = np.lib.format.read_magic(file)
        assert version == (1, 0), version
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        if shape == images.shape:
            return
        start = file.tell()
        file.seek(0)
        # The header has room for any number of rows: its length does not change.
        header = np.lib.format.header_data_from_array_1_0(images)
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == start, (file.tell(), start)
        file.truncate(start + images.nbytes)


def _publish(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        # A damaged entry is there, or one that a process without working locks has just published.
        if _open(folder) is not None:
            return
        damaged = folder.parent / f"tmp-{folder.name}-{secrets.token_hex(4)}"
        os.rename(folder, damaged)
        os.rename(temporary, folder)
        shutil.rmtree(damaged, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> UnderstudyError:
    return UnderstudyError(
        f"cannot write the cache in {folder} ({error}): set UNDERSTUDY_CACHE to another folder"
    )


def allocator(folder: Path) -> NewArray:
    """Gives arrays that are files of a folder; a disk that is too small is refused first."""

    def new_array(split: str, shape: tuple[int, int, int, int]) -> np.ndarray:
        refuse_empty(split, shape[0])
        needed = int(np.prod(shape))
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise UnderstudyError(
                f"the decoded {split} images need {needed / 1e9:.1f} GB but {folder.parent} has "
                f"{free / 1e9:.1f} GB free: set UNDERSTUDY_CACHE to a folder on a larger disk, "
                "or data.image_size to a smaller size"
            )
        path = folder / f"{split}_images.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            if hasattr(os, "posix_fallocate"):
                # Writing to a mapped file on a full disk kills the process: take the space now.
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise _unwritable(folder.parent, error) from error
        return array

    return new_array


def _open(folder: Path) -> Entry | None:
    """The entry, or None if it is missing, of another format, truncated or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != FORMAT or any(
            (folder / f"{name}.npy").stat().st_size != meta["bytes"][name] for name in _FILES
        ):
            return None
        train_images, train_labels, test_images, test_labels = (
            _map(folder / f"{name}.npy") for name in _FILES
        )
        arrays = Arrays(
            train_images,
            train_labels,
            test_images,
            test_labels,
            tuple(meta["class_names"]),
            Annotations.from_bytes((folder / "annotations.npz").read_bytes()),
            _inspection(folder / "inspection.json"),
        )
        return Entry(arrays, str(meta["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError, UnderstudyError):
        return None


def _inspection(path: Path) -> Inspection | None:
    if not path.exists():
        return None
    content = json.loads(path.read_bytes())
    return from_json(Inspection, content, str(path), "it is made again")


def _map(path: Path) -> np.ndarray:
    """The array of an .npy file, mapped copy-on-write.

    torch needs writable memory, and no write may reach the file.
    """
    view = np.load(path, mmap_mode="r", allow_pickle=False)
    if sys.platform != "linux":
        return np.load(path, mmap_mode="c", allow_pickle=False)
    # Without MAP_NORESERVE Linux refuses a copy-on-write mapping larger than memory, although
    # nothing will be copied.
    with open(path, "rb") as file:
        flags, prot = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        mapped = mmap.mmap(file.fileno(), 0, flags=flags, prot=prot)
    return np.frombuffer(mapped, view.dtype, count=view.size, offset=view.offset).reshape(
        view.shape
    )


def fingerprint(arrays: Arrays) -> str:
    """SHA-256 over class names, shapes and content of both splits, as hex."""
    digest = hashlib.sha256(json.dumps(arrays.class_names).encode())
    for name in _FILES:
        array = getattr(arrays, name)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        for start in range(0, len(array), 4096):
            digest.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return digest.hexdigest()
