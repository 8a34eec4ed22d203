import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import SeenEvents

from understudy.data.sources import base as source
from understudy.data.sources.base import (
    Decoding,
    decode,
    decode_all,
    existing,
    fit,
    fit_arrays,
    identity,
    in_memory,
)
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
    assert (np.asarray(fit(Image.fromarray(pixels), (8, 8))) == 200).all()
    tall = fit(Image.fromarray(pixels.transpose(1, 0, 2)), (4, 4))
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
    seen = SeenEvents()
    items = ((f"image {row}", encoded(Image.fromarray(image))) for row, image in enumerate(images))
    decode_all(items, out, Decoding(observer=seen), "decoding")
    assert np.array_equal(out, images)
    done = [step.done for step in seen.steps]
    assert done == sorted(done) and done[-1] == len(images)


def test_the_first_bad_image_in_order_is_named() -> None:
    good = encoded(Image.new("RGB", (4, 4)))
    items = [(f"image {row}", b"broken" if row in (90, 150) else good) for row in range(200)]
    with pytest.raises(UnderstudyError, match="image 90:"):
        decode_all(items, np.empty((200, 4, 4, 3), np.uint8), Decoding(), "")


def test_nothing_is_decoded_any_more_after_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread has three tasks: the first fails, and the last has not begun by then."""
    ending = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            ending.set()
            super().shutdown(wait=wait)

    def read(data: bytes, where: str, size: None) -> np.ndarray:
        if where == "0":
            raise UnderstudyError("bad")
        ending.wait(10)
        return np.full((1, 1, 3), 7, np.uint8)

    monkeypatch.setattr(source, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(source, "decode", read)
    out = np.zeros((192, 1, 1, 3), np.uint8)
    with pytest.raises(UnderstudyError, match="bad"):
        decode_all(((str(row), b"") for row in range(192)), out, Decoding(), "")
    assert not out[128:].any()


def test_no_images_are_decoded_into_no_rows() -> None:
    decode_all([], np.empty((0, 4, 4, 3), np.uint8), Decoding(), "")


def test_images_of_unequal_size_ask_for_image_size() -> None:
    items = [("a", encoded(Image.new("RGB", (4, 4)))), ("b", encoded(Image.new("RGB", (6, 5))))]
    with pytest.raises(
        UnderstudyError, match=r"b is 6x5 pixels but the first image is 4x4: set data.image_size"
    ):
        decode_all(items, np.empty((2, 4, 4, 3), np.uint8), Decoding(), "")
    out = np.empty((2, 3, 3, 3), np.uint8)
    decode_all(items, out, Decoding((3, 3)), "")
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


def stripes(width: int, height: int) -> Image.Image:
    """Every pixel encodes its place: red its column, green its line."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([10 * x, 10 * y, np.zeros_like(x)], axis=2))


@pytest.mark.parametrize(
    ("width", "height", "resized", "corner"),
    [
        (10, 4, (10, 4), (3, 0)),
        (4, 11, (4, 11), (0, 3)),
        (14, 10, (6, 4), (1, 0)),  # 5.6 is rounded up
        (11, 8, (6, 4), (1, 0)),  # 5.5 to the even 6
        (10, 13, (4, 5), (0, 0)),
        (2, 3, (4, 6), (0, 1)),  # enlarged
    ],
)
def test_the_shorter_side_is_resized_and_the_centre_cut_out(
    width: int, height: int, resized: tuple[int, int], corner: tuple[int, int]
) -> None:
    image, (left, top) = stripes(width, height), corner
    expected = np.asarray(image.resize(resized, Image.Resampling.BILINEAR))[
        top : top + 4, left : left + 4
    ]
    assert np.array_equal(np.asarray(fit(image, (4, 4))), expected)


def test_an_image_of_the_size_is_not_touched() -> None:
    image = stripes(4, 4)
    assert fit(image, (4, 4)) is image


def test_arrays_are_copied_or_fitted_one_by_one() -> None:
    images = np.stack([np.asarray(stripes(6, 4)), np.asarray(stripes(6, 4))[::-1]])
    same, smaller = np.zeros_like(images), np.zeros((2, 3, 3, 3), np.uint8)
    fit_arrays(images, same)
    fit_arrays(images, smaller)
    assert np.array_equal(same, images)
    for image, found in zip(images, smaller, strict=True):
        assert np.array_equal(found, np.asarray(fit(Image.fromarray(image), (3, 3))))


def test_grey_is_repeated_alpha_is_dropped_and_colours_stay() -> None:
    grey, colour = Image.new("L", (1, 1), 77), Image.new("RGBA", (1, 1), (10, 20, 30, 128))
    palette = Image.new("RGB", (1, 1), (10, 20, 30)).quantize(2)
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=0)
    assert decode(encoded(grey), "x", None).tolist() == [[[77, 77, 77]]]
    assert decode(encoded(colour), "x", None).tolist() == [[[10, 20, 30]]]
    assert decode(file.getvalue(), "x", None).tolist() == [[[10, 20, 30]]]


def test_a_file_is_decoded_like_its_bytes_and_fitted(tmp_path: Path) -> None:
    stripes(9, 5).save(tmp_path / "a.png")
    pixels = decode(tmp_path / "a.png", "a", None)
    assert np.array_equal(
        pixels, decode((tmp_path / "a.png").read_bytes(), "a", None)
    ) and pixels.shape == (5, 9, 3)
    assert np.array_equal(
        decode(tmp_path / "a.png", "a", (3, 3)), np.asarray(fit(stripes(9, 5), (3, 3)))
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_counts_images_up_to_all_of_them(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tasks of 64 images, each reported when it is done."""
    monkeypatch.setattr(source, "_WORTH_THREADS", 1)
    monkeypatch.setattr(source, "available_cores", lambda: list(range(threads)))
    seen = SeenEvents()
    items = ((f"{row}", encoded(Image.new("RGB", (2, 2), (row, 0, 0)))) for row in range(150))
    out = np.zeros((150, 2, 2, 3), np.uint8)
    decode_all(items, out, Decoding(observer=seen), "decoding")
    assert seen.counts() == [("decoding", 64, 150), ("decoding", 128, 150), ("decoding", 150, 150)]
    assert out[:, 1, 1, 0].tolist() == list(range(150))


def test_small_sets_are_recognised_by_content_and_large_ones_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"xyz")
    two.write_bytes(b"12")

    def touched() -> bool:
        before = identity(tmp_path, [one, two])
        stat = two.stat()
        os.utime(two, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        return identity(tmp_path, [one, two]) != before

    monkeypatch.setattr(source, "_SMALL", 5)
    assert not touched(), "five bytes in all"
    monkeypatch.setattr(source, "_SMALL", 4)
    assert touched()


@pytest.mark.parametrize("by_content", [True, False])
def test_identity_follows_names_and_sizes(tmp_path: Path, by_content: bool) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    for file, content in ((one, b"xyz"), (two, b"xyz")):
        file.write_bytes(content)
        os.utime(file, ns=(5, 5))
    prints = {identity(tmp_path, files, by_content) for files in ([one], [two], [one, two])}
    two.write_bytes(b"xyzz")
    os.utime(two, ns=(5, 5))
    assert len(prints | {identity(tmp_path, [one, two], by_content)}) == 4


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert existing(Path("here")) == tmp_path.resolve() / "here"


def test_memory_for_no_images_is_refused() -> None:
    assert in_memory("train", (2, 3, 4, 3)).shape == (2, 3, 4, 3)
    with pytest.raises(UnderstudyError, match="the train split is empty"):
        in_memory("train", (0, 3, 4, 3))


@pytest.mark.parametrize(
    ("own", "resized", "corner"),
    [
        ((30, 20), (20, 13), (0, 1)),
        ((40, 10), (40, 10), (10, 0)),
        ((6, 5), (20, 17), (0, 3)),  # enlarged until 20 wide
    ],
)
def test_a_size_of_other_proportions_is_covered_and_cut_out(
    own: tuple[int, int], resized: tuple[int, int], corner: tuple[int, int]
) -> None:
    image, (left, top) = stripes(*own), corner
    whole = np.asarray(image.resize(resized, Image.Resampling.BILINEAR))
    expected = whole[top : top + 10, left : left + 20]
    assert np.array_equal(np.asarray(fit(image, (10, 20))), expected)
