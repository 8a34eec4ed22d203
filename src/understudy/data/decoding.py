"""Decoding many images into one array: in threads, read ahead by a bounded amount, with all that
cannot be read listed at the end."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.config.images import MOST_PIXELS, Interpolation
from understudy.cores import available_cores
from understudy.data.formats import UnreadableImage
from understudy.data.inspection import BadImage, ImageFacts
from understudy.data.names import counted, shown
from understudy.data.prefetch import ahead
from understudy.data.preprocess import Resize, array_of, decode, decode_with_facts, fit
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress

NewArray = Callable[[str, tuple[int, int, int, int]], np.ndarray]
"""``new_array("train" or "test", (N, H, W, C))`` gives the uint8 array to fill: in memory, or a
memory-mapped file."""
OnFacts = Callable[[int, ImageFacts], None]
"""Gets the row and the facts of each image that could be read, in order, from the thread that
called :func:`decode_all`."""

_CHUNK = 64
"""Images decoded in one task."""
_CHUNK_BYTES = 2**24
"""Encoded bytes in one task, after which it gets no more images."""
_WORTH_THREADS = 4096
"""Bytes of an encoded image: decoding smaller ones holds the GIL so often that threads cost more
than they save (measured)."""
_NAMED = 5
"""Unreadable images that a message names."""


def refuse_empty(split: str, count: int) -> None:
    """Raises UnderstudyError if a split has no images."""
    if count == 0:
        raise UnderstudyError(f"the {split} split is empty: check the path and the split's files")


def in_memory(split: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """The :data:`NewArray` that allocates in memory."""
    refuse_empty(split, shape[0])
    return np.empty(shape, np.uint8)


@dataclass(frozen=True)
class Decoding:
    """How a reader decodes.

    Attributes:
        size: (height, width) in pixels to bring all images to; None keeps their own size.
        new_array: allocates the arrays to fill.
        observer: gets :class:`~understudy.events.Progress` of phase ``decode`` or ``download``,
            always from the thread that called the reader.
        resize: the rule by which they are brought to it.
        max_pixels: a file of more pixels counts as unreadable.
        interpolation: filter of the resizing.
        channels: 3 for RGB, 1 for grey.
    """

    size: tuple[int, int] | None = None
    new_array: NewArray = in_memory
    observer: Observer = SILENT
    resize: Resize = "crop"
    max_pixels: int = MOST_PIXELS
    interpolation: Interpolation = "bilinear"
    channels: int = 3

    def allocate(self, split: str, count: int, own_size: tuple[int, int]) -> np.ndarray:
        """uint8 ``[count, H, W, C]`` for a split's images, whose own (height, width) are given."""
        height, width = self.size or own_size
        return self.new_array(split, (count, height, width, self.channels))

    def fit_arrays(self, images: np.ndarray, out: np.ndarray) -> None:
        """Copy uint8 ``[N, H, W, 3]`` or ``[N, H, W, 1]`` into ``out``, as this decoding has it."""
        fit_arrays(images, out, self.resize, self.interpolation)

    def size_for(self, encoded: Iterable[tuple[str, bytes | Path]]) -> tuple[int, int]:
        """The (height, width) that all images get: as wanted, else that of the first readable one.

        Raises:
            UnderstudyError: if none can be read.
        """
        if self.size is not None:
            return self.size
        reasons = []
        for where, data in encoded:
            try:
                height, width, _ = decode(data, where, None, max_pixels=self.max_pixels).shape
                return height, width
            except UnreadableImage as error:
                reasons.append(str(error))
        raise UnderstudyError(f"no image can be read: {'; '.join(reasons[:1]) or 'there is none'}")

    def report(self, detail: str, done: int, total: int) -> None:
        """Tell the observer how many images are decoded."""
        self.observer.progress(Progress("decode", done, total, detail=detail))


def fit_arrays(
    images: np.ndarray,
    out: np.ndarray,
    resize: Resize = "crop",
    interpolation: Interpolation = "bilinear",
) -> None:
    """Copy images into ``out``, brought to its size by the rule and to its channels.

    Args:
        images: uint8 ``[N, H, W, 3]``, or grey as ``[N, H, W, 1]``.
        out: uint8 of the wanted size, with 3 channels or 1.
        resize, interpolation: as for :func:`~understudy.data.preprocess.fit`.
    """
    if images.shape == out.shape:
        out[:] = images
        return
    _, height, width, channels = out.shape
    for row, image in enumerate(images):
        pixels = np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)
        fitted = fit(Image.fromarray(pixels), (height, width), resize, interpolation)
        out[row] = array_of(fitted, channels)


def decode_all(
    encoded: Iterable[tuple[str, bytes | Path]],
    out: np.ndarray,
    decoding: Decoding,
    detail: str,
    on_facts: OnFacts | None = None,
) -> tuple[BadImage, ...]:
    """Decode images, in order, into ``out`` uint8 ``[N, H, W, C]``; all that can be.

    Large images are decoded by as many threads as there are cores. Each file is read once.

    Args:
        encoded: for each image its name in messages, and its bytes or file. Read ahead by a few
            hundred images or some 100 MB only.
        out: the array to fill; the rows of images that cannot be read do not change.
        decoding: size to resize to, and the observer of progress.
        detail: what is decoded, for the observer.
        on_facts: gets the facts of each image that can be read.

    Returns:
        All images that cannot be read; see :func:`refuse_bad`.

    Raises:
        UnderstudyError: for the first image (in order) that is of another size than ``out`` has.
    """
    chunks = encoded_chunks(encoded, _CHUNK)
    first = next(chunks, [])
    workers = len(available_cores()) if _mean_size(first) >= _WORTH_THREADS else 1
    bad: list[BadImage] = []
    done = 0

    def tasks() -> Iterator[Callable[[], list[BadImage | ImageFacts | None]]]:
        start = 0
        for chunk in itertools.chain([first], chunks):
            yield _Task(chunk, start, out, decoding, on_facts is not None).run
            start += len(chunk)

    with contextlib.closing(ahead(tasks(), 2 * workers, workers=workers)) as results:
        for found in results:
            for result in found:
                if isinstance(result, BadImage):
                    bad.append(result)
                elif on_facts is not None and result is not None:
                    on_facts(done, result)
                done += 1
            decoding.report(detail, done, len(out))
    assert done == len(out), (done, len(out))
    return tuple(bad)


def refuse_bad(bad: Sequence[BadImage]) -> None:
    """Raises UnderstudyError, naming the first few, if there are images that cannot be read."""
    if not bad:
        return
    named = "; ".join(f"{shown(image.name)}: {image.reason}" for image in bad[:_NAMED])
    more = f"; and {len(bad) - _NAMED:,} more" if len(bad) > _NAMED else ""
    raise UnderstudyError(
        f"cannot decode {counted(len(bad), 'image')} ({named}{more}): all are listed by "
        "`understudy inspect data PATH`; --skip-bad goes on without them"
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """Some images in a row, decoded by one thread into their rows of ``out``."""

    chunk: list[tuple[str, bytes | Path]]
    start: int
    out: np.ndarray
    decoding: Decoding
    wants_facts: bool

    def run(self) -> list[BadImage | ImageFacts | None]:
        """For each image its facts, if they are wanted, or why it cannot be read."""
        return [self._decode(row) for row in range(len(self.chunk))]

    def _decode(self, row: int) -> BadImage | ImageFacts | None:
        (where, data), target = self.chunk[row], self.out[self.start + row]
        how = self.decoding
        rule = (how.size, how.resize, how.max_pixels, how.interpolation, how.channels)
        facts = None
        try:
            if self.wants_facts:
                image, facts = decode_with_facts(data, where, *rule)
            else:
                image = decode(data, where, *rule)
        except UnreadableImage as error:
            return BadImage(self.start + row, where, error.reason)
        if image.shape != target.shape:
            raise UnderstudyError(
                f"{where} is {image.shape[1]}x{image.shape[0]} pixels but the first image is "
                f"{target.shape[1]}x{target.shape[0]}: "
                "set data.image_size to bring all images to one size"
            )
        target[:] = image
        return facts


def encoded_chunks(
    encoded: Iterable[tuple[str, bytes | Path]], most: int
) -> Iterator[list[tuple[str, bytes | Path]]]:
    """The images in groups of ``most``, or of fewer that have some 16 MB in memory together."""
    chunk: list[tuple[str, bytes | Path]] = []
    size = 0
    for where, data in encoded:
        chunk.append((where, data))
        size += len(data) if isinstance(data, bytes) else 0
        if len(chunk) == most or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _mean_size(encoded: list[tuple[str, bytes | Path]]) -> float:
    """Mean number of bytes; 0 for no images."""
    return sum(_size(data) for _, data in encoded) / max(len(encoded), 1)


def _size(data: bytes | Path) -> int:
    if isinstance(data, bytes):
        return len(data)
    try:
        return data.stat().st_size
    except OSError:  # decoding it gives the reason
        return 0
