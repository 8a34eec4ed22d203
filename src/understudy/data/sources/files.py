"""Sources of image files: from a listing to decoded arrays, in one place for all of them."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from understudy.data.annotations import Annotations
from understudy.data.arrange import group_numbers
from understudy.data.decoding import Decoding, OnFacts, decode_all, refuse_bad, refuse_empty
from understudy.data.facts import Facts
from understudy.data.inspecting import inspect_listing
from understudy.data.inspection import BadImage
from understudy.data.listing import Listing, SplitName
from understudy.data.names import listed
from understudy.data.scan import Scan
from understudy.data.sources.base import NO_OPTIONS, Arrays, SourceOptions, SourceReader
from understudy.errors import UnderstudyError

_BLOCKS: dict[str, tuple[SplitName, ...]] = {"train": ("train", "val"), "test": ("test",)}
"""The training block holds the data set's own validation images, too."""
_MOVED = 1024
"""Images that are copied at a time."""


class FileReader(SourceReader):
    """A data set of image files.

    Args:
        name: what to write next to every number.
        identity: changes when the content of the files changes.
        list_files: makes the listing; called when it is needed first.
        options: how it was listed, and whether bad images are left out.
    """

    def __init__(
        self,
        name: str,
        identity: str,
        list_files: Callable[[], Listing],
        options: SourceOptions = NO_OPTIONS,
    ) -> None:
        self.name, self.identity, self.options = name, identity, options
        self._list_files = list_files

    @cached_property
    def listing(self) -> Listing:
        """What was found and labelled, nothing decoded."""
        return self._list_files()

    def read(self, decoding: Decoding) -> Arrays:
        return read_listing(self.listing, decoding, self.options)


def read_listing(
    listing: Listing, decoding: Decoding, options: SourceOptions = NO_OPTIONS
) -> Arrays:
    """Decode all images of a listing, in its order; each file is opened once.

    Raises:
        UnderstudyError: if images cannot be read, unless bad ones are skipped; naming the first.
    """
    rows = {block: listing.rows_of(*splits) for block, splits in _BLOCKS.items()}
    size = decoding.size_for(listing.encoded(range(len(listing.samples))))
    facts, bad = Facts(len(listing.samples)), []
    images = {}
    for block, here in rows.items():  # a disk that is too small is found before any decoding
        images[block] = decoding.allocate(block, len(here), size)
    for block, here in rows.items():
        found = decode_all(
            listing.encoded(here.tolist()),
            images[block],
            decoding,
            f"decoding {block} images",
            _noting(facts, here),
        )
        bad += [_of_listing(image, int(here[image.row]), listing) for image in found]
    if not options.skip_bad:
        refuse_bad(bad)
    _refuse_lost_classes(listing, facts)
    for block, here in rows.items():
        images[block] = _without(images[block], ~facts.is_read[here])
        rows[block] = here[facts.is_read[here]]
        refuse_empty(block, len(rows[block]))
    labels = listing.labels
    return Arrays(
        images["train"],
        labels[rows["train"]],
        images["test"],
        labels[rows["test"]],
        listing.class_names,
        annotations_of(listing, rows["train"], rows["test"]),
        inspect_listing(
            listing, Scan(facts, tuple(bad)), size=decoding.size, skipped_bad=options.skip_bad
        ),
    )


def _refuse_lost_classes(listing: Listing, facts: Facts) -> None:
    """Raises UnderstudyError if a class has training images and none of them can be read."""
    train = listing.rows_of("train")
    labels = listing.labels
    lost = np.setdiff1d(labels[train], labels[train[facts.is_read[train]]])
    if len(lost):
        names = [listing.class_names[label] for label in lost]
        what = "the class" if len(lost) == 1 else "the classes"
        raise UnderstudyError(
            f"no training image of {what} {listed(names)} can be read: replace the files, or take "
            f"{what} out of the data set"
        )


def _noting(facts: Facts, rows: np.ndarray) -> OnFacts:
    return lambda row, found: facts.add(int(rows[row]), found)


def _of_listing(image: BadImage, row: int, listing: Listing) -> BadImage:
    return BadImage(row, listing.samples[row].name, image.reason)


def _without(images: np.ndarray, is_bad: np.ndarray) -> np.ndarray:
    """The images without some, moved together in place."""
    good = np.flatnonzero(~is_bad)
    if len(good) < len(images):
        for start in range(0, len(good), _MOVED):
            part = good[start : start + _MOVED]
            images[start : start + len(part)] = images[part]
    return images[: len(good)]


def annotations_of(listing: Listing, train: np.ndarray, test: np.ndarray) -> Annotations:
    """Own validation images, groups and slices for the rows of both blocks."""
    own_val = np.array([listing.samples[row].split == "val" for row in train], bool)
    groups = group_numbers(listing.samples)
    names, slices = np.unique([sample.slice for sample in listing.samples], return_inverse=True)
    has_slices = bool(names[-1])  # without slices the only one is the empty string
    return Annotations(
        own_val=own_val if own_val.any() else None,
        train_groups=None if groups is None else groups[train],
        test_groups=None if groups is None else groups[test],
        train_slices=slices[train] if has_slices else None,
        test_slices=slices[test] if has_slices else None,
        slice_names=tuple(str(name) for name in names) if has_slices else (),
        has_own_test=listing.has_own_test,
    )
