"""What the pictures of a data set are: a scan of its files, or counts where there are none."""

import numpy as np

from understudy.config.images import DataConfig
from understudy.data import listing_of, load_dataset
from understudy.data.dataset import Dataset
from understudy.data.detect import FILE_SOURCES
from understudy.data.inspecting import inspect_listing
from understudy.data.inspection import ClassCounts, Inspection, SizeRange
from understudy.data.options import source_options
from understudy.data.scan import scan
from understudy.events import SILENT, Observer


def look_at(data: DataConfig, observer: Observer = SILENT) -> Inspection:
    """Open every picture once.

    Args:
        data: where they are, and how they are read.
        observer: follows the scan.

    Raises:
        UnderstudyError: if nothing is there, or what is there cannot be used.
    """
    if data.source in FILE_SOURCES:
        listing = listing_of(data.source, data.path, source_options(data))
        read = scan(listing, max_pixels=data.max_pixels, observer=observer)
        return inspect_listing(listing, read, skipped_bad=data.skip_bad)
    options = source_options(data)
    return counts_of(load_dataset(data.source, data.path, options=options, observer=observer))


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
