"""The shape of images: of a split, of data that is trained on, and what it is compared with."""

import pytest
import torch
from tests.worlds import tiny_data, tiny_split

from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.spec import ImageSpec, size_of
from understudy.errors import UnderstudyError


def test_a_split_and_its_data_have_the_shape_of_their_images() -> None:
    spec = ImageSpec(3, 5, 7)
    data = tiny_data(size=(5, 7))
    dataset = Dataset("tiny", data.train, SealedSplit(data.val), data.class_names, "f")
    assert tiny_split(size=(5, 7)).image == data.image == dataset.image == spec
    assert data.image_shape == dataset.image_shape == spec.shape == (3, 5, 7)
    assert dataset.num_classes == data.num_classes == 3


def test_a_referred_split_has_the_shape_of_its_block() -> None:
    block = torch.zeros(4, 1, 6, 2, dtype=torch.uint8)
    assert Split(block, torch.zeros(2), torch.tensor([1, 3])).image == ImageSpec(1, 6, 2)


def test_height_comes_before_width() -> None:
    spec = ImageSpec.of((1, 24, 40))
    assert (spec.height, spec.width, spec.size, str(spec)) == (24, 40, (24, 40), "1x24x40")
    assert not spec.is_square and ImageSpec(3, 8, 8).is_square


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8), (3, 8, -1)])
def test_an_image_without_pixels_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least one channel and one pixel"):
        ImageSpec.of(shape)


def test_a_size_is_one_number_for_squares_or_height_and_width() -> None:
    assert (size_of(None), size_of(16), size_of((24, 40))) == (None, (16, 16), (24, 40))
    for size in (0, (0, 8), (8, -1)):
        with pytest.raises(UnderstudyError, match=r"data\.image_size must be at least 1"):
            size_of(size)
