"""The contact sheet: the images of a run and views of them, readable for few and many classes."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.picture_folders import listing_of_folder, picture, write_pictures

from understudy.config.images import AugmentConfig
from understudy.data.contact_sheet import contact_sheet, some_images
from understudy.data.dataset import Split
from understudy.errors import UnderstudyError

PLAIN = AugmentConfig(padding=0, flip=False)


def split_of(num_classes: int, size: tuple[int, int] = (32, 32), each: int = 5) -> Split:
    """Pictures of (width, height)."""
    images = [np.asarray(picture(seed, size)) for seed in range(num_classes * each)]
    return Split.from_arrays(np.stack(images), np.arange(len(images)) % num_classes)


def sheet_of(split: Split, names: list[str], augment: AugmentConfig = PLAIN) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(contact_sheet(split, names, augment))))


def test_first_column_is_the_image_itself_in_whole_pixels() -> None:
    split = split_of(2)
    sheet = sheet_of(split, ["ants", "bees"])
    first = split.gather(split.labels.nonzero()[:0].flatten().new_tensor([0]))[0].numpy()
    large = first.repeat(3, 0).repeat(3, 1)  # 32 pixels drawn as 96
    height = sheet.shape[0] - 96
    places = [
        (top, left)
        for top in range(height)
        for left in range(20, 80)
        if np.array_equal(sheet[top, left], large[0, 0])
        and np.array_equal(sheet[top : top + 96, left : left + 96], large)
    ]
    assert len(places) == 1


def test_views_are_those_of_the_augmentation() -> None:
    split = split_of(2)
    names = ["ants", "bees"]
    assert not np.array_equal(sheet_of(split, names), sheet_of(split, names, AugmentConfig()))
    mirrored = sheet_of(split, names, AugmentConfig(padding=0, flip=True))
    assert mirrored.shape == sheet_of(split, names).shape


def test_grey_images_are_drawn_grey() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 1), dtype=np.uint8)
    grey = Split.from_arrays(pixels, np.arange(6) % 2)
    colour = Split.from_arrays(pixels.repeat(3, 3), np.arange(6) % 2)
    names = ["ants", "bees"]
    np.testing.assert_array_equal(sheet_of(grey, names), sheet_of(colour, names))


def test_same_images_give_the_same_bytes() -> None:
    split, augment = split_of(3), AugmentConfig(mix="cutmix", photometric=2)
    names = ["a", "b", "c"]
    assert contact_sheet(split, names, augment) == contact_sheet(split, names, augment)
    assert contact_sheet(split, names, augment) != contact_sheet(split, names, augment, seed=1)


@pytest.mark.parametrize("num_classes", [2, 10, 100, 130])
@pytest.mark.parametrize("size", [(32, 32), (224, 96)])
def test_sheet_fits_a_page(num_classes: int, size: tuple[int, int]) -> None:
    split = split_of(num_classes, size, each=2)
    height, width, _ = sheet_of(split, [f"class {k}" for k in range(num_classes)]).shape
    assert 150 <= height <= 1600
    assert 300 <= width <= 2200


def test_long_names_and_classes_with_a_single_image_are_drawn() -> None:
    images = np.stack([np.asarray(picture(seed)) for seed in range(4)])
    split = Split.from_arrays(images, np.array([0, 1, 1, 1]))
    assert sheet_of(split, ["a very long name of a class \x1b" * 3, "名"]).shape[1] < 900


def test_sample_of_a_folder_is_a_few_readable_images_of_each_class(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train/ants": 9, "train/bees": 2, "test/ants": 3})
    listing = listing_of_folder(tmp_path)
    is_read = np.ones(len(listing.samples), bool)
    is_read[0] = False
    split = some_images(listing, is_read, (24, 20))
    assert split.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert split.image.size == (24, 20)
    with pytest.raises(UnderstudyError, match="no training image can be read"):
        some_images(listing, ~np.ones_like(is_read), (24, 20))
