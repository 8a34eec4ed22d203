"""Stratified cuts: validation from train, and a test split if the files have none."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import Split
from understudy.data.names import listed, shown
from understudy.errors import UnderstudyError

TEST_FRACTION = 0.2
"""Share of the images cut off as a test split if the files have none."""
TEST_SEED = 0
"""Seed of that cut; fixed, so that everybody tests on the same images."""


def stratified_rows(
    labels: np.ndarray,
    fraction: float,
    seed: int,
    *,
    groups: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows in two, class by class.

    Args:
        labels: integers ``[N]``.
        fraction: share of each class that is cut off, in (0, 1), rounded to whole images; at least
            one image of each class stays on either side.
        seed: the same labels, fraction and seed give the same cut.
        groups: integers ``[N]``; images of one group stay together, so the shares are met as well
            as whole groups allow.
        class_names: for messages; without them classes are named by their numbers.

    Returns:
        Rows that stay and rows cut off: int64, ascending, disjoint, together all of ``range(N)``.

    Raises:
        UnderstudyError: if there are fewer than two classes, or a class has a single image (a
            single group) or cannot be on both sides.
    """
    if not 0 < fraction < 1:
        raise UnderstudyError(
            f"the share of images to cut off must lie between 0 and 1, not {fraction}"
        )
    classes, kinds, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        held = f"of class {classes[0]} alone" if len(classes) else "missing"
        raise UnderstudyError(f"the images to split are {held}: at least two classes are needed")
    names = [str(class_names[label]) if class_names else str(label) for label in classes]
    if counts.min() < 2:
        lonely = [name for name, count in zip(names, counts, strict=True) if count < 2]
        raise UnderstudyError(
            f"{_have(lonely)} a single image, which cannot be in both parts of a split: "
            "add images or drop the class"
        )
    random = np.random.default_rng(seed)
    if groups is not None:
        return _whole_groups(kinds, groups, fraction, random, names)
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


def cut_test(
    labels: np.ndarray, groups: np.ndarray | None = None, class_names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and a stratified fifth to test on, for files without a test split.

    Groups and class names are those of :func:`stratified_rows`.
    """
    return stratified_rows(labels, TEST_FRACTION, TEST_SEED, groups=groups, class_names=class_names)


def _whole_groups(
    kinds: np.ndarray,
    groups: np.ndarray,
    fraction: float,
    random: np.random.Generator,
    names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """The cut of :func:`stratified_rows` by whole groups.

    Groups are tried from the largest to the smallest, equal ones in random order. Each is cut off
    if that brings the number of images of the classes closer to what is wanted (least squares).
    """
    _, group_of = np.unique(groups, return_inverse=True)
    held = np.zeros((group_of.max() + 1, len(names)), np.int64)  # images of each group and class
    np.add.at(held, (group_of, kinds), 1)
    single = [name for name, column in zip(names, held.T, strict=True) if (column > 0).sum() < 2]
    if single:
        raise UnderstudyError(
            f"{_have(single)} images of a single group, which cannot be in both parts of a "
            "split: add groups, drop the class, or choose another data.group_by"
        )
    shuffled = random.permutation(len(held))
    order = shuffled[np.argsort(-held[shuffled].sum(1), kind="stable")]
    total = held.sum(0)
    wanted, cut = fraction * total, np.zeros(len(names))
    is_cut = np.zeros(len(held), bool)
    for group in order:
        after = cut + held[group]
        closer = ((wanted - after) ** 2).sum() < ((wanted - cut) ** 2).sum()
        if closer and (after[held[group] > 0] < total[held[group] > 0]).all():
            is_cut[group], cut = True, after
    # A class of few, large groups may still be on one side alone: its smallest group changes over.
    for kind in np.flatnonzero(cut == 0):
        holders = np.flatnonzero((held[:, kind] > 0) & ~is_cut)
        is_cut[holders[held[holders].sum(1).argmin()]] = True
    empty = [n for n, column in zip(names, held[~is_cut].T, strict=True) if not column.any()]
    if empty:
        raise UnderstudyError(
            f"{_have(empty)} no images left after whole groups were cut off: "
            "choose another data.group_by, or add groups"
        )
    rows = is_cut[group_of]
    return np.flatnonzero(~rows), np.flatnonzero(rows)


def _have(names: Sequence[str]) -> str:
    """``class a has``, or ``classes a, b, c and 4 more have``."""
    return f"class {shown(names[0])} has" if len(names) == 1 else f"classes {listed(names)} have"


def split_train_val(
    train: Split,
    val_fraction: float,
    seed: int,
    *,
    groups: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> tuple[Split, Split, Tensor, Tensor]:
    """Cut a stratified validation split from the training images.

    Args:
        train: all images that may be trained on.
        val_fraction: share of each class, in (0, 1).
        seed: of the cut; use one for all seeds of a run, so that all models are selected on the
            same images.
        groups, class_names: as for :func:`stratified_rows`.

    Returns:
        Training split, validation split, and their rows in ``train``: int64 ``[M]``, ascending.

    Raises:
        UnderstudyError: if there are fewer than two classes, or a class has a single image.
    """
    labels = train.labels.numpy()
    parts = stratified_rows(labels, val_fraction, seed, groups=groups, class_names=class_names)
    kept, cut = (torch.from_numpy(rows) for rows in parts)
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
