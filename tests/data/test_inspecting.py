"""What an inspection tells: counts, duplicates, and sentences with numbers and names."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.data.picture_folders import (
    listing_of_files,
    listing_of_folder,
    picture,
    samples_named,
    write_pictures,
)

from understudy.data.inspecting import inspect_listing
from understudy.data.inspection import ClassCounts, Inspection, SizeRange
from understudy.data.listing import Listing, PassedOver
from understudy.data.scan import scan
from understudy.files import from_json, to_json


def inspected(listing: Listing, **options: object) -> Inspection:
    return inspect_listing(listing, scan(listing), **options)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data set: two classes, 20 training and 5 test images each."""
    write_pictures(tmp_path, {"train/ants": 20, "train/bees": 20, "test/ants": 5, "test/bees": 5})
    return tmp_path


def test_sound_data_set_needs_no_repair(folder: Path) -> None:
    found = inspected(listing_of_folder(folder))
    assert found.classes == (ClassCounts("ants", 20, 0, 5), ClassCounts("bees", 20, 0, 5))
    assert found.sizes == SizeRange((48, 48), (48, 48), (48, 48), 1)
    assert (found.modes, found.formats) == ({"RGB": 50}, {"PNG": 50})
    assert found.warnings == found.remarks == () and not found.needs_repair
    assert found.duplicates == () and found.num_duplicates == {}


def test_inspection_round_trips_through_json(folder: Path) -> None:
    shutil.copy(folder / "train/ants/3.png", folder / "test/ants/x.png")
    (folder / "train/ants/y.jpg").write_bytes(b"no image")
    found = inspected(listing_of_folder(folder))
    assert found.unreadable and found.duplicates
    assert from_json(Inspection, json.loads(json.dumps(to_json(found))), "here", "") == found


def test_test_images_that_are_in_train_are_named(folder: Path) -> None:
    for number in range(3):
        shutil.copy(folder / f"train/ants/{number}.png", folder / f"test/ants/copy{number}.png")
    found = inspected(listing_of_folder(folder))
    (warning,) = found.warnings
    assert warning.startswith(
        "3 test images are in train, too (test/ants/copy0.png = train/ants/0.png, "
    )
    assert found.num_duplicates == {"exact across splits": 6}
    assert found.needs_repair


def test_near_copies_in_test_are_warned_of_but_may_be_right(folder: Path) -> None:
    with Image.open(folder / "train/bees/2.png") as image:
        image.resize((30, 30)).save(folder / "test/bees/small.jpg")
    found = inspected(listing_of_folder(folder))
    (warning,) = found.warnings
    assert warning.startswith(
        "1 test image looks the same as one in train (test/bees/small.jpg = train/bees/2.png)"
    )
    assert not found.needs_repair


def test_picture_in_two_classes_is_a_contradiction(folder: Path) -> None:
    shutil.copy(folder / "train/ants/7.png", folder / "train/bees/x.png")
    found = inspected(listing_of_folder(folder))
    assert found.warnings == (
        "1 picture is in several classes (train/ants/7.png = train/bees/x.png): "
        "leave each in the right one",
    )
    assert found.duplicates[0].classes == ("ants", "bees") and found.needs_repair


def test_bad_images_are_listed_once_for_each_reason(folder: Path) -> None:
    for number in range(5):
        (folder / f"train/ants/bad{number}.jpg").write_bytes(b"")
    listing = listing_of_folder(folder)
    found = inspected(listing)
    (warning,) = found.warnings
    assert warning.startswith("5 images cannot be read (train/ants/bad0.jpg, train/ants/bad1.jpg")
    assert "and 2 more" in warning and "--skip-bad" in warning
    assert warning.count(found.unreadable[0].reason) == 1
    assert len(found.unreadable) == 5 and found.needs_repair
    skipped = inspected(listing, skipped_bad=True)
    assert "left out" in skipped.warnings[0] and not skipped.needs_repair


def test_classes_too_small_or_absent_in_test_are_named(folder: Path) -> None:
    write_pictures(folder, {"train/wasps": 1})
    picture(99).save(folder / "train/wasps/0.png")
    small, missing = inspected(listing_of_folder(folder)).warnings
    assert small.startswith("1 class has too few readable images to be split (wasps (1))")
    assert missing.startswith("1 class has no readable test images (wasps)")


def test_skewed_classes_are_remarked_on(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train/ants": 40, "train/bees": 3, "test/ants": 3, "test/bees": 3})
    found = inspected(listing_of_folder(tmp_path))
    assert found.remarks[0].startswith(
        "ants has 13 times as many training images as bees (40 and 3)"
    )


def test_small_images_are_remarked_on_if_a_size_is_wanted(folder: Path) -> None:
    listing = listing_of_folder(folder)
    (remark,) = inspected(listing, size=(224, 224)).remarks
    assert remark.startswith("50 images are less than half as large as 224x224 pixels")
    assert inspected(listing, size=(96, 96)).remarks == ()


def test_mixed_sizes_grey_turned_and_animated_images_are_counted(folder: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 3
    picture(400).save(folder / "train/bees/1.png", exif=turned)
    for number in range(18):
        picture(200 + number, (50, 40)).convert("L").save(folder / f"train/ants/{number}.png")
    frames = [picture(300), picture(301)]
    frames[0].save(folder / "test/bees/a.gif", save_all=True, append_images=frames[1:])
    found = inspected(listing_of_folder(folder))
    text = " | ".join(found.remarks)
    assert "2 different sizes" in text and "data.image_size" in text
    assert "18 of 51 images are grey" in text and "0% to 72% of a class" in text
    assert "1 file holds several frames: the first is read" in text
    assert "1 image is turned upright by EXIF orientation" in text
    assert (found.animated, found.turned) == (1, 1)


def test_only_grey_images_are_read_as_rgb(tmp_path: Path) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    picture(0).convert("L").save(tmp_path / "train/a/0.png")
    remarks = inspected(listing_of_folder(tmp_path)).remarks
    assert any(remark.startswith("all images are grey") for remark in remarks)


def test_what_was_passed_over_is_counted_with_its_reasons(folder: Path) -> None:
    passed = (
        PassedOver("hidden", 2, (".a", ".b")),
        PassedOver("not an image (.txt)", 1, ("notes.txt",)),
    )
    found = inspected(listing_of_folder(folder, passed_over=passed))
    assert found.remarks == ("3 files passed over: 2 hidden, 1 not an image (.txt)",)
    assert found.passed_over == passed


def test_clips_on_both_sides_of_a_split_are_named(tmp_path: Path) -> None:
    names = [
        f"{kind}/cam{clip}_{k:04}.png"
        for kind in ("ants", "bees")
        for clip in range(4)
        for k in range(4)
    ]
    samples = samples_named(names)
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(seed).save(tmp_path / name)
    torn = [
        replace(sample, split="test") if "0003" in sample.name else sample for sample in samples
    ]
    listing = listing_of_files(tmp_path, torn, ("ants", "bees"), has_own_test=False)
    found = inspected(listing)
    assert found.clip is not None
    (warning,) = found.warnings
    assert warning.startswith("8 test images come from the same clips as training images")
    assert f"--group-by '{found.clip}'" in warning


def test_nothing_readable_is_no_crash(tmp_path: Path) -> None:
    for kind in ("ants", "bees"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        (tmp_path / "train" / kind / "0.jpg").write_bytes(b"")
    found = inspected(listing_of_folder(tmp_path), size=(32, 32))
    assert found.sizes is None and found.num_images == 0 and found.needs_repair


def test_control_characters_in_names_are_escaped(tmp_path: Path) -> None:
    name = "a\x1b[31mb"
    write_pictures(tmp_path, {f"train/{name}": 3, "train/c": 3})
    shutil.copy(tmp_path / f"train/{name}/0.png", tmp_path / "train/c/x.png")
    found = inspected(listing_of_folder(tmp_path))
    text = " ".join((*found.warnings, *found.remarks, *found.duplicates[0].names))
    assert "\x1b" not in text and r"\x1b" in text
