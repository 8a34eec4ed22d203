import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import SeenEvents

from understudy.data.preprocess import Resize, fit
from understudy.data.sources import base as source
from understudy.data.sources.base import Decoding, decode_all, existing, fit_arrays, in_memory
from understudy.errors import UnderstudyError


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


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

    def read(data: bytes, where: str, size: None, resize: str) -> np.ndarray:
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


def test_decoding_resizes_by_its_rule() -> None:
    white = ("white", encoded(Image.new("RGB", (8, 4), "white")))
    out = np.empty((1, 4, 4, 3), np.uint8)
    decode_all([white], out, Decoding((4, 4), resize="pad"), "")
    assert (out[0, 1:3] == 255).all() and (out[0, [0, 3]] == 0).all()


def stripes(width: int, height: int) -> Image.Image:
    """Every pixel encodes its place: red its column, green its line."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([10 * x, 10 * y, np.zeros_like(x)], axis=2))


@pytest.mark.parametrize("rule", ["crop", "pad", "squash"])
def test_arrays_are_copied_or_fitted_one_by_one(rule: Resize) -> None:
    images = np.stack([np.asarray(stripes(6, 4)), np.asarray(stripes(6, 4))[::-1]])
    same, smaller = np.zeros_like(images), np.zeros((2, 3, 3, 3), np.uint8)
    fit_arrays(images, same, rule)
    fit_arrays(images, smaller, rule)
    assert np.array_equal(same, images)
    for image, found in zip(images, smaller, strict=True):
        assert np.array_equal(found, np.asarray(fit(Image.fromarray(image), (3, 3), rule)))


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


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert existing(Path("here")) == tmp_path.resolve() / "here"


def test_memory_for_no_images_is_refused() -> None:
    assert in_memory("train", (2, 3, 4, 3)).shape == (2, 3, 4, 3)
    with pytest.raises(UnderstudyError, match="the train split is empty"):
        in_memory("train", (0, 3, 4, 3))
