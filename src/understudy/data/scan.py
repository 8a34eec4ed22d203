"""The scan of a data set: every file opened once, in threads, nothing stored but a few facts."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from understudy.config.images import MOST_PIXELS
from understudy.cores import available_cores
from understudy.data.facts import Facts
from understudy.data.formats import UnreadableImage
from understudy.data.inspection import BadImage, ImageFacts
from understudy.data.listing import Listing
from understudy.data.preprocess import decode_with_facts
from understudy.events import SILENT, Observer, Progress

_CHUNK = 32
"""Images in one task."""
_CHUNK_BYTES = 2**24
"""Encoded bytes in one task, after which it gets no more images."""

_Item = tuple[str, bytes | Path]
_Result = ImageFacts | str
"""Facts of an image, or why it cannot be read."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What reading all images of a listing showed: by a scan, or by a run that decodes them.

    Attributes:
        facts: of the images that can be read.
        bad: those that cannot, in the order of the listing.
    """

    facts: Facts
    bad: tuple[BadImage, ...] = ()


def scan(
    listing: Listing,
    *,
    size: tuple[int, int] = (64, 64),
    max_pixels: int = MOST_PIXELS,
    observer: Observer = SILENT,
) -> Scan:
    """Open every image once.

    Args:
        listing: whose images.
        size: (height, width) to reduce each to, of which its thumbnail is made; JPEG files are
            decoded at the nearest scale above.
        max_pixels: a file of more pixels counts as unreadable.
        observer: gets :class:`~understudy.events.Progress` of phase ``scan``, always from the
            calling thread.
    """
    total = len(listing.samples)
    facts, bad = Facts(total), []
    row = 0
    for found in _in_threads(listing.encoded(range(total)), size, max_pixels):
        for result in found:
            if isinstance(result, ImageFacts):
                facts.add(row, result)
            else:
                bad.append(BadImage(row, listing.samples[row].name, result))
            row += 1
        observer.progress(Progress("scan", row, total, detail="reading images"))
    assert row == total, (row, total)
    return Scan(facts, tuple(bad))


def _in_threads(
    items: Iterable[_Item], size: tuple[int, int], max_pixels: int
) -> Iterator[list[_Result]]:
    """The results of all images, in order; a few chunks are read ahead."""
    workers = len(available_cores())
    pending: deque[Future[list[_Result]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in _chunks(items):
                pending.append(pool.submit(_read, chunk, size, max_pixels))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _read(chunk: list[_Item], size: tuple[int, int], max_pixels: int) -> list[_Result]:
    found: list[_Result] = []
    for where, data in chunk:
        try:
            found.append(decode_with_facts(data, where, size, "squash", max_pixels)[1])
        except UnreadableImage as error:
            found.append(error.reason)
    return found


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    chunk: list[_Item] = []
    size = 0
    for where, data in items:
        chunk.append((where, data))
        size += len(data) if isinstance(data, bytes) else 0
        if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
