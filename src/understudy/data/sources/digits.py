"""``digits``: the 1,797 handwritten digits embedded in scikit-learn, for a first run without a download."""

from pathlib import Path

import numpy as np

from understudy.data.sources.base import (
    TEST_FRACTION,
    TEST_SEED,
    Arrays,
    NewArray,
    Progress,
    Source,
    fit_arrays,
    in_memory,
    no_progress,
)
from understudy.data.splits import stratified_rows
from understudy.errors import UnderstudyError


def find(path: Path | None, cache: Path) -> Source:
    """Raises UnderstudyError if a path is given, since none would be read."""
    if path is not None:
        raise UnderstudyError(
            f"the digits come with scikit-learn and read no files: leave out --data {path}, or choose another data.source"
        )
    return Source("digits", "scikit-learn load_digits", load)


def load(
    *,
    image_size: int | None = None,
    new_array: NewArray = in_memory,
    progress: Progress = no_progress,
) -> Arrays:
    """Read the digits (Alpaydin & Kaynak 1998), 8x8 grey values 0..16, as RGB 0..255 of ``image_size`` (32) pixels a side.

    The test split is a stratified fifth, cut with a fixed seed: 1,437 images to train on and 360 to test on, about.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    size = image_size or 32
    train, test = stratified_rows(labels, TEST_FRACTION, TEST_SEED)
    train_images = new_array("train", (len(train), size, size, 3))
    test_images = new_array("test", (len(test), size, size, 3))
    fit_arrays(rgb[train], train_images)
    fit_arrays(rgb[test], test_images)
    progress("digits", len(labels), len(labels))
    return Arrays(
        train_images,
        labels[train],
        test_images,
        labels[test],
        tuple(str(name) for name in bunch.target_names),
    )
