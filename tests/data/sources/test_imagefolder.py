import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.worlds import SeenEvents, read

from understudy.data import identity, load_dataset
from understudy.data.listing import SPLIT_NAMES
from understudy.data.sources.base import Arrays, SourceOptions
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


def test_val_is_the_data_sets_own_validation(root: Path) -> None:
    """At the end of the training block, marked; the test images are those of test."""
    for label, name in enumerate(("cat", "dog")):
        draw(root / "valid" / name / "0.png", 200 + label)
    arrays = load(root)
    assert arrays.test_images[:, 0, 0, 0].tolist() == [110, 120]
    assert arrays.train_images[-3:, 0, 0, 0].tolist() == [24, 200, 201]
    assert arrays.train_labels[-2:].tolist() == [0, 1]
    own = arrays.annotations
    assert own.own_val is not None and own.own_val.tolist() == [False] * 10 + [True] * 2
    assert own.has_own_test


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


def test_with_val_and_no_test_the_test_images_are_cut_from_train(root: Path) -> None:
    (root / "test").rename(root / "Validation")
    arrays = load(root)
    assert arrays.annotations.own_val is not None and not arrays.annotations.has_own_test
    assert arrays.train_images[arrays.annotations.own_val, 0, 0, 0].tolist() == [110, 120]
    assert arrays.test_labels.tolist() == [0, 1]
    assert not set(arrays.test_images[:, 0, 0, 0].tolist()) & {110, 120}
    listing = find(root, root).listing
    assert "2 of 10 training images (20% of each class, seed 0) are cut off" in listing.notes[-1]


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
    (root / "train" / "fox").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnderstudyError, match=r"has 2 broken links: train/cat/gone.png, train/fox"):
        load(root)
    listing = find(root, root, SourceOptions(skip_bad=True)).listing
    passed_over = {part.reason: part.count for part in listing.passed_over}
    assert passed_over == {"a broken link": 2, "a link to a folder that it is in": 1}


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
    with pytest.raises(
        UnderstudyError, match=r"1 class of test in .* that train does not have: emu"
    ):
        load(root)
    (root / "train" / "emu").mkdir()
    with pytest.raises(
        UnderstudyError, match=r"1 class folder in .* without images that can be read: train/emu"
    ):
        load(root)
    with pytest.raises(UnderstudyError, match="no such file or folder"):
        find(tmp_path / "missing", tmp_path)
    with pytest.raises(UnderstudyError, match="no class folders"):
        find(root / "test" / "cat", tmp_path)
    (root / "train").rename(root / "trian")
    with pytest.raises(UnderstudyError, match="no train folder"):
        find(root, tmp_path)


def test_two_class_folders_that_change_names_are_another_data_set(tmp_path: Path) -> None:
    """Images of one size and time: the label is in the path alone."""
    for name, value in (("dark", 0), ("light", 255)):
        for number in range(5):
            draw(tmp_path / "x" / name / f"{number}.bmp", value)
            os.utime(tmp_path / "x" / name / f"{number}.bmp", ns=(5, 5))
    root = tmp_path / "x"
    before = load_dataset("imagefolder", root, cache_dir=tmp_path / "cache")
    (root / "dark").rename(root / "swap")
    (root / "light").rename(root / "dark")
    (root / "swap").rename(root / "light")
    after = load_dataset("imagefolder", root, cache_dir=tmp_path / "cache")
    assert before.train.images[before.train.labels == 0].max() == 0
    assert after.train.images[after.train.labels == 0].min() == 255


@pytest.mark.parametrize("small", [True, False])
def test_a_file_that_changes_in_place_and_keeps_its_time_is_seen(
    root: Path, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not small:
        monkeypatch.setattr(identity, "_SMALL", 10)
    file = root / "train" / "cat" / "0.png"
    before, state = find(root, root).identity, file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_mtime_ns == state.st_mtime_ns
    assert find(root, root).identity != before


def test_litter_is_passed_over_at_any_depth_and_counted(root: Path) -> None:
    before = load(root)
    for place in (root, root / "train", root / "train" / "cat", root / "train" / "cat" / "deep"):
        for folder in ("__MACOSX", ".ipynb_checkpoints", "@eaDir"):
            draw(place / folder / "cat" / "0.png", 7)
        for file in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.TXT"):
            (place / file).write_bytes(b"x")
    draw(root / "loose.png", 9)
    draw(root / "train" / "loose.png", 9)
    after = load(root)
    assert np.array_equal(before.train_images, after.train_images)
    found = {part.reason: part for part in find(root, root).listing.passed_over}
    assert {reason: part.count for reason, part in found.items()} == {
        "hidden": 12,
        "left by the operating system": 16,
        "not an image (.txt)": 4,
        "not in a class folder": 2,
    }
    assert found["not in a class folder"].examples == ("loose.png", "train/loose.png")


def test_all_empty_class_folders_are_named_with_what_is_in_them(root: Path) -> None:
    for name in ("emu", "fox"):
        (root / "train" / name).mkdir()
        (root / "train" / name / "0.svg").write_bytes(b"x")
    (root / "train" / "gnu").mkdir()
    with pytest.raises(
        UnderstudyError, match=r"3 class folders .* train/emu .1 not an image .\.svg"
    ):
        load(root)


def test_classes_are_matched_by_name_in_either_unicode_form(root: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    draw(root / "train" / decomposed / "0.png", 50)
    draw(root / "train" / decomposed / "1.png", 51)
    draw(root / "test" / composed / "0.png", 150)
    arrays = load(root)
    assert arrays.class_names == (composed, "cat", "dog")
    assert arrays.test_labels[arrays.test_images[:, 0, 0, 0] == 150].tolist() == [0]
    draw(root / "train" / composed / "2.png", 52)
    with pytest.raises(UnderstudyError, match="have the same name in two Unicode forms"):
        load(root)


def test_a_class_without_test_images_is_stated_and_strangers_are_all_named(root: Path) -> None:
    draw(root / "train" / "emu" / "0.png", 5)
    assert "test has no images of 1 class emu" in find(root, root).listing.notes
    for name in ("Cat", "dogs", "zebra"):
        draw(root / "test" / name / "0.png", 5)
    with pytest.raises(
        UnderstudyError, match=r"3 classes of test .*Cat \(differs in case from cat\)"
    ):
        load(root)


def test_names_that_are_not_utf8_are_refused_escaped(root: Path) -> None:
    place = os.path.join(os.fsencode(root), b"train", b"\xff\xfeants")
    try:
        os.mkdir(place)
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    with pytest.raises(UnderstudyError, match=r"not in UTF-8: train/\\xff\\xfeants; rename"):
        load(root)


def test_names_with_control_characters_are_shown_escaped(root: Path) -> None:
    draw(root / "train" / "cat" / "\x1b[31m.png", 5)
    (root / "train" / "cat" / "\x1b[31m.png").write_bytes(b"broken")
    with pytest.raises(UnderstudyError, match=r"cannot decode .*/\\x1b\[31m\.png"):
        load(root)
    draw(root / "train" / "new\nline" / "0.png", 5)
    with pytest.raises(UnderstudyError, match=r"contain control characters: new\\nline"):
        load(root)


def test_groups_stay_together_in_the_test_cut(tmp_path: Path) -> None:
    """Six clips of each class, four frames each."""
    for name in ("cat", "dog"):
        for number in range(24):
            draw(tmp_path / name / f"clip{number // 4}_{name}_{number % 4}.png", number)
    options = SourceOptions(group_by=r"(clip\d+_\w+)_\d", report_by="cat")
    listing = find(tmp_path, tmp_path, options).listing
    train, test = (
        {listing.samples[row].group for row in listing.rows_of(split)} for split in SPLIT_NAMES[::2]
    )
    assert not train & test and len(train | test) == 12 and "clip0_cat" in train | test
    arrays = read(find(tmp_path, tmp_path, options))
    own = arrays.annotations
    assert own.train_groups is not None and own.test_groups is not None
    assert not set(own.train_groups) & set(own.test_groups)
    assert own.slice_names == ("cat", "other") and own.test_slices is not None
    assert own.test_slices.tolist() == arrays.test_labels.tolist()


def test_one_class_alone_is_refused_with_the_folders_that_may_be_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        draw(tmp_path / "train" / "images" / name / "0.png", 5)
    with pytest.raises(UnderstudyError, match=r"one class alone .train/images.* if cat, dog in it"):
        find(tmp_path, tmp_path)


def test_a_class_with_a_single_image_is_named(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "cat" / f"{number}.png", number)
    draw(tmp_path / "dog" / "0.png", 5)
    with pytest.raises(UnderstudyError, match="class dog has a single image"):
        find(tmp_path, tmp_path)
