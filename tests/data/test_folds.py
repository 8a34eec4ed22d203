"""Folds: every image in one test fold, classes even, groups whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.worlds import tiny_split

from understudy.config.schema import DataConfig
from understudy.data.annotations import Annotations
from understudy.data.dataset import Dataset, SealedSplit
from understudy.data.folds import fold_numbers, folded
from understudy.data.prepare import split_dataset
from understudy.errors import UnderstudyError


def tiny_dataset(**annotations: object) -> Dataset:
    return Dataset(
        "tiny",
        tiny_split(24),
        SealedSplit(tiny_split(6, seed=1)),
        ("a", "b", "c"),
        "fingerprint",
        Annotations(**annotations),
    )


def images_of(*splits) -> set[bytes]:
    return {image.numpy().tobytes() for split in splits for image in split.images}


@pytest.mark.parametrize("counts", [[10, 10, 10], [7, 23, 5, 6], [50, 5]])
def test_each_fold_has_its_share_of_each_class(counts: list[int]):
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(0).shuffle(labels)
    numbers = fold_numbers(labels, 5, seed=3)
    for label in range(len(counts)):
        held = np.bincount(numbers[labels == label], minlength=5)
        assert held.max() - held.min() <= 1
    sizes = np.bincount(numbers, minlength=5)
    assert sizes.max() - sizes.min() <= 1
    assert (numbers == fold_numbers(labels, 5, seed=3)).all()
    assert (numbers != fold_numbers(labels, 5, seed=4)).any()


def test_groups_are_whole_and_classes_about_even():
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 40, 400)
    labels = rng.integers(0, 3, 400)
    numbers = fold_numbers(labels, 5, seed=0, groups=groups)
    assert all(len(set(numbers[groups == group])) == 1 for group in range(40))
    for label in range(3):
        held = np.bincount(numbers[labels == label], minlength=5)
        assert held.min() > 0.6 * held.mean()


def test_a_class_with_fewer_images_or_groups_than_folds_is_refused():
    labels = np.array([0] * 9 + [1] * 4)
    with pytest.raises(UnderstudyError, match=r"class cats has 4 images, fewer than the 5 folds"):
        fold_numbers(labels, 5, 0, class_names=("dogs", "cats"))
    groups = np.array([*range(9), 10, 10, 11, 11])
    with pytest.raises(UnderstudyError, match=r"class 1 has 2 groups, fewer than the 3 folds"):
        fold_numbers(labels, 3, 0, groups=groups)


def test_the_folds_of_a_set_without_test_images_hold_every_image_once():
    dataset = tiny_dataset(has_own_test=False)
    everything = images_of(dataset.train, dataset.test.open_for_final_evaluation())
    tested: list[set[bytes]] = []
    for fold in (1, 2, 3):
        part = folded(dataset, 3, fold, seed=0)
        test = part.test.open_for_final_evaluation()
        assert images_of(part.train) | images_of(test) == everything
        assert len(part.train) == 20 and len(test) == 10
        assert images_of(part.train).isdisjoint(images_of(test))
        tested.append(images_of(test))
    assert set().union(*tested) == everything and sum(map(len, tested)) == len(everything)


def test_a_test_split_of_the_data_set_stays_sealed():
    class Sealed(SealedSplit):
        def open_for_final_evaluation(self):
            raise AssertionError("the test split is not for the folds")

    dataset = replace(tiny_dataset(), test=Sealed(tiny_split(6, seed=1)))
    part = folded(dataset, 4, 1, seed=0)
    assert len(part.train) + len(part.test) == 24


def test_validation_comes_from_the_other_folds_and_each_fold_has_its_own_fingerprint():
    own_val = np.arange(24) % 4 == 0
    groups = np.arange(24) // 2
    dataset = tiny_dataset(own_val=own_val, train_groups=groups)
    config = DataConfig(val_fraction=0.3, folds=3, fold=1)
    fingerprints = set()
    for fold in (1, 2, 3):
        data, test = split_dataset(dataset, replace(config, fold=fold))
        held = test.open_for_final_evaluation()
        assert len(data.train) + len(data.val) + len(held) == 24
        assert images_of(data.train, data.val).isdisjoint(images_of(held))
        assert data.annotations.own_val is None
        fingerprints.add(data.fingerprint)
    whole, _ = split_dataset(dataset, replace(config, folds=None, fold=None))
    assert len({*fingerprints, whole.fingerprint}) == 4


def test_slices_and_groups_go_with_their_images():
    labels = torch.arange(24) % 3
    dataset = tiny_dataset(train_slices=labels.numpy(), slice_names=("x", "y", "z"))
    part = folded(dataset, 4, 2, seed=5)
    test = part.test.open_for_final_evaluation()
    assert (part.annotations.test_slices == test.labels.numpy()).all()
    assert (part.annotations.train_slices == part.train.labels.numpy()).all()
    assert part.annotations.test_groups is None
