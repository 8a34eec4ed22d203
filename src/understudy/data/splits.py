"""Stratified cuts: validation from train, and a test split if the files have none."""

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError


def stratified_rows(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows in two, class by class.

    Args:
        labels: integers ``[N]``.
        fraction: share of each class that is cut off, in (0, 1), rounded to whole images; at least
            one image of each class stays on either side.
        seed: the same labels, fraction and seed give the same cut.

    Returns:
        Rows that stay and rows cut off: int64, ascending, disjoint, together all of ``range(N)``.

    Raises:
        UnderstudyError: if there are fewer than two classes, or a class has a single image.
    """
    if not 0 < fraction < 1:
        raise UnderstudyError(
            f"the share of images to cut off must lie between 0 and 1, not {fraction}"
        )
    classes, kinds, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        held = f"of class {classes[0]} alone" if len(classes) else "missing"
        raise UnderstudyError(f"the images to split are {held}: at least two classes are needed")
    if counts.min() < 2:
        lonely = classes[counts.argmin()]
        raise UnderstudyError(
            f"class {lonely} has a single image, which cannot be in both parts of a split: "
            "add images or drop the class"
        )
    random = np.random.default_rng(seed)
    # The rows of every class by one sort (of small numbers, which numpy sorts in linear time), not
    # by a pass for each class.
    by_class = np.argsort(kinds.astype(np.min_scalar_type(len(classes))), kind="stable")
    cut = []
    for rows in np.split(by_class, np.cumsum(counts)[:-1]):
        size = min(max(int(fraction * len(rows) + 0.5), 1), len(rows) - 1)
        cut.append(random.permutation(rows)[:size])
    is_cut = np.zeros(len(labels), bool)
    is_cut[np.concatenate(cut)] = True
    return np.flatnonzero(~is_cut), np.flatnonzero(is_cut)


def split_train_val(
    train: Split, val_fraction: float, seed: int
) -> tuple[Split, Split, Tensor, Tensor]:
    """Cut a stratified validation split from the training images.

    Args:
        train: all images that may be trained on.
        val_fraction: share of each class, in (0, 1).
        seed: of the cut; use one for all seeds of a run, so that all models are selected on the
            same images.

    Returns:
        Training split, validation split, and their rows in ``train``: int64 ``[M]``, ascending.

    Raises:
        UnderstudyError: if there are fewer than two classes, or a class has a single image.
    """
    kept, cut = (
        torch.from_numpy(rows) for rows in stratified_rows(train.labels.numpy(), val_fraction, seed)
    )
    return train.take(kept), train.take(cut), kept, cut


def take_fewer(train: Split, num_images: int, seed: int) -> tuple[Split, Tensor]:
    """A stratified part of the training images, for quick trials and for studies of small data.

    Args:
        train: the images left after validation was cut off.
        num_images: how many to take, rounded class by class.
        seed: of the choice.

    Returns:
        The part, and its rows in ``train``: int64 ``[M]``, ascending.

    Raises:
        UnderstudyError: if there are not more images than that.
    """
    if num_images == len(train):
        return train, torch.arange(len(train))
    if num_images > len(train):
        raise UnderstudyError(
            f"data.train_images is {num_images}, but {len(train)} images are left "
            "after validation was cut off"
        )
    _, kept = (
        torch.from_numpy(rows)
        for rows in stratified_rows(train.labels.numpy(), num_images / len(train), seed)
    )
    return train.take(kept), kept
