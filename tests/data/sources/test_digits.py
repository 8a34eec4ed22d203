from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.worlds import SeenEvents, read

from understudy.data.sources.base import Arrays
from understudy.data.sources.digits import Reader
from understudy.data.splits import stratified_rows
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer


def load(image_size: int | None = None, observer: Observer = SILENT) -> Arrays:
    return read(Reader(), image_size, observer)


find = Reader.find


def test_the_digits_are_grey_rgb_of_full_range_in_stratified_splits() -> None:
    arrays = load()
    assert len(arrays.train_images) + len(arrays.test_images) == 1797
    assert arrays.train_images.shape[1:] == (32, 32, 3) and arrays.train_images.dtype == np.uint8
    assert (arrays.train_images[..., 0] == arrays.train_images[..., 2]).all()
    assert arrays.train_images.min() == 0 and arrays.train_images.max() == 255
    share = np.bincount(arrays.test_labels) / np.bincount(
        np.concatenate([arrays.train_labels, arrays.test_labels])
    )
    assert np.allclose(share, 0.2, atol=0.005)
    assert arrays.class_names == tuple("0123456789")


def test_values_are_those_of_scikit_learn_times_255_over_16() -> None:
    arrays = load(image_size=8)
    ours = np.sort(
        np.concatenate([arrays.train_images, arrays.test_images])[..., 0]
        .reshape(-1, 64)
        .sum(1, dtype=int)
    )
    theirs = np.sort(np.rint(load_digits().images * (255 / 16)).astype(int).reshape(-1, 64).sum(1))
    assert np.array_equal(ours, theirs)


def test_the_split_is_always_the_same() -> None:
    assert np.array_equal(load(image_size=8).test_images, load(image_size=8).test_images)


def test_a_path_is_refused() -> None:
    with pytest.raises(UnderstudyError, match="leave out --data"):
        find(Path("somewhere"), Path("cache"))


def test_each_digit_keeps_its_label_and_its_place() -> None:
    """The cut of :func:`stratified_rows` with a fifth and seed 0, applied to scikit-learn's images
    and labels."""
    bunch, arrays = load_digits(), load(image_size=8)
    train, test = stratified_rows(bunch.target, 0.2, 0)
    for rows, images, labels in (
        (train, arrays.train_images, arrays.train_labels),
        (test, arrays.test_images, arrays.test_labels),
    ):
        assert np.array_equal(labels, bunch.target[rows]) and labels.dtype == np.int64
        assert np.array_equal(
            images[..., 1], np.rint(bunch.images[rows] * 255 / 16).astype(np.uint8)
        )


def test_the_source_has_a_name_and_reports_its_images() -> None:
    found, seen = find(None, Path("cache")), SeenEvents()
    assert (found.name, found.identity) == ("digits", "scikit-learn load_digits")
    read(found, 8, seen)
    assert seen.counts() == [("digits", 1797, 1797)]
