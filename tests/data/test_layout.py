"""Splits by the whole name of a folder, classes by the folders inside; random layouts."""

import itertools
import random

import pytest

from understudy.data.layout import SPLIT_FOLDERS, Folders, Layout, find_layout, split_named
from understudy.errors import UnderstudyError


def folders_of(*images: str) -> Folders:
    """A tree of folders with these images; a path that ends in a slash is an empty folder."""
    counts: dict[str, int] = {"": 0}
    for path in images:
        folder, _, name = path.rpartition("/")
        parts = folder.split("/") if folder else []
        for depth in range(1, len(parts) + 1):
            counts.setdefault("/".join(parts[:depth]), 0)
        counts[folder] += bool(name)
    return Folders(counts)


def layout_of(*images: str) -> Layout:
    return find_layout(folders_of(*images), "photos")


def both(*places: str) -> list[str]:
    """A cat and a dog in each place."""
    return [f"{place}/{name}/0.jpg" for place in places for name in ("cat", "dog")]


@pytest.mark.parametrize("name", SPLIT_FOLDERS)
def test_a_split_is_known_by_its_whole_name_in_any_case(name: str) -> None:
    for spelled in (name, name.upper(), name.title(), name.swapcase()):
        assert split_named(spelled) == SPLIT_FOLDERS[name]
    for other in (f"{name} shoes", f"my{name}", f"{name}_01", f" {name}", f"{name}s"):
        assert split_named(other) is None


def test_every_combination_of_splits_is_read_as_what_it_is() -> None:
    spelled = {"train": ("train", "Training"), "val": ("val", "VALID", "validation", "dev")}
    spelled["test"] = ("test", "testing")
    for train, val, test in itertools.product(
        spelled["train"], (None, *spelled["val"]), (None, *spelled["test"])
    ):
        present = [name for name in (train, val, test) if name]
        found = layout_of(*both(*present))
        wanted = {"train": train, "val": val, "test": test}
        assert found.splits == {split: name for split, name in wanted.items() if name}
        assert all(name in found.notes[0] for name in present)


def test_without_splits_each_folder_is_a_class() -> None:
    found = layout_of("cat/0.jpg", "training shoes/a/1.jpg", "latest/2.jpg", "pretrained/3.jpg")
    assert found.splits == {"train": ""} and found.notes == ("each folder in photos is a class",)


def test_names_of_files_decide_nothing() -> None:
    assert layout_of("cat/train_01.jpg", "dog/test.jpg", "dog/val/0.jpg").splits == {"train": ""}


@pytest.mark.parametrize("wrapped", [both("outer/train", "outer/test"), both("outer")])
def test_one_extra_level_is_found_and_stated(wrapped: list[str]) -> None:
    found = layout_of(*wrapped)
    assert found.notes[0] == "read from the folder outer inside photos"
    assert all(place.startswith("outer") for place in found.splits.values())


def test_two_extra_levels_are_refused_with_the_folder_that_is_meant() -> None:
    folders = folders_of(*both("outer/inner/train", "outer/inner/test"))
    with pytest.raises(UnderstudyError, match=r"did you mean photos/outer/inner\?"):
        find_layout(folders, "photos")
    with pytest.raises(UnderstudyError, match=r"did you mean outer/inner\? Pack that folder"):
        find_layout(folders, "photos.zip", is_archive=True)


def test_a_single_class_is_not_taken_for_an_extra_level() -> None:
    assert layout_of("cat/0.jpg", "cat/more/1.jpg").splits == {"train": ""}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (both("test"), r"has a test or val folder \(test\) but no train folder"),
        (both("Dev", "test"), r"\(Dev, test\) but no train folder"),
        (both("train", "Training"), "Training, train, which all mean the train split"),
        (both("train", "val", "valid"), "val, valid, which all mean the val split"),
        ([*both("train"), "bus/0.jpg"], r"a folder train next to bus: is it a split or a class"),
        ([*both("train"), "test/0.jpg"], "photos/test has 1 image but no class folders"),
        ([*both("train"), "test/"], "the test split is empty"),
        ([*both("train"), "test/cat/"], "the test split is empty"),
        (["0.jpg", "1.jpg"], "photos has 2 images but no class folders"),
        (["cat/"], "photos has no class folders"),
        (
            ["cat/train/0.jpg", "cat/test/1.jpg", "dog/train/2.jpg"],
            r"every class folder in photos has folders of splits inside \(test, train\)",
        ),
        (both("train_set", "test_set"), "test_set, train_set .* probably splits: rename them"),
    ],
)
def test_what_is_ambiguous_is_refused(images: list[str], message: str) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        layout_of(*images)
    assert "\n" not in str(caught.value)


def test_a_folder_called_train_among_classes_of_images_is_a_class() -> None:
    found = layout_of("bus/0.jpg", "car/0.jpg", "train/0.jpg")
    assert found.splits == {"train": ""} and "train in photos is read as a class" in found.notes[0]


def test_folders_next_to_the_splits_are_left_out_and_named() -> None:
    found = layout_of(*both("train", "test"), "unlabelled/0.jpg", "docs/")
    assert found.splits == {"train": "train", "test": "test"}
    assert found.unread == ("unlabelled",) and "not read" in found.notes[-1]


def test_classes_with_the_same_folders_inside_stay_classes() -> None:
    assert layout_of("cat/left/0.jpg", "cat/right/1.jpg", "dog/left/2.jpg", "dog/right/3.jpg")


def test_totals_count_what_is_below_in_random_trees() -> None:
    chance = random.Random(0)
    for _ in range(50):
        images = ["/".join(chance.choices("abc", k=chance.randint(0, 4))) + "/" for _ in range(20)]
        images = [f"{folder.lstrip('/')}{number}.jpg" for number, folder in enumerate(images)]
        found = folders_of(*images)
        for folder, total in found.total.items():
            below = [path for path in images if not folder or path.startswith(f"{folder}/")]
            assert total == len(below)
            assert found.inside[folder] == sorted(set(found.inside[folder]))


@pytest.mark.parametrize(
    "names",
    [("seg_train", "seg_test"), ("my-Training", "my-Validation"), ("2024 train", "2024 dev")],
)
def test_folders_named_after_splits_that_hold_the_same_classes_are_refused(
    names: tuple[str, str],
) -> None:
    with pytest.raises(UnderstudyError, match="so they are probably splits"):
        layout_of(*both(*names))


def test_folders_that_hold_the_same_folders_are_classes_with_a_note() -> None:
    assert "hold the same folders (cat, dog)" in layout_of(*both("indoors", "outdoors")).notes[-1]
    assert len(layout_of("indoors/cat/0.jpg", "outdoors/dog/0.jpg").notes) == 1
