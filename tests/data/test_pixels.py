"""Images in memory become bytes of one shape, or are refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data.pixels import PixelRule
from understudy.errors import UnderstudyError

RULE = PixelRule()


def some_images(channels: int = 3) -> np.ndarray:
    """uint8 ``[4, 6, 5, C]``."""
    return np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), dtype=np.uint8)


def test_every_order_and_type_gives_the_same_bytes() -> None:
    images = some_images()
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    for given in (
        images,
        first,
        torch.from_numpy(first),
        torch.from_numpy(images),
        images.astype(np.int64),
        images / 255,
        (images / 255).astype(np.float32),
        torch.from_numpy(first).float() / 255,
    ):
        assert np.array_equal(RULE.block(given, "X"), images)
        assert np.array_equal(RULE.one(given[0], "X"), images[0])


def test_bytes_that_fit_are_not_copied() -> None:
    images = some_images()
    assert RULE.block(images, "X") is images


def test_axes_that_could_both_be_channels_are_read_as_is_usual() -> None:
    images = np.zeros((2, 3, 8, 3), np.uint8)
    assert RULE.block(images, "X").shape == (2, 3, 8, 3), "of an array the last"
    assert RULE.block(torch.from_numpy(images), "X").shape == (2, 8, 3, 3), "of a tensor the first"


def test_grey_becomes_rgb_and_transparency_white() -> None:
    grey = some_images(1)
    for given in (grey, grey[..., 0], grey.transpose(0, 3, 1, 2)):
        assert np.array_equal(RULE.block(given, "X"), np.repeat(grey, 3, axis=3))
    clear = np.zeros((1, 2, 2, 4), np.uint8)
    assert (RULE.block(clear, "X") == 255).all()


def test_one_channel_takes_grey_images_alone() -> None:
    rule, grey = PixelRule(channels=1), some_images(1)
    assert np.array_equal(rule.block(np.repeat(grey, 3, axis=3), "X"), grey)
    assert np.array_equal(rule.one(Image.fromarray(grey[0, ..., 0]), "X"), grey[0])
    with pytest.raises(UnderstudyError, match="X is in colour, and the network takes 1 channel"):
        rule.block(some_images(), "X")


def test_files_and_pictures_follow_the_rule_for_files(tmp_path: Path) -> None:
    picture = Image.fromarray(some_images()[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=turned)
    upright = np.rot90(some_images()[0], -1)
    encoded = (tmp_path / "a.png").read_bytes()
    for given in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        encoded,
        {"bytes": encoded, "path": None},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        Image.open(tmp_path / "a.png"),
        Image.open(tmp_path / "a.png").convert("RGB"),
    ):
        assert np.array_equal(RULE.one(given, "image 0"), upright)


def test_pictures_of_the_user_do_not_change(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), "red").save(tmp_path / "large.jpg")
    picture = Image.open(tmp_path / "large.jpg")
    assert PixelRule(size=(16, 16)).one(picture, "image 0").shape == (16, 16, 3)
    assert picture.size == (640, 480)


def test_size_is_that_which_is_wanted() -> None:
    rule = PixelRule(size=(8, 4), resize="squash")
    assert rule.block(some_images(), "X").shape == (4, 8, 4, 3)
    assert rule.one(some_images()[0], "X").shape == (8, 4, 3)
    assert PixelRule(channels=1, size=(8, 4)).block(some_images(1), "X").shape == (4, 8, 4, 1)


def test_normalisation_is_undone() -> None:
    images, mean, std = some_images(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    normalised = ((images / 255 - np.array(mean)) / np.array(std)).astype(np.float32)
    rule = PixelRule(normalised=(mean, std))
    assert np.array_equal(rule.block(normalised, "X"), images)
    with pytest.raises(UnderstudyError, match="it is another normalisation"):
        PixelRule(normalised=((0.0,), (1.0,))).block(normalised, "X")
    with pytest.raises(UnderstudyError, match="2 means and 2 deviations, but X has 3 channels"):
        PixelRule(normalised=((0.0, 0.0), (1.0, 1.0))).block(normalised, "X")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((2, 4, 4, 3), np.nan), "not finite"),
        (np.full((2, 4, 4, 3), -0.5), r"normalised\. Give the data without its Normalize"),
        (np.full((2, 4, 4, 3), 200.0), r"floats up to 200: they must lie in \[0, 1\]"),
        (np.full((2, 4, 4, 3), 999), "values from 999 to 999"),
        (np.full((2, 4, 4, 3), -1), "values from -1 to -1"),
        (np.zeros((2, 5, 5, 7), np.uint8), r"shape \[2, 5, 5, 7\]"),
        (np.zeros((2, 64), np.uint8), r"give X\.reshape\(-1, 8, 8\)"),
        (np.zeros((2, 4, 4, 3), complex), "is of complex128"),
    ],
)
def test_other_arrays_are_refused_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        RULE.block(given, "X")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"image 3 is missing \(None\)"),
        (object(), "image 3 is of type object"),
        ("absent.png", r"image 3 \(absent\.png\)"),
        (b"no image", "image 3"),
        (np.zeros(5), "has shape"),
    ],
)
def test_other_images_are_refused_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        RULE.one(given, "image 3")
    assert "\n" not in str(caught.value)
