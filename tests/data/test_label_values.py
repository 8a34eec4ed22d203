"""Labels of every usual kind become numbers of one list of classes, or are refused in one line."""

from typing import Any

import numpy as np
import pytest
import torch

from understudy.data.label_values import matched, read_labels
from understudy.errors import UnderstudyError


def numbers(held: Any, names: list[str] | None = None) -> list[int]:
    return read_labels({"train": held}, names, "arrays").of["train"].tolist()


@pytest.mark.parametrize(
    "held",
    [
        [0, 2, 1, 2],
        np.array([0, 2, 1, 2], np.uint8),
        np.array([[0], [2], [1], [2]]),
        torch.tensor([0, 2, 1, 2], dtype=torch.int16),
        [np.int64(0), torch.tensor(2), 1, 2],
        np.eye(3)[[0, 2, 1, 2]],
        np.eye(3, dtype=bool)[[0, 2, 1, 2]],
        [torch.eye(3)[row] for row in (0, 2, 1, 2)],
    ],
)
def test_whole_numbers_and_one_hot_rows_are_the_same_labels(held: Any) -> None:
    assert numbers(held) == [0, 2, 1, 2]


@pytest.mark.parametrize(
    "held", [["b", "a", "b"], np.array(["b", "a", "b"]), np.array([b"b", b"a", b"b"])]
)
def test_names_are_numbered_in_alphabetical_order(held: Any) -> None:
    labels = read_labels({"train": held}, None, "arrays")
    assert labels.class_names == ("a", "b") and labels.are_named
    assert labels.of["train"].tolist() == [1, 0, 1]


def test_names_of_all_splits_are_one_list() -> None:
    held = {"train": ["cat", "dog", "cat"], "val": ["dog"]}
    assert read_labels(held, None, "arrays").of["val"].tolist() == [1]
    assert numbers(["cat", "dog"], ["dog", "cat"]) == [1, 0], "given names decide the order"
    with pytest.raises(UnderstudyError, match=r"val in arrays that train does not have: cow"):
        read_labels(held | {"val": ["cow"]}, None, "arrays")


def test_classes_without_an_image_are_allowed_where_names_are_known() -> None:
    assert numbers([0, 2], ["a", "b", "c"]) == [0, 2]
    with pytest.raises(UnderstudyError, match="no training image has the label 1"):
        numbers([0, 2])


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([0.0, 1.0], "are floats"),
        (np.array([0.5, np.nan]), "are floats"),
        ([0, -1, 1], "label -1 in train is negative"),
        ([0, None, 1], r"missing \(None\) in 1 rows: 1"),
        (np.full((4, 3), 1 / 3), "not one-hot"),
        (np.ones((4, 3), int), "not one-hot"),
        ([[1, 0], [0, 1, 0]], "several lengths"),
        (np.zeros((2, 2, 2), int), "have shape"),
        (np.array([1j, 2j]), "are of complex128"),
        ([{"a": 1}, {"b": 2}], "are of object"),
    ],
)
def test_other_labels_are_refused_in_one_line(held: Any, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        numbers(held)
    assert "\n" not in str(caught.value)


def test_one_hot_rows_of_another_width_are_refused() -> None:
    with pytest.raises(UnderstudyError, match="one-hot rows of 4, but there are 3 classes"):
        numbers(np.eye(4), ["a", "b", "c"])
    with pytest.raises(
        UnderstudyError, match="labels of val are one-hot rows of 3, but there are 2"
    ):
        read_labels({"train": np.eye(2), "val": np.eye(3)}, None, "arrays")
    with pytest.raises(UnderstudyError, match="names as labels in one split"):
        read_labels({"train": ["a", "b"], "val": [0, 1]}, None, "arrays")


def test_classes_are_matched_by_name() -> None:
    labels = np.array([0, 1, 1])
    assert matched(labels, ("b", "a"), ("a", "b", "c"), "arrays").tolist() == [1, 0, 0]
    assert matched(labels, ("0", "1"), ("a", "b", "c"), "arrays").tolist() == [0, 1, 1]
    with pytest.raises(UnderstudyError, match="does not know: cow; it knows a, b"):
        matched(labels, ("a", "cow"), ("a", "b"), "arrays")
    assert matched(labels * 0, ("a", "cow"), ("a", "b"), "arrays").tolist() == [0, 0, 0], (
        "a class without a label does not matter"
    )
    with pytest.raises(UnderstudyError, match="has the label 1, but the network knows 1 class"):
        matched(labels, ("0", "1"), ("a",), "arrays")
