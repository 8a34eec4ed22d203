from pathlib import Path

import numpy as np
import pytest
from tests.worlds import SeenEvents, read

from understudy.data.sources.base import Arrays, SourceOptions
from understudy.data.sources.npz import Reader
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer


def load(path: Path, image_size: int | None = None, observer: Observer = SILENT) -> Arrays:
    return read(Reader(path), image_size, observer)


find = Reader.find

LABELS = np.arange(20) % 2
GREY = np.tile(
    np.arange(20, dtype=np.uint8)[:, None, None], (1, 6, 5)
)  # every pixel is the image's row number


def saved(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "toy.npz", **arrays)  # type: ignore[arg-type]
    return folder / "toy.npz"


@pytest.mark.parametrize(
    "images",
    [
        GREY,
        GREY[..., None],
        GREY[:, None],
        np.repeat(GREY[..., None], 3, 3),
        np.repeat(GREY[:, None], 3, 1),
    ],
    ids=["NHW", "NHW1", "N1HW", "NHW3", "N3HW"],
)
def test_every_layout_gives_the_same_rgb_images(tmp_path: Path, images: np.ndarray) -> None:
    arrays = load(saved(tmp_path, images=images, labels=LABELS))
    assert arrays.train_images.shape == (16, 6, 5, 3) and arrays.test_images.shape == (4, 6, 5, 3)
    seen = np.concatenate([arrays.train_images, arrays.test_images])
    assert sorted(seen[:, 3, 2, 1]) == list(range(20))
    assert np.array_equal(arrays.train_labels, arrays.train_images[:, 0, 0, 0] % 2)
    assert arrays.class_names == ("0", "1")


def test_the_given_test_split_and_class_names_are_kept(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        x_train=GREY,
        y_train=LABELS[:, None],
        x_test=GREY[5:8],
        y_test=LABELS[5:8],
        class_names=np.array(["cat", "dog"]),
    )
    arrays = load(path, image_size=4)
    assert arrays.test_images.shape == (3, 4, 4, 3) and arrays.test_images[:, 0, 0, 0].tolist() == [
        5,
        6,
        7,
    ]
    assert arrays.train_labels.shape == (20,) and arrays.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": GREY}, "holds pictures: it needs x_train"),
        ({"images": GREY.astype(np.float32), "labels": LABELS}, "is float32: images must be uint8"),
        ({"images": GREY[:, :, 0], "labels": LABELS}, r"has shape \(20, 6\)"),
        (
            {"images": np.zeros((20, 6, 5, 4), np.uint8), "labels": LABELS},
            "channels, last or right after N, must be 1",
        ),
        ({"images": GREY, "labels": LABELS[:9]}, "20 images in images but 9 labels"),
        ({"images": GREY, "labels": LABELS / 2}, "labels must be integers"),
        (
            {"images": GREY, "labels": LABELS + 1},
            "no training image in toy.npz has label 0 though one has 2",
        ),
        ({"images": GREY, "labels": LABELS - 1}, "label -1 in toy.npz is out of range"),
        ({"images": GREY, "labels": LABELS * 0}, "class 0 alone"),
        ({"images": GREY[:0], "labels": LABELS[:0]}, "train split is empty"),
        (
            {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:0], "y_test": LABELS[:0]},
            "test split is empty",
        ),
        (
            {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:, 1:], "y_test": LABELS},
            "set data.image_size",
        ),
        (
            {"images": np.array([{}]), "labels": LABELS},
            "plain arrays",
        ),  # pickled objects are not read
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        load(saved(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_the_file_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="no such file"):
        find(tmp_path / "missing.npz", tmp_path)
    with pytest.raises(UnderstudyError, match="is a folder"):
        find(tmp_path, tmp_path)
    (tmp_path / "text.npz").write_text("no zip file")
    with pytest.raises(UnderstudyError, match=r"text.npz is not an .npz file"):
        load(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", GREY)
    with pytest.raises(UnderstudyError, match=r"not an .npz file"):
        load(tmp_path / "one.npy")


def test_a_stratified_fifth_is_cut_where_no_test_split_is(
    tmp_path: Path,
) -> None:
    labels = np.array([2, 0, 1, 0] * 5)
    arrays = load(saved(tmp_path, images=GREY, labels=labels))
    for images, found in (
        (arrays.train_images, arrays.train_labels),
        (arrays.test_images, arrays.test_labels),
    ):
        assert labels[images[:, 0, 0, 0]].tolist() == found.tolist() and found.dtype == np.int64
    assert np.bincount(arrays.test_labels).tolist() == [2, 1, 1] and arrays.class_names == (
        "0",
        "1",
        "2",
    )


def test_images_are_resized_to_a_square_and_both_splits_alike(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=GREY, y_train=LABELS, x_test=GREY[3:, 1:], y_test=LABELS[3:])
    arrays = load(path, image_size=4)
    assert arrays.train_images.shape == (20, 4, 4, 3) and arrays.test_images.shape == (17, 4, 4, 3)
    assert (
        arrays.train_images[:, 1, 2, 0].tolist() == list(range(20))
        and arrays.test_images[0].max() == 3
    )
    with pytest.raises(
        UnderstudyError, match=r"test images of toy.npz are 5x5 pixels but the training images 5x6"
    ):
        load(path)


def test_channels_last_is_the_first_guess(tmp_path: Path) -> None:
    """Images of three lines: [N, 3, W, 3] is read with the channels last."""
    images = np.zeros((20, 3, 5, 3), np.uint8)
    images[:, 1, 4, 2] = 9
    arrays = load(saved(tmp_path, images=images, labels=LABELS))
    assert (
        arrays.train_images.shape == (16, 3, 5, 3) and (arrays.train_images[:, 1, 4, 2] == 9).all()
    )


def test_channels_first_are_moved_last(tmp_path: Path) -> None:
    images = np.zeros((20, 3, 6, 5), np.uint8)
    images[:, 2, 1, 4] = 9
    arrays = load(saved(tmp_path, images=images, labels=LABELS.astype(np.uint8)))
    assert (
        arrays.train_images.shape == (16, 6, 5, 3) and (arrays.train_images[:, 1, 4, 2] == 9).all()
    )


def test_a_gap_in_the_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnderstudyError,
        match=r"no training image in toy.npz has label 1 though one has 2: number classes from 0",
    ):
        load(saved(tmp_path, images=GREY, labels=2 * LABELS))
    with pytest.raises(UnderstudyError, match=r"has label 2 though one has 1000000"):
        load(saved(tmp_path, images=GREY, labels=np.where(np.arange(20) < 4, 10**6, LABELS)))


def test_test_labels_without_their_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"toy.npz has 3 images in x_test but 2 labels"):
        load(saved(tmp_path, x_train=GREY, y_train=LABELS, x_test=GREY[:3], y_test=LABELS[:2]))


def test_a_file_is_named_by_its_stem_and_recognised_by_its_content(tmp_path: Path) -> None:
    found = find(saved(tmp_path, images=GREY, labels=LABELS), tmp_path)
    assert (
        found.name == "toy"
        and find(saved(tmp_path, images=GREY, labels=1 - LABELS), tmp_path).identity
        != found.identity
    )
    seen = SeenEvents()
    read(found, observer=seen)
    assert seen.counts() == [("toy.npz", 20, 20)]


@pytest.mark.parametrize(
    "keys", [("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("pix_{}", "is_{}")]
)
def test_own_validation_is_at_the_end_of_the_training_block(
    tmp_path: Path, keys: tuple[str, str]
) -> None:
    """As MedMNIST names the arrays, as Keras does, and as nobody does."""
    images, labels = keys
    held = {images.format("train"): GREY[:12], labels.format("train"): LABELS[:12, None]}
    held |= {images.format("val"): GREY[12:16], labels.format("val"): LABELS[12:16, None]}
    held |= {images.format("test"): GREY[16:], labels.format("test"): LABELS[16:, None]}
    path = saved(tmp_path, **held)
    columns = {}
    if "pix" in images:
        with pytest.raises(UnderstudyError, match=r"data.columns=\{train_images: KEY"):
            load(path)
        columns = {
            f"{split}_{what}": key.format(split)
            for split in ("train", "val", "test")
            for what, key in zip(("images", "labels"), keys, strict=True)
        }
    arrays = read(find(path, path, SourceOptions(columns=columns)))
    assert arrays.train_images[:, 0, 0, 0].tolist() == list(range(16))
    assert arrays.test_images[:, 0, 0, 0].tolist() == [16, 17, 18, 19]
    assert arrays.annotations.own_val is not None and arrays.annotations.has_own_test
    assert np.flatnonzero(arrays.annotations.own_val).tolist() == [12, 13, 14, 15]


def test_without_a_test_split_the_test_images_are_cut_from_train_alone(tmp_path: Path) -> None:
    held = {"x_train": GREY[:10], "y_train": LABELS[:10], "x_val": GREY[10:], "y_val": LABELS[10:]}
    arrays = load(saved(tmp_path, **held))
    assert arrays.test_images.shape[0] == 2 and arrays.test_images.max() < 10
    assert not arrays.annotations.has_own_test and arrays.annotations.own_val is not None
    assert arrays.annotations.own_val.tolist() == [False] * 8 + [True] * 10


def test_keys_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, pictures=GREY, labels=LABELS)
    for columns, message in (
        ({"images": "picture"}, r"no array 'picture' .data.columns.images.: did you mean pictures"),
        ({"train_images": "pictures"}, "has pictures without its labels: name both"),
        ({"group": "labels"}, "data.columns.group is not for the source npz"),
    ):
        with pytest.raises(UnderstudyError, match=message):
            read(find(path, path, SourceOptions(columns=columns)))
    assert len(read(find(path, path, SourceOptions(columns={"images": "pictures"}))).test_labels)
