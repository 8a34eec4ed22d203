"""What the pictures of a data set are: a scan of its files, or counts where there are none."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from understudy.config.images import DataConfig
from understudy.data import listing_of, load_dataset
from understudy.data.contact_sheet import some_images
from understudy.data.dataset import Dataset, Split
from understudy.data.detect import FILE_SOURCES
from understudy.data.inspecting import inspect_listing
from understudy.data.inspection import ClassCounts, Inspection, SizeRange
from understudy.data.listing import Listing
from understudy.data.options import source_options
from understudy.data.scan import Scan, scan
from understudy.data.spec import size_of
from understudy.events import SILENT, Observer

_LARGEST_SHOWN = 224
"""Pixels of a side in a contact sheet, unless a size is set."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a look at a data set showed.

    Attributes:
        inspection: of all images.
        some_images: decodes a few training images of each class, for a contact sheet.
    """

    inspection: Inspection
    some_images: Callable[[], Split]


def look_at(data: DataConfig, observer: Observer = SILENT) -> Look:
    """Open every picture once.

    Args:
        data: where they are, and how they are read.
        observer: follows the scan.

    Raises:
        UnderstudyError: if nothing is there, or what is there cannot be used.
    """
    options = source_options(data)
    if data.source not in FILE_SOURCES:
        dataset = load_dataset(data.source, data.path, options=options, observer=observer)
        return Look(counts_of(dataset), lambda: dataset.train)
    listing = listing_of(data.source, data.path, options)
    read = scan(listing, max_pixels=data.max_pixels, observer=observer)
    found = inspect_listing(listing, read, size=size_of(data.image_size), skipped_bad=data.skip_bad)
    return Look(found, lambda: _some_images(listing, read, data))


def _some_images(listing: Listing, read: Scan, data: DataConfig) -> Split:
    """By default as squares of the size of the smaller images."""
    facts = read.facts
    sides = np.minimum(facts.width, facts.height)[facts.is_read]
    side = min(_LARGEST_SHOWN, int(np.median(sides))) if len(sides) else _LARGEST_SHOWN
    size = size_of(data.image_size) or (side, side)
    return some_images(listing, facts.is_read, size, data.resize, data.max_pixels)


def counts_of(dataset: Dataset) -> Inspection:
    """Classes and size of a data set whose images are arrays of one size."""
    num_classes = len(dataset.class_names)
    labels, own_val = dataset.train.labels.numpy(), dataset.annotations.own_val
    is_val = np.zeros(len(labels), bool) if own_val is None else own_val
    train = np.bincount(labels[~is_val], minlength=num_classes).tolist()
    val = np.bincount(labels[is_val], minlength=num_classes).tolist()
    test = dataset.test.class_counts(num_classes)
    side = (dataset.image.width, dataset.image.height)
    return Inspection(
        name=dataset.name,
        classes=tuple(
            ClassCounts(name, train[label], val[label], test[label])
            for label, name in enumerate(dataset.class_names)
        ),
        sizes=SizeRange(side, side, side, 1),
        modes={},
        formats={},
        num_duplicates={},
    )
