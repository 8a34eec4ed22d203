from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tests.data.test_prepare import CONFIG, make_dataset

from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.data.decoding import NewArray
from understudy.data.image_cache import open_or_build
from understudy.data.prepare import split_dataset
from understudy.data.sources.base import Arrays


def a_few() -> Annotations:
    return Annotations(
        own_val=np.array([True, False, False, True]),
        train_groups=np.array([0, 1, 1, 2]),
        test_slices=np.array([1, 0]),
        slice_names=("mono", "poly"),
        has_own_test=False,
    )


def test_annotations_round_trip() -> None:
    again = Annotations.from_bytes(a_few().to_bytes())
    assert again.own_val is not None and again.own_val.tolist() == [True, False, False, True]
    assert again.train_groups is not None and again.train_groups.tolist() == [0, 1, 1, 2]
    assert again.slice_names == ("mono", "poly") and not again.has_own_test
    assert again.test_groups is None and again.train_slices is None
    nothing = Annotations.from_bytes(NO_ANNOTATIONS.to_bytes())
    assert vars(nothing) == vars(NO_ANNOTATIONS)


def test_annotations_are_cached_with_the_images(tmp_path: Path) -> None:
    def build(new_array: NewArray) -> Arrays:
        train, test = new_array("train", (4, 2, 2, 3)), new_array("test", (2, 2, 2, 3))
        train[:], test[:] = 1, 2
        labels = np.array([0, 1, 0, 1])
        return Arrays(train, labels, test, labels[:2], ("a", "b"), a_few())

    open_or_build(tmp_path, "k", build)
    cached = open_or_build(tmp_path, "k", build).arrays.annotations
    assert cached.slice_names == ("mono", "poly")


def test_the_data_sets_own_validation_images_are_used() -> None:
    own = np.zeros(30, bool)
    own[[3, 5, 29]] = True
    dataset = replace(make_dataset(), annotations=Annotations(own_val=own))
    data, _ = split_dataset(dataset, CONFIG)
    assert len(data.val) == 3 and len(data.train) == 27
    assert torch.equal(data.val.images, dataset.train.images[torch.from_numpy(own)])
    assert not set(data.rows.tolist()) & {3, 5, 29}


def test_validation_is_cut_by_whole_groups() -> None:
    groups = np.arange(30) // 3
    dataset = replace(make_dataset(), annotations=Annotations(train_groups=groups))
    data, _ = split_dataset(dataset, CONFIG)
    in_train = set(groups[data.rows.numpy()])
    assert len(data.val) + len(data.train) == 30
    assert len(data.val) == 3 * (10 - len(in_train))
