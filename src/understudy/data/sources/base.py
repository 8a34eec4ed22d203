"""What every source gives and what they share: arrays of one shape, decoded in parallel, and the identity of the files read."""

import hashlib
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.errors import UnderstudyError

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``; always called from the thread that called the source."""

NewArray = Callable[[str, tuple[int, int, int, int]], np.ndarray]
"""``new_array("train" or "test", (N, H, W, 3))`` gives the uint8 array to fill: in memory, or a file that is mapped."""

TEST_FRACTION = 0.2
"""Share of the images cut off as a test split where the files have none."""
TEST_SEED = 0
"""Seed of that cut; fixed, so that everybody tests on the same images."""

# Only bitmap formats: Pillow would hand PostScript to Ghostscript, which is a program to run and not an image to read.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_SMALL = (
    64 * 2**20
)  # bytes: files up to this sum are recognised by their content, larger ones by size and time
_CHUNK = 64  # images decoded in one task
_WORTH_THREADS = 4096  # bytes of an encoded image: decoding smaller ones holds the GIL so often that threads only cost (measured)


@dataclass(frozen=True, eq=False)
class Arrays:
    """Both splits as arrays: images uint8 ``[N, H, W, 3]``, labels int64 ``[N]`` in ``[0, K)``, K class names."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A data set that has been found but not yet read.

    Attributes:
        name: what to write beside every number.
        identity: changes when the content of the files changes; cheap to compute.
        load: ``load(image_size=, new_array=, progress=)`` reads and decodes everything.
    """

    name: str
    identity: str
    load: Callable[..., Arrays]


def in_memory(split: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """The ``NewArray`` that keeps everything in memory."""
    refuse_empty(split, shape[0])
    return np.empty(shape, np.uint8)


def no_progress(what: str, done: int, total: int) -> None:
    """The ``Progress`` that says nothing."""


def refuse_empty(split: str, count: int) -> None:
    """Raises UnderstudyError if a split has no images."""
    if count == 0:
        raise UnderstudyError(f"the {split} split is empty: check the path and the split's files")


def existing(path: Path) -> Path:
    """The path, made absolute. Raises UnderstudyError if nothing is there."""
    if not path.exists():
        raise UnderstudyError(
            f"no such file or folder: {path}; give the data's place with --data or UNDERSTUDY_DATA"
        )
    return path.resolve()


def identity(root: Path, files: Sequence[Path], by_content: bool = True) -> str:
    """A hex digest that changes when any of the files does.

    Files of up to 64 MiB in all are recognised by their bytes wherever they lie; larger ones, and many (``by_content=False``), by
    place, size and time of change in nanoseconds, because hashing them at each start would take longer than starting.
    """
    stats = [file.stat() for file in files]
    digest = hashlib.sha256()
    if by_content and sum(stat.st_size for stat in stats) <= _SMALL:
        for file in files:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(
                f"{file.relative_to(root).as_posix()}\0{content}\n".encode(
                    "utf-8", "surrogateescape"
                )
            )
    else:
        digest.update(os.fsencode(root))
        for file, stat in zip(files, stats, strict=True):
            line = f"{file.relative_to(root).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def fit(image: Image.Image, size: int) -> Image.Image:
    """The image with its shorter side resized to ``size`` (bilinear, antialiased) and the centre ``size`` x ``size`` cut out."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    shorter = min(width, height)
    width, height = (
        max(size, round(width * size / shorter)),
        max(size, round(height * size / shorter)),
    )
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Image.Resampling.BILINEAR).crop(
        (left, top, left + size, top + size)
    )


def fit_arrays(images: np.ndarray, out: np.ndarray) -> None:
    """Copy uint8 ``[N, H, W, 3]`` into ``out`` of the same shape, or of ``[N, S, S, 3]`` resized as by ``fit``."""
    if images.shape == out.shape:
        out[:] = images
        return
    for row, image in enumerate(images):
        out[row] = np.asarray(fit(Image.fromarray(np.ascontiguousarray(image)), out.shape[1]))


def decode(data: bytes | Path, where: str, image_size: int | None) -> np.ndarray:
    """One encoded image as uint8 ``[H, W, 3]``: grey is repeated, an alpha channel dropped.

    Raises:
        UnderstudyError: naming the image (``where``) if it cannot be read or has more than 8 bits a channel.
    """
    try:
        with Image.open(
            io.BytesIO(data) if isinstance(data, bytes) else data, formats=_FORMATS
        ) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"its pixels are of mode {image.mode}, not 8 bits a channel")
            # Pillow warns when the transparency of a palette is dropped without the step over RGBA.
            rgb = (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
            return np.asarray(rgb if image_size is None else fit(rgb, image_size))
    except Exception as error:  # Pillow's decoders raise a dozen unrelated types on broken bytes
        raise UnderstudyError(
            f"cannot decode {where}: {_one_line(error)}; replace or remove this image"
        ) from error


def decode_all(
    encoded: Iterable[tuple[str, bytes | Path]],
    out: np.ndarray,
    image_size: int | None,
    progress: Progress,
    what: str,
) -> None:
    """Decode images, in order, into ``out`` uint8 ``[N, H, W, 3]``, large ones by as many threads as there are cores.

    Args:
        encoded: for each image its name in error messages, and its bytes or file. Read ahead by a few hundred images only.

    Raises:
        UnderstudyError: for the first image (in order) that is corrupt or of another size than ``out`` has.
    """
    chunks = _chunks(encoded)
    first = next(chunks, [])
    workers = (
        _cores()
        if first and sum(_size(data) for _, data in first) / len(first) >= _WORTH_THREADS
        else 1
    )
    pending: deque[Future[int]] = deque()
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            start = 0
            for chunk in itertools.chain([first], chunks):
                pending.append(
                    pool.submit(_decode_chunk, chunk, out[start : start + len(chunk)], image_size)
                )
                start += len(chunk)
                if len(pending) > 2 * workers:
                    done += pending.popleft().result()
                    progress(what, done, len(out))
            while pending:
                done += pending.popleft().result()
                progress(what, done, len(out))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    assert done == len(out), (done, len(out))


def _decode_chunk(
    chunk: list[tuple[str, bytes | Path]], out: np.ndarray, image_size: int | None
) -> int:
    for (where, data), place in zip(chunk, out, strict=True):
        image = decode(data, where, image_size)
        if image.shape != place.shape:
            raise UnderstudyError(
                f"{where} is {image.shape[1]}x{image.shape[0]} pixels but the first image is {place.shape[1]}x{place.shape[0]}: "
                f"set data.image_size to bring all images to one size"
            )
        place[:] = image
    return len(chunk)


def _chunks(
    encoded: Iterable[tuple[str, bytes | Path]],
) -> Iterator[list[tuple[str, bytes | Path]]]:
    items = iter(encoded)
    while chunk := list(itertools.islice(items, _CHUNK)):
        yield chunk


def _size(data: bytes | Path) -> int:
    return len(data) if isinstance(data, bytes) else data.stat().st_size


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
