import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import SeenEvents, read

from understudy.data.sources.base import Arrays
from understudy.data.sources.imagefolder import Reader
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer


find = Reader.find


def load(path: Path, image_size: int | None = None, observer: Observer = SILENT) -> Arrays:
    return read(find(path, path), image_size, observer)


def draw(path: Path, value: int, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Cats are 10, 11, ..., dogs are 20, 21, ...; test images are 100 more."""
    root = tmp_path / "pets"
    for label, name in enumerate(("cat", "dog")):
        for number in range(5):
            draw(root / "train" / name / f"{number}.png", 10 * (label + 1) + number)
        draw(root / "test" / name / "0.PNG", 110 + 10 * label)
    return root


def test_folders_are_classes_in_alphabetical_order(root: Path) -> None:
    arrays = load(root)
    assert arrays.class_names == ("cat", "dog")
    assert arrays.train_images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14, 20, 21, 22, 23, 24]
    assert arrays.train_labels.tolist() == [0] * 5 + [1] * 5
    assert arrays.test_images[:, 0, 0, 0].tolist() == [
        110,
        120,
    ] and arrays.test_labels.tolist() == [0, 1]


def test_a_class_has_the_same_number_in_both_splits(root: Path) -> None:
    """A third class, first by name and without test images: labels of the others move up by one in
    both splits."""
    draw(root / "train" / "ant" / "b.png", 5)
    draw(root / "train" / "ant" / "a" / "z.png", 4)
    arrays = load(root)
    assert arrays.class_names == ("ant", "cat", "dog")
    assert (
        arrays.train_images[:2, 0, 0, 0].tolist() == [4, 5]
        and arrays.train_labels.tolist() == [0] * 2 + [1] * 5 + [2] * 5
    )
    assert arrays.test_images[:, 0, 0, 0].tolist() == [
        110,
        120,
    ] and arrays.test_labels.tolist() == [1, 2]


def test_without_a_test_folder_each_image_keeps_its_label(root: Path) -> None:
    arrays = load(root / "train")
    for images, labels in (
        (arrays.train_images, arrays.train_labels),
        (arrays.test_images, arrays.test_labels),
    ):
        assert (
            images[:, 0, 0, 0] // 10 - 1
        ).tolist() == labels.tolist() and labels.dtype == np.int64


def test_test_comes_before_val(root: Path) -> None:
    for name in ("cat", "dog"):
        draw(root / "val" / name / "0.png", 200)
    assert load(root).test_images[:, 0, 0, 0].tolist() == [110, 120]


def test_the_size_is_height_by_width(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(5):
            draw(tmp_path / name / f"{number}.png", number, size=(6, 4))
    assert load(tmp_path).train_images.shape == (8, 4, 6, 3)
    assert load(tmp_path, image_size=2).test_images.shape == (2, 2, 2, 3)


def test_every_common_ending_is_read_in_any_case(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number, ending in enumerate(
            ("jpg", "JPEG", "png", "webp", "bmp", "GIF", "tif", "tiff", "ppm", "PGM")
        ):
            kind = (
                "JPEG"
                if ending == "jpg"
                else "PPM"
                if ending in ("ppm", "PGM")
                else "TIFF"
                if ending == "tif"
                else ending
            )
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (2, 2)).save(tmp_path / name / f"{number}.{ending}", kind)
    arrays = load(tmp_path)
    assert len(arrays.train_images) + len(arrays.test_images) == 20


def test_progress_counts_the_images_of_each_split(root: Path) -> None:
    seen = SeenEvents()
    load(root, observer=seen)
    assert seen.counts() == [("decoding train images", 10, 10), ("decoding test images", 2, 2)]


def test_val_serves_as_test(root: Path) -> None:
    (root / "test").rename(root / "val")
    assert load(root).test_images[:, 0, 0, 0].tolist() == [110, 120]


def test_without_a_test_folder_a_fifth_is_cut(root: Path) -> None:
    arrays = load(root / "train")
    assert (
        arrays.test_labels.tolist() == [0, 1] and arrays.train_labels.tolist() == [0] * 4 + [1] * 4
    )
    both = np.concatenate([arrays.train_images, arrays.test_images])[:, 0, 0, 0]
    assert sorted(both) == [10, 11, 12, 13, 14, 20, 21, 22, 23, 24]


def test_other_and_hidden_files_are_passed_over(
    root: Path,
) -> None:
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    (root / "train" / "cat" / "._0.png").write_text("no image either")
    (root / "train" / ".cache").mkdir()
    draw(root / "train" / "dog" / "images" / "9.png", 29)
    assert load(root).train_images[:, 0, 0, 0].tolist()[-1] == 29


def test_links_are_read_but_not_round_in_circles(root: Path, tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "0.png", 30)
    (root / "train" / "emu").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    arrays = load(root)
    assert (
        arrays.class_names == ("cat", "dog", "emu") and arrays.train_labels.tolist().count(2) == 1
    )
    (root / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(UnderstudyError, match=r"gone.png is a broken link"):
        load(root)


def test_images_of_unequal_size_need_image_size(root: Path) -> None:
    draw(root / "train" / "dog" / "wide.png", 29, size=(8, 4))
    with pytest.raises(UnderstudyError, match=r"wide.png is 8x4 .* set data.image_size"):
        load(root)
    assert load(root, image_size=6).train_images.shape == (11, 6, 6, 3)


def test_identity_changes_with_a_file(root: Path) -> None:
    before = find(root, root).identity
    assert find(root, root).identity == before and find(root, root).name == "pets"
    draw(root / "train" / "cat" / "5.png", 15)
    assert find(root, root).identity != before
    (root / "train" / "cat" / "5.png").unlink()
    assert find(root, root).identity == before
    draw(root / "test" / "dog" / "1.png", 15)
    assert find(root, root).identity != before, "the test images count"
    (root / "test" / "dog" / "1.png").unlink()
    os.utime(root / "train" / "cat" / "0.png", ns=(7, 7))
    assert find(root, root).identity != before, "many files are recognised by time, not read"
    with pytest.raises(UnderstudyError, match="the imagefolder source needs a folder"):
        find(None, root)
    with pytest.raises(
        UnderstudyError, match=r"0\.png is a file: the imagefolder source needs a folder"
    ):
        find(root / "train" / "cat" / "0.png", root)


def test_bad_folders_are_named(root: Path, tmp_path: Path) -> None:
    (root / "train" / "cat" / "3.png").write_bytes(b"not a png")
    with pytest.raises(UnderstudyError, match=r"cannot decode .*cat/3\.png"):
        load(root)
    (root / "test" / "emu").mkdir()
    with pytest.raises(UnderstudyError, match="emu has no folder of that name"):
        load(root)
    (root / "train" / "emu").mkdir()
    with pytest.raises(UnderstudyError, match="emu has no images"):
        load(root)
    with pytest.raises(UnderstudyError, match="no such file or folder"):
        find(tmp_path / "missing", tmp_path)
    with pytest.raises(UnderstudyError, match="no class folders"):
        find(root / "test" / "cat", tmp_path)
    (root / "train").rename(root / "trian")
    with pytest.raises(UnderstudyError, match="no train folder"):
        find(root, tmp_path)
