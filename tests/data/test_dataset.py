"""Splits share the memory of their arrays, and what cannot be trained on is refused by name."""

import numpy as np
import pytest
import torch

from understudy.data.dataset import SealedSplit, Split, check_split
from understudy.errors import UnderstudyError


def a_split(labels: tuple[int, ...] = (0, 1, 2)) -> Split:
    images = np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3)
    return Split.from_arrays(images, np.array(labels, np.uint8))


def test_arrays_become_channels_first_over_the_same_bytes() -> None:
    images = np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3)
    split = Split.from_arrays(images, np.array([0, 1, 2], np.uint8))
    assert (
        split.images.shape == (3, 3, 2, 4) and split.labels.dtype == torch.int64 and len(split) == 3
    )
    assert (
        split.images[2, 1, 1, 3] == images[2, 1, 3, 1]
        and split.images.data_ptr() == images.ctypes.data
    )
    assert split.gather(torch.tensor([2, 0])).tolist() == images[[2, 0]].tolist()
    assert split.num_bytes == 72


def test_a_part_holds_its_rows_in_their_order() -> None:
    part = a_split().take(torch.tensor([2, 0]))
    assert part.labels.tolist() == [2, 0] and torch.equal(part.images, a_split().images[[2, 0]])
    assert part.images.is_contiguous(memory_format=torch.channels_last)


def test_a_sealed_split_shows_its_length_only_until_it_is_opened() -> None:
    split = a_split()
    sealed = SealedSplit(split)
    assert (
        len(sealed) == 3
        and sealed.open_for_final_evaluation() is split
        and not hasattr(sealed, "images")
    )


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(0, 3, 2, 2, dtype=torch.uint8), [], "the val split is empty"),
        (
            torch.zeros(2, 3, 2, 2),
            [0, 1],
            r"the val images must be uint8 \[N, C, H, W\], not torch.float32 \(2, 3, 2, 2\)",
        ),
        (
            torch.zeros(2, 3, 2, dtype=torch.uint8),
            [0, 1],
            r"the val images must be uint8 .* \(2, 3, 2\)",
        ),
        (
            torch.zeros(2, 3, 2, 2, dtype=torch.uint8),
            [0, 1, 1],
            "the val split has 2 images but 3 labels",
        ),
        (
            torch.zeros(2, 3, 2, 2, dtype=torch.uint8),
            [0, 4],
            "label 4 in the val split is out of range: there are 4 classes, 0 to 3",
        ),
        (
            torch.zeros(2, 3, 2, 2, dtype=torch.uint8),
            [-1, 9],
            "label -1 in the val split is out of range",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    images: torch.Tensor, labels: list[int], message: str
) -> None:
    with pytest.raises(UnderstudyError, match=f"^{message}"):
        check_split("val", Split(images, torch.tensor(labels, dtype=torch.int64)), 4)


def test_labels_from_0_to_the_last_class_pass() -> None:
    check_split("val", a_split(), 3)
