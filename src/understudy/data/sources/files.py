"""Sources of image files: from a listing to decoded arrays, in one place for all of them."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from understudy.data.annotations import Annotations
from understudy.data.arrange import group_numbers
from understudy.data.listing import Listing, SplitName
from understudy.data.preprocess import decode
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    Decoding,
    SourceOptions,
    SourceReader,
    decode_all,
)

_BLOCKS: dict[str, tuple[SplitName, ...]] = {"train": ("train", "val"), "test": ("test",)}
"""The training block holds the data set's own validation images, too."""


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
    """Decode all images of a listing, in its order."""
    rows = {split: listing.rows_of(*parts) for split, parts in _BLOCKS.items()}
    own_size = decoding.size or _first_size(listing)
    images = {}
    for split, block in rows.items():
        images[split] = decoding.allocate(split, len(block), own_size)
        decode_all(
            listing.encoded(block.tolist()), images[split], decoding, f"decoding {split} images"
        )
    labels = listing.labels
    return Arrays(
        images["train"],
        labels[rows["train"]],
        images["test"],
        labels[rows["test"]],
        listing.class_names,
        annotations_of(listing, rows["train"], rows["test"]),
    )


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


def _first_size(listing: Listing) -> tuple[int, int]:
    """(height, width) of the first image."""
    where, data = next(iter(listing.encoded([0])))
    height, width = decode(data, where, None).shape[:2]
    return height, width
