"""Stratified folds: each image is tested once, by networks that have not been trained on it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from understudy.data.annotations import Annotations
from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.errors import UnderstudyError


def folded(dataset: Dataset, folds: int, fold: int, seed: int) -> Dataset:
    """The data set with one fold as its test split, and all other images to train on.

    All images take part if the data set has no test split of its own; otherwise its training images
    alone, and the test split stays sealed. Images that it names as validation are like others.

    Args:
        dataset: as read.
        folds: how many there are.
        fold: which is the test split, from 1.
        seed: of the folds; another one is another repeat.

    Raises:
        UnderstudyError: if a class, or its groups, are fewer than the folds.
    """
    images, labels, groups, slices = _pool(dataset)
    numbers = fold_numbers(labels, folds, seed, groups=groups, class_names=dataset.class_names)
    stay, cut = (np.flatnonzero(part) for part in (numbers != fold - 1, numbers == fold - 1))
    whole = Split(images, torch.from_numpy(labels))
    digest = hashlib.sha256(f"{dataset.fingerprint} fold {fold} of {folds} seed {seed}".encode())
    return replace(
        dataset,
        train=whole.take(torch.from_numpy(stay)),
        test=SealedSplit(whole.take(torch.from_numpy(cut))),
        fingerprint=digest.hexdigest(),
        annotations=Annotations(
            train_groups=_part(groups, stay),
            test_groups=_part(groups, cut),
            train_slices=_part(slices, stay),
            test_slices=_part(slices, cut),
            slice_names=dataset.annotations.slice_names,
        ),
        inspection=None,  # its counts are those of the whole data set
    )


def fold_numbers(
    labels: np.ndarray,
    folds: int,
    seed: int,
    *,
    groups: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> np.ndarray:
    """The fold of each image, from 0: int64 ``[N]``.

    Classes are spread evenly: two folds differ by one image of each at most, and by one image as a
    whole. With groups, which stay together, they are spread as evenly as whole groups allow.

    Args:
        labels: int64 ``[N]``.
        folds: how many, at least 2.
        seed: the same labels, folds and seed give the same numbers.
        groups: int64 ``[N]``.
        class_names: for messages.

    Raises:
        UnderstudyError: if a class has fewer images, or groups, than there are folds.
    """
    classes, kinds = np.unique(labels, return_inverse=True)
    units = np.arange(len(labels)) if groups is None else groups
    for kind, label in enumerate(classes):
        number = len(np.unique(units[kinds == kind]))
        if number < folds:
            name = class_names[label] if class_names else str(label)
            what = "images" if groups is None else "groups"
            raise UnderstudyError(
                f"class {name} has {number} {what}, fewer than the {folds} folds: take fewer "
                "folds, add images or drop the class"
            )
    random = np.random.default_rng(seed)
    if groups is not None:
        return _by_groups(kinds, groups, folds, random)
    shuffled = random.permutation(len(labels))
    # Dealt out class by class, each class going on where the one before has ended.
    order = shuffled[np.argsort(kinds[shuffled], kind="stable")]
    numbers = np.empty(len(labels), np.int64)
    numbers[order] = np.arange(len(labels)) % folds
    return numbers


def _by_groups(
    kinds: np.ndarray, groups: np.ndarray, folds: int, random: np.random.Generator
) -> np.ndarray:
    """Whole groups, the largest first, each to the fold that has least of its classes so far."""
    _, group_of = np.unique(groups, return_inverse=True)
    held = np.zeros((group_of.max() + 1, kinds.max() + 1))  # images of each group and class
    np.add.at(held, (group_of, kinds), 1)
    share = held / held.sum(0)
    shuffled = random.permutation(len(held))
    order = shuffled[np.argsort(-held[shuffled].sum(1), kind="stable")]
    so_far = np.zeros((folds, held.shape[1]))
    fold_of = np.empty(len(held), np.int64)
    for group in order:
        crowded = (so_far * share[group]).sum(1)
        fold_of[group] = np.lexsort((so_far.sum(1), crowded))[0]
        so_far[fold_of[group]] += share[group]
    return fold_of[group_of]


def _pool(
    dataset: Dataset,
) -> tuple[torch.Tensor, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Images, labels, groups and slices of all images that may be in a fold."""
    own, train = dataset.annotations, dataset.train
    if own.has_own_test:
        assert train.rows is None, "of a data set as read, whose file need not fit into memory"
        return train.images, train.labels.numpy(), own.train_groups, own.train_slices
    # Cut off by us, and part of no training or choice before: every image is in one fold.
    parts = (train, dataset.test.open_for_final_evaluation())
    blocks = [part.gather(torch.arange(len(part))) for part in parts]
    return (
        torch.cat(blocks).permute(0, 3, 1, 2),
        torch.cat([part.labels for part in parts]).numpy(),
        _joined(own.train_groups, own.test_groups),
        _joined(own.train_slices, own.test_slices),
    )


def _joined(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])


def _part(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]
