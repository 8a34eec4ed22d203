import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from understudy.data.sources.base import decode, decode_all, fit, identity, no_progress
from understudy.errors import UnderstudyError


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "CMYK"])
def test_every_eight_bit_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (4, 3), (255, 255, 255)).convert(mode)
    pixels = decode(encoded(image, "TIFF"), "x", None)
    assert pixels.shape == (3, 4, 3) and pixels.dtype == np.uint8 and (pixels == 255).all()


def test_a_transparent_palette_is_read_without_a_warning() -> None:
    file = io.BytesIO()
    Image.new("P", (2, 2)).save(file, "PNG", transparency=b"\x00\xff")
    assert decode(file.getvalue(), "x", None).shape == (2, 2, 3)


def test_what_is_no_eight_bit_bitmap_is_refused_by_name() -> None:
    with pytest.raises(UnderstudyError, match=r"cannot decode deep.png: its pixels are of mode I"):
        decode(encoded(Image.new("I;16", (2, 2))), "deep.png", None)
    with pytest.raises(UnderstudyError, match=r"cannot decode page.eps"):
        decode(
            encoded(Image.new("RGB", (2, 2)), "EPS"), "page.eps", None
        )  # PostScript is a program
    whole = encoded(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)), "JPEG"
    )
    with pytest.raises(UnderstudyError, match=r"cannot decode half.jpg: image file is truncated"):
        decode(whole[: len(whole) // 2], "half.jpg", None)


def test_fit_keeps_the_centre() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 200  # the centre square
    assert (np.asarray(fit(Image.fromarray(pixels), 8)) == 200).all()
    tall = fit(Image.fromarray(pixels.transpose(1, 0, 2)), 4)
    assert tall.size == (4, 4)


@pytest.mark.parametrize(
    "side", [4, 96]
)  # small images go through one thread, large ones (of noise) through all
def test_images_are_decoded_in_order(side: int) -> None:
    random = np.random.default_rng(0)
    images = random.integers(
        0, 256, (200, side, side, 3) if side == 4 else (70, side, side, 3), np.uint8
    )
    out = np.zeros_like(images)
    seen: list[int] = []
    items = ((f"image {row}", encoded(Image.fromarray(image))) for row, image in enumerate(images))
    decode_all(items, out, None, lambda what, done, total: seen.append(done), "decoding")
    assert np.array_equal(out, images)
    assert seen == sorted(seen) and seen[-1] == len(images)


def test_the_first_bad_image_in_order_is_named() -> None:
    good = encoded(Image.new("RGB", (4, 4)))
    items = [(f"image {row}", b"broken" if row in (90, 150) else good) for row in range(200)]
    with pytest.raises(UnderstudyError, match="image 90:"):
        decode_all(items, np.empty((200, 4, 4, 3), np.uint8), None, no_progress, "")


def test_images_of_unequal_size_ask_for_image_size() -> None:
    items = [("a", encoded(Image.new("RGB", (4, 4)))), ("b", encoded(Image.new("RGB", (6, 5))))]
    with pytest.raises(
        UnderstudyError, match=r"b is 6x5 pixels but the first image is 4x4: set data.image_size"
    ):
        decode_all(items, np.empty((2, 4, 4, 3), np.uint8), None, no_progress, "")
    out = np.empty((2, 3, 3, 3), np.uint8)
    decode_all(items, out, 3, no_progress, "")
    assert (out == 0).all()


def test_identity_follows_content_or_else_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    by_content, by_time = identity(tmp_path, [file]), identity(tmp_path, [file], by_content=False)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "a").write_bytes(b"one")
    assert identity(moved, [moved / "a"]) == by_content
    assert identity(moved, [moved / "a"], by_content=False) != by_time
    file.write_bytes(b"two")
    assert identity(tmp_path, [file]) != by_content
    assert identity(tmp_path, [file], by_content=False) != by_time
