"""What every source has in common: a reader, one shape of arrays, decoding."""

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.cores import available_cores
from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.data.inspection import Inspection
from understudy.data.names import shown
from understudy.data.options import NO_OPTIONS, SourceOptions
from understudy.data.preprocess import Resize, decode, fit
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress

NewArray = Callable[[str, tuple[int, int, int, int]], np.ndarray]
"""``new_array("train" or "test", (N, H, W, 3))`` gives the uint8 array to fill: in memory, or a
memory-mapped file."""

_CHUNK = 64
"""Images decoded in one task."""
_WORTH_THREADS = 4096
"""Bytes of an encoded image: decoding smaller ones holds the GIL so often that threads cost more
than they save (measured)."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Both splits: images uint8 ``[N, H, W, 3]``, labels int64 ``[N]`` in ``[0, K)``, K names.

    Attributes:
        annotations: facts for each image beyond its class.
        inspection: what was found while the files were read; ``None`` for sources without image
            files.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    annotations: Annotations = NO_ANNOTATIONS
    inspection: Inspection | None = None


def in_memory(split: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """The :data:`NewArray` that allocates in memory."""
    refuse_empty(split, shape[0])
    return np.empty(shape, np.uint8)


@dataclass(frozen=True)
class Decoding:
    """How a reader decodes.

    Attributes:
        size: (height, width) in pixels to bring all images to; None keeps their own size.
        resize: the rule by which they are brought to it.
        new_array: allocates the arrays to fill.
        observer: gets :class:`~understudy.events.Progress` of phase ``decode`` or ``download``,
            always from the thread that called the reader.
    """

    size: tuple[int, int] | None = None
    new_array: NewArray = in_memory
    observer: Observer = SILENT
    resize: Resize = "crop"

    def allocate(self, split: str, count: int, own_size: tuple[int, int]) -> np.ndarray:
        """uint8 ``[count, H, W, 3]`` for a split's images, whose own (height, width) are given."""
        height, width = self.size or own_size
        return self.new_array(split, (count, height, width, 3))

    def report(self, detail: str, done: int, total: int) -> None:
        """Tell the observer how many images are decoded."""
        self.observer.progress(Progress("decode", done, total, detail=detail))


class SourceReader(ABC):
    """A data set that has been found but not yet read. Each source is a subclass called ``Reader``.

    Attributes:
        name: what to write next to every number.
        identity: changes when the content of the files changes; cheap to compute.
    """

    name: str
    identity: str

    @classmethod
    @abstractmethod
    def find(
        cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS
    ) -> "SourceReader":
        """The data set at ``path``; ``cache`` is the folder for downloads.

        Raises:
            UnderstudyError: if nothing of this kind is there, or the source cannot use an option.
        """

    @abstractmethod
    def read(self, decoding: Decoding) -> Arrays:
        """Read and decode everything.

        Raises:
            UnderstudyError: naming what cannot be read.
        """


def refuse_options(source: str, options: SourceOptions, *used: str) -> None:
    """Raises UnderstudyError if an option is set that the source does not use.

    Args:
        source: its name.
        options: as given.
        used: names of the options that it uses.
    """
    for part in fields(options):
        if part.name not in used and getattr(options, part.name) != getattr(NO_OPTIONS, part.name):
            raise UnderstudyError(
                f"data.{part.name} is not for the source {source}: leave it out, or choose another "
                "data.source"
            )


def refuse_empty(split: str, count: int) -> None:
    """Raises UnderstudyError if a split has no images."""
    if count == 0:
        raise UnderstudyError(f"the {split} split is empty: check the path and the split's files")


def existing(path: Path) -> Path:
    """The path, made absolute. Raises UnderstudyError if nothing is there."""
    if not path.exists():
        raise UnderstudyError(
            f"no such file or folder: {shown(str(path))}; give the path of the data with --data or "
            "UNDERSTUDY_DATA"
        )
    return path.resolve()


def fit_arrays(images: np.ndarray, out: np.ndarray, resize: Resize = "crop") -> None:
    """Copy uint8 ``[N, H, W, 3]`` into ``out``, brought to its size by the rule."""
    if images.shape == out.shape:
        out[:] = images
        return
    size = (out.shape[1], out.shape[2])
    for row, image in enumerate(images):
        out[row] = np.asarray(fit(Image.fromarray(np.ascontiguousarray(image)), size, resize))


def decode_all(
    encoded: Iterable[tuple[str, bytes | Path]], out: np.ndarray, decoding: Decoding, detail: str
) -> None:
    """Decode images, in order, into ``out`` uint8 ``[N, H, W, 3]``.

    Large images are decoded by as many threads as there are cores.

    Args:
        encoded: for each image its name in error messages, and its bytes or file. Read ahead by a
            few hundred images only.
        out: the array to fill.
        decoding: size to resize to, and the observer of progress.
        detail: what is decoded, for the observer.

    Raises:
        UnderstudyError: for the first image (in order) that is corrupt or of another size than
            ``out`` has.
    """
    chunks = _chunks(encoded)
    first = next(chunks, [])
    workers = len(available_cores()) if _mean_size(first) >= _WORTH_THREADS else 1
    pending: deque[Future[int]] = deque()
    done = start = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in itertools.chain([first], chunks):
                target = out[start : start + len(chunk)]
                pending.append(pool.submit(_decode_chunk, chunk, target, decoding))
                start += len(chunk)
                if len(pending) > 2 * workers:
                    done += pending.popleft().result()
                    decoding.report(detail, done, len(out))
            while pending:
                done += pending.popleft().result()
                decoding.report(detail, done, len(out))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    assert done == len(out), (done, len(out))


def _decode_chunk(
    chunk: list[tuple[str, bytes | Path]], out: np.ndarray, decoding: Decoding
) -> int:
    for (where, data), target in zip(chunk, out, strict=True):
        image = decode(data, where, decoding.size, decoding.resize)
        if image.shape != target.shape:
            raise UnderstudyError(
                f"{where} is {image.shape[1]}x{image.shape[0]} pixels but the first image is "
                f"{target.shape[1]}x{target.shape[0]}: "
                "set data.image_size to bring all images to one size"
            )
        target[:] = image
    return len(chunk)


def _chunks(
    encoded: Iterable[tuple[str, bytes | Path]],
) -> Iterator[list[tuple[str, bytes | Path]]]:
    items = iter(encoded)
    while chunk := list(itertools.islice(items, _CHUNK)):
        yield chunk


def _mean_size(encoded: list[tuple[str, bytes | Path]]) -> float:
    """Mean number of bytes; 0 for no images."""
    sizes = [len(d) if isinstance(d, bytes) else d.stat().st_size for _, d in encoded]
    return sum(sizes) / max(len(sizes), 1)
