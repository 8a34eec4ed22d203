import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import SeenEvents

from understudy.data import decoding, prefetch
from understudy.data.decoding import Decoding, decode_all, fit_arrays, in_memory, refuse_bad
from understudy.data.inspection import BadImage, ImageFacts
from understudy.data.preprocess import Resize, fit
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


def items_with_bad(*bad: int, count: int = 200) -> Iterator[tuple[str, bytes]]:
    """White images of 4 x 4; those at some rows are no images."""
    good = encoded(Image.new("RGB", (4, 4), "white"))
    return ((f"image {row}", b"broken" if row in bad else good) for row in range(count))


def test_all_bad_images_are_listed_and_the_others_decoded() -> None:
    out = np.full((200, 4, 4, 3), 7, np.uint8)
    bad = decode_all(items_with_bad(150, 3, 90), out, Decoding(), "")
    assert [(image.row, image.name) for image in bad] == [
        (3, "image 3"),
        (90, "image 90"),
        (150, "image 150"),
    ]
    assert all(image.reason.startswith("it is damaged or of another format") for image in bad)
    assert (out[[3, 90, 150]] == 7).all(), "left as they are"
    assert (np.delete(out, [3, 90, 150], axis=0) == 255).all()


def test_a_file_that_is_gone_is_bad(tmp_path: Path) -> None:
    out = np.zeros((1, 4, 4, 3), np.uint8)
    (bad,) = decode_all([("gone", tmp_path / "gone.png")], out, Decoding(), "")
    assert bad.row == 0 and bad.reason.startswith("No such file")


def test_a_refusal_names_five_and_counts_the_rest() -> None:
    refuse_bad([])
    bad = [BadImage(row, f"{row}.png", "it is empty") for row in range(7)]
    with pytest.raises(UnderstudyError) as raised:
        refuse_bad(bad)
    assert str(raised.value) == (
        "cannot decode 7 images (0.png: it is empty; 1.png: it is empty; 2.png: it is empty; "
        "3.png: it is empty; 4.png: it is empty; and 2 more): all are listed by "
        "`understudy inspect data PATH`; --skip-bad goes on without them"
    )
    with pytest.raises(UnderstudyError, match=r"cannot decode 1 image \(3.png: it is empty\): all"):
        refuse_bad(bad[3:4])


def test_facts_come_in_order_from_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_WORTH_THREADS", 1)
    monkeypatch.setattr(decoding, "available_cores", lambda: [0, 1, 2])
    seen: list[tuple[int, ImageFacts, int]] = []

    def remember(row: int, facts: ImageFacts) -> None:
        seen.append((row, facts, threading.get_ident()))

    out = np.zeros((200, 4, 4, 3), np.uint8)
    decode_all(items_with_bad(5, 64), out, Decoding(), "", remember)
    assert [row for row, _, _ in seen] == [row for row in range(200) if row not in (5, 64)]
    assert {thread for _, _, thread in seen} == {threading.get_ident()}
    assert all((facts.width, facts.format) == (4, "PNG") for _, facts, _ in seen)


def test_a_mistake_stops_all_that_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread has three tasks: the first fails, and the last has not begun by then."""
    ending = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            ending.set()
            super().shutdown(wait=wait)

    def read(data: bytes, where: str, *rule: object) -> np.ndarray:
        if where == "0":
            raise RuntimeError("a mistake of ours")
        ending.wait(10)
        return np.full((1, 1, 3), 7, np.uint8)

    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(decoding, "decode", read)
    out = np.zeros((192, 1, 1, 3), np.uint8)
    with pytest.raises(RuntimeError, match="mistake"):
        decode_all(((str(row), b"") for row in range(192)), out, Decoding(), "")
    assert not out[128:].any()


def test_few_bytes_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task ends with the image that makes it larger than its share."""
    monkeypatch.setattr(decoding, "_CHUNK_BYTES", 250)
    image = encoded(Image.new("RGB", (4, 4)))
    assert 50 < len(image) < 100
    seen = SeenEvents()
    count = -(-250 // len(image))
    out = np.zeros((2 * count + 1, 4, 4, 3), np.uint8)
    decode_all((("x", image) for _ in out), out, Decoding(observer=seen), "x")
    assert [step.done for step in seen.steps] == [count, 2 * count, 2 * count + 1]


def test_the_first_readable_image_gives_the_size() -> None:
    image = encoded(Image.new("RGB", (6, 5)))
    items = [("a", b"broken"), ("b", image)]
    assert Decoding().size_for(items) == (5, 6)
    assert Decoding((3, 2)).size_for(items) == (3, 2)
    with pytest.raises(UnderstudyError, match="no image can be read: cannot decode a: it is dam"):
        Decoding().size_for(items[:1])
    with pytest.raises(UnderstudyError, match="no image can be read: cannot decode b: it has 30"):
        Decoding(max_pixels=29).size_for(items[1:])


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
    monkeypatch.setattr(decoding, "_WORTH_THREADS", 1)
    monkeypatch.setattr(decoding, "available_cores", lambda: list(range(threads)))
    seen = SeenEvents()
    items = ((f"{row}", encoded(Image.new("RGB", (2, 2), (row, 0, 0)))) for row in range(150))
    out = np.zeros((150, 2, 2, 3), np.uint8)
    decode_all(items, out, Decoding(observer=seen), "decoding")
    assert seen.counts() == [("decoding", 64, 150), ("decoding", 128, 150), ("decoding", 150, 150)]
    assert out[:, 1, 1, 0].tolist() == list(range(150))


def test_memory_for_no_images_is_refused() -> None:
    assert in_memory("train", (2, 3, 4, 3)).shape == (2, 3, 4, 3)
    with pytest.raises(UnderstudyError, match="the train split is empty"):
        in_memory("train", (0, 3, 4, 3))
