"""Random folders, each with splits, depths, links and litter of its own, read as they were made."""

import random
import unicodedata
from pathlib import Path

import pytest

from understudy.data.image_folders import list_images
from understudy.data.layout import SPLIT_FOLDERS
from understudy.data.listing import SPLIT_NAMES
from understudy.data.options import NO_OPTIONS, SourceOptions
from understudy.data.tree import scan_folder

CLASSES = ("cat", "dog", "café", "training shoes", "test tube", "10", "9", "A b", "Zebra-x")
LITTER = (".DS_Store", "._0.jpg", "Thumbs.db", "notes.txt", ".hidden/0.jpg", "__MACOSX/a/0.jpg")


def spelled(split: str, chance: random.Random) -> str:
    name = chance.choice([name for name, meant in SPLIT_FOLDERS.items() if meant == split])
    return chance.choice((name, name.upper(), name.title()))


def make(root: Path, chance: random.Random) -> dict[str, tuple[str, str]]:
    """A random data set; image -> its split, empty if there are none, and its class."""
    wanted = {}
    splits = chance.choice([(), ("train",), ("train", "val"), ("train", "test"), SPLIT_NAMES])
    names = chance.sample(CLASSES, chance.randint(2, 5))
    outer = chance.choice(["", "outer/"])
    for split in splits or ("",):
        folder = outer + (f"{spelled(split, chance)}/" if split else "")
        present = names if split in ("", "train") else names[: chance.randint(1, len(names))]
        for name in present:
            form = chance.choice(("NFC", "NFD"))
            for number in range(chance.randint(2, 6)):
                inner = chance.choice(("", "", "sub/", "test/", "a b/c/"))
                path = f"{folder}{unicodedata.normalize(form, name)}/{inner}{number}.JPG"
                wanted[path] = (split, name)
            litter = chance.sample(LITTER, chance.randint(0, 3))
            for path in litter:
                place(root / f"{folder}{unicodedata.normalize(form, name)}/{path}", b"litter")
    for path in wanted:
        place(root / path, path.encode())
    return wanted


def place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_folder_is_read_as_it_was_made(tmp_path: Path, seed: int) -> None:
    wanted = make(tmp_path, random.Random(seed))
    tree, identity = scan_folder(tmp_path)
    listing = list_images(tree, NO_OPTIONS)
    assert {sample.name for sample in listing.samples} == set(wanted)
    assert listing.class_names == tuple(sorted({name for _, name in wanted.values()}))
    has_test = any(split == "test" for split, _ in wanted.values())
    assert listing.has_own_test == has_test
    for sample in listing.samples:
        split, name = wanted[sample.name]
        assert listing.class_names[sample.label] == name
        assert sample.split == split or (not has_test and split in ("", "train"))
    order = [
        (SPLIT_NAMES.index(sample.split), sample.label, sample.name.split("/"))
        for sample in listing.samples
    ]
    assert order == sorted(order)
    rows = random.Random(seed).choices(range(len(order)), k=20)
    for row, (where, file) in zip(rows, listing.encoded(rows), strict=True):
        assert isinstance(file, Path) and file.read_bytes() == listing.samples[row].name.encode()
        assert where.endswith(listing.samples[row].name)
    assert scan_folder(tmp_path)[1] == identity


@pytest.mark.parametrize("seed", range(10))
def test_whole_groups_are_cut_off_at_random(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(60):
        name = f"{chance.choice(('cat', 'dog'))}/clip{chance.randint(0, 11)}_{number}.png"
        place(tmp_path / name, b"x")
    place(tmp_path / "cat" / "alone.png", b"x")
    tree, _ = scan_folder(tmp_path)
    listing = list_images(tree, SourceOptions(group_by=r"clip\d+"))
    sides: dict[str, set[str]] = {}
    for sample in listing.samples:
        sides.setdefault(sample.group, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert sides["cat/alone.png"] and {s for splits in sides.values() for s in splits} == {
        "train",
        "test",
    }
    assert any("1 image without a match: each on its own" in note for note in listing.notes)


def test_two_links_to_one_file_are_two_images(tmp_path: Path) -> None:
    place(tmp_path / "store" / "x.png", b"x")
    for name in ("cat", "dog"):
        for number in range(3):
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "pets" / name / f"{number}.png").symlink_to(tmp_path / "store" / "x.png")
    tree, _ = scan_folder(tmp_path / "pets")
    assert len(list_images(tree, NO_OPTIONS).samples) == 6
