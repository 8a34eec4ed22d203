"""The scan of a data set: every file opened once, in threads, nothing stored but a few facts."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

from understudy.config.images import MOST_PIXELS
from understudy.cores import available_cores
from understudy.data.decoding import encoded_chunks
from understudy.data.facts import Facts
from understudy.data.formats import UnreadableImage
from understudy.data.inspection import BadImage, ImageFacts
from understudy.data.listing import Listing
from understudy.data.prefetch import ahead
from understudy.data.preprocess import decode_with_facts
from understudy.events import SILENT, Observer, Progress

_CHUNK = 32
"""Images in one task."""

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
    row, workers = 0, len(available_cores())
    tasks = (
        functools.partial(_read, chunk, size, max_pixels)
        for chunk in encoded_chunks(listing.encoded(range(total)), _CHUNK)
    )
    with contextlib.closing(ahead(tasks, 2 * workers, workers=workers)) as results:
        for found in results:
            for result in found:
                if isinstance(result, ImageFacts):
                    facts.add(row, result)
                else:
                    bad.append(BadImage(row, listing.samples[row].name, result))
                row += 1
            observer.progress(Progress("scan", row, total, detail="reading images"))
    assert row == total, (row, total)
    return Scan(facts, tuple(bad))


def _read(chunk: list[_Item], size: tuple[int, int], max_pixels: int) -> list[_Result]:
    found: list[_Result] = []
    for where, data in chunk:
        try:
            found.append(decode_with_facts(data, where, size, "squash", max_pixels)[1])
        except UnreadableImage as error:
            found.append(error.reason)
    return found
