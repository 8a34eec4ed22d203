import numpy as np
import pytest
import torch

from understudy.data.dataset import Split
from understudy.data.splits import split_train_val, stratified_rows, take_fewer
from understudy.errors import UnderstudyError


def a_split(labels: list[int]) -> Split:
    """Images whose every byte is their own row number."""
    rows = np.arange(len(labels), dtype=np.uint8)
    return Split.from_arrays(np.tile(rows[:, None, None, None], (1, 2, 2, 3)), np.array(labels))


def test_parts_are_disjoint_and_complete_and_hold_their_rows() -> None:
    whole = a_split([0, 1, 2] * 20)
    train, val, train_rows, val_rows = split_train_val(whole, 0.25, seed=3)
    assert torch.equal(torch.cat([train_rows, val_rows]).sort().values, torch.arange(60))
    assert torch.equal(train_rows, train_rows.sort().values) and torch.equal(
        val_rows, val_rows.sort().values
    )
    assert torch.equal(train.images[:, 0, 0, 0].long(), train_rows)
    assert torch.equal(val.labels, whole.labels[val_rows])


def test_each_class_keeps_its_share() -> None:
    _, val, _, _ = split_train_val(a_split([0] * 100 + [1] * 50 + [2] * 10), 0.1, seed=0)
    assert val.labels.bincount().tolist() == [10, 5, 1]


@pytest.mark.parametrize(
    ("counts", "fraction", "cut"),
    [
        (
            [10, 15, 4],
            0.1,
            [1, 2, 1],
        ),  # 1.0, 1.5 and 0.4: halves are rounded up, and one image at least is cut
        ([10, 10, 10], 0.25, [3, 3, 3]),  # 2.5
        ([9, 100, 20], 0.16, [1, 16, 3]),  # 1.44 and 3.2 are rounded down
        ([7, 3, 2], 0.5, [4, 2, 1]),  # 3.5, 1.5 and 1.0
        ([5, 4, 2], 0.9, [4, 3, 1]),  # 4.5 and 3.6 would leave none; one image at least stays
    ],
)
def test_the_number_cut_off_is_rounded_class_by_class(
    counts: list[int], fraction: float, cut: list[int]
) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], counts))
    kept, gone = stratified_rows(labels, fraction, seed=0)
    assert np.bincount(labels[gone], minlength=3).tolist() == cut
    assert sorted([*kept, *gone]) == list(range(sum(counts)))


def test_labels_need_not_count_from_0() -> None:
    """Negative and large labels, and more than 256 classes, which do not fit one byte."""
    labels = np.repeat([-3, 7, 1000], [4, 2, 6])
    assert np.unique(labels[stratified_rows(labels, 0.5, seed=0)[1]], return_counts=True)[
        1
    ].tolist() == [2, 1, 3]
    many = np.tile(np.arange(300), 4)
    assert np.bincount(many[stratified_rows(many, 0.5, seed=0)[1]]).tolist() == [2] * 300


def test_a_rare_class_is_on_both_sides() -> None:
    train, val, _, _ = split_train_val(a_split([0] * 50 + [1, 1]), 0.01, seed=0)
    assert (train.labels == 1).sum() == (val.labels == 1).sum() == 1
    train, _, _, _ = split_train_val(a_split([0] * 50 + [1, 1]), 0.99, seed=0)
    assert (train.labels == 1).sum() == 1


def test_the_seed_decides_and_only_the_seed() -> None:
    labels = np.repeat([0, 1], 30)
    one, again, other = (stratified_rows(labels, 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(UnderstudyError, match="class 7 has a single image"):
        split_train_val(a_split([0, 0, 7]), 0.5, seed=0)
    with pytest.raises(UnderstudyError, match="of class 4 alone"):
        split_train_val(a_split([4, 4, 4]), 0.5, seed=0)
    with pytest.raises(UnderstudyError, match="between 0 and 1"):
        split_train_val(a_split([0, 0, 1, 1]), 1.0, seed=0)
    with pytest.raises(UnderstudyError, match="between 0 and 1, not 0"):
        split_train_val(a_split([0, 0, 1, 1]), 0.0, seed=0)
    with pytest.raises(UnderstudyError, match="the images to split are missing"):
        stratified_rows(np.array([], np.int64), 0.5, seed=0)


def test_fewer_images_keep_the_proportions_and_name_their_rows() -> None:
    whole = a_split([0] * 60 + [1] * 30)
    part, rows = take_fewer(whole, 30, seed=1)
    assert part.labels.bincount().tolist() == [20, 10]
    assert torch.equal(part.images[:, 0, 0, 0].long(), rows)
    assert torch.equal(rows, take_fewer(whole, 30, seed=1)[1]) and not torch.equal(
        rows, take_fewer(whole, 30, seed=2)[1]
    )
    everything, rows = take_fewer(whole, 90, seed=1)
    assert everything is whole and torch.equal(rows, torch.arange(90))


def test_more_images_than_there_are_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"data.train_images is 91, but 90 images are left"):
        take_fewer(a_split([0] * 60 + [1] * 30), 91, seed=0)


def test_the_cut_is_that_of_each_class_shuffled_in_its_turn() -> None:
    """The definition, one pass over the labels for each class; a cut must never move, or validation
    becomes training."""
    labels = np.random.default_rng(0).integers(0, 300, 5000) * 7
    random, cut = np.random.default_rng(4), []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        cut.append(
            random.permutation(rows)[: min(max(int(0.2 * len(rows) + 0.5), 1), len(rows) - 1)]
        )
    assert stratified_rows(labels, 0.2, seed=4)[1].tolist() == sorted(np.concatenate(cut).tolist())


def test_a_group_is_never_on_both_sides() -> None:
    random = np.random.default_rng(1)
    groups = random.integers(0, 60, 600)
    labels = (groups + random.integers(0, 2, 600)) % 3
    kept, cut = stratified_rows(labels, 0.2, seed=4, groups=groups)
    assert not set(groups[kept]) & set(groups[cut])
    assert np.array_equal(np.sort(np.concatenate([kept, cut])), np.arange(600))
    share = np.bincount(labels[cut], minlength=3) / np.bincount(labels)
    assert np.abs(share - 0.2).max() < 0.05
    again = stratified_rows(labels, 0.2, seed=4, groups=groups)
    other = stratified_rows(labels, 0.2, seed=5, groups=groups)
    assert np.array_equal(cut, again[1]) and not np.array_equal(cut, other[1])


def test_a_class_of_two_large_groups_has_one_on_either_side() -> None:
    labels = np.repeat([0, 1, 0, 1], [50, 50, 40, 2])
    groups = np.repeat([7, 8, 9, 10], [50, 50, 40, 2])
    kept, cut = stratified_rows(labels, 0.1, seed=0, groups=groups)
    assert set(groups[cut]) == {9, 10} and set(groups[kept]) == {7, 8}


def test_a_class_of_one_group_is_named() -> None:
    labels, groups = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 2, 2])
    with pytest.raises(UnderstudyError, match="class bee has images of a single group"):
        stratified_rows(labels, 0.5, seed=0, groups=groups, class_names=("ant", "bee"))


def test_all_classes_too_small_to_be_split_are_named() -> None:
    labels = np.array([0, 0, 0, 1, 2])
    with pytest.raises(UnderstudyError, match="classes bee, cat have a single image"):
        stratified_rows(labels, 0.5, seed=0, class_names=("ant", "bee", "cat"))
