"""Which folder is which: splits by the folder's name, classes by the folders inside.

A folder is a split if its whole name is that of one, in any case. Parts of a name, and names of
files, decide nothing: ``training shoes`` is a class.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from understudy.data.listing import SplitName
from understudy.data.names import counted, listed, normalised, shown
from understudy.errors import UnderstudyError

SPLIT_FOLDERS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Name in lower case -> the split. Also the values of a table's column of splits."""


def split_named(name: str) -> SplitName | None:
    """The split that a name means, in any case; ``None`` for other names."""
    return SPLIT_FOLDERS.get(normalised(name).casefold())


class Folders:
    """A tree of folders with the number of images in each.

    Args:
        images: every folder, ``""`` for the outermost -> images directly in it.
    """

    def __init__(self, images: Mapping[str, int]) -> None:
        self.direct = images
        self.inside: dict[str, list[str]] = {folder: [] for folder in images}
        self.total = dict(images)
        """Images in each folder and below."""
        for folder in sorted(images, key=lambda name: -name.count("/")):  # the deepest first
            if folder:
                above, _, name = folder.rpartition("/")
                self.inside[above].append(name)
                self.total[above] += self.total[folder]
        for names in self.inside.values():
            names.sort()

    def full(self, folder: str) -> list[str]:
        """Names of the folders in a folder that hold images, there or below."""
        return [name for name in self.inside[folder] if self.total[inside(folder, name)]]


def inside(folder: str, name: str) -> str:
    """The path of what is called ``name`` in a folder; the outermost folder is ``""``."""
    return f"{folder}/{name}" if folder else name


@dataclass(frozen=True)
class Layout:
    """What was read as what.

    Attributes:
        splits: split -> the folder with its class folders; ``train`` alone has all images if the
            data set names no splits.
        notes: sentences on it.
        unread: folders next to those of the splits.
    """

    splits: Mapping[SplitName, str]
    notes: tuple[str, ...]
    unread: tuple[str, ...] = ()


def find_layout(folders: Folders, where: str, *, is_archive: bool = False) -> Layout:
    """Find the splits in a folder with ``SPLIT/CLASS/...`` or ``CLASS/...``.

    Args:
        folders: as scanned.
        where: the folder or archive, for messages.
        is_archive: whether it is one.

    Raises:
        UnderstudyError: if it is ambiguous what is meant, or there are no class folders.
    """
    place, notes = _outermost(folders, where, is_archive)
    at = shown(f"{where}/{place}" if place else where)
    named = {name: split for name in folders.inside[place] if (split := split_named(name))}
    others = [name for name in folders.full(place) if name not in named]
    if named and others and not any(folders.inside[inside(place, name)] for name in named):
        read, them = ("is read as a class", "it") if len(named) == 1 else ("are classes", "them")
        notes.append(
            f"{listed(list(named))} in {at} {read}: images lie in {them} directly, and "
            f"other classes ({listed(others)}) are next to {them}"
        )
        named = {}
    if not named:
        notes.append(f"each folder in {at} is a class")
        notes += _hidden_splits(folders, place, at)
        return Layout({"train": place}, tuple(notes))
    splits = _splits(folders, place, named, at)
    if others and len(splits) == 1:
        raise UnderstudyError(
            f"{at} has a folder {listed(list(named))} next to {listed(others)}: is it a split or a "
            "class? Rename it if it is a class; move the others out if it is a split"
        )
    notes.append(", ".join(f"{split} is read from {shown(splits[split])}/" for split in splits))
    if others:
        notes.append(f"not read, next to the splits: {listed(others)}")
    return Layout(splits, tuple(notes), tuple(inside(place, name) for name in others))


def _outermost(folders: Folders, where: str, is_archive: bool) -> tuple[str, list[str]]:
    """The folder that splits or classes are in: the given one, or the only one in it."""
    places = [""]
    while _is_wrapping(folders, places[-1]):
        places.append(inside(places[-1], folders.inside[places[-1]][0]))
    place = places[-1]
    if len(places) > 2:
        inner = shown(place)
        way = f"did you mean {inner}?" if is_archive else f"did you mean {shown(where)}/{inner}?"
        if is_archive:
            way += " Pack that folder, or extract the archive and give the folder"
        raise UnderstudyError(f"{shown(where)} holds nothing but the folder {inner}: {way}")
    return place, [f"read from the folder {shown(place)} inside {shown(where)}"] if place else []


def _is_wrapping(folders: Folders, place: str) -> bool:
    """Whether a folder holds nothing but one folder, which is no split and no class."""
    names = folders.inside[place]
    if len(names) != 1 or folders.direct[place] or split_named(names[0]):
        return False
    only = inside(place, names[0])
    return not folders.direct[only] and len(folders.inside[only]) > 0


def _splits(
    folders: Folders, place: str, named: Mapping[str, SplitName], at: str
) -> dict[SplitName, str]:
    """Split -> folder, in the order train, val, test."""
    found: dict[SplitName, list[str]] = {"train": [], "val": [], "test": []}
    for name, split in named.items():
        found[split].append(name)
    for split, names in found.items():
        if len(names) > 1:
            raise UnderstudyError(
                f"{at} has {listed(names)}, which all mean the {split} split: keep one of them"
            )
    if not found["train"]:
        raise UnderstudyError(
            f"{at} has a test or val folder ({listed(list(named))}) but no train folder: "
            "add train/<class>/ with the training images"
        )
    splits = {split: inside(place, names[0]) for split, names in found.items() if names}
    for split, folder in splits.items():
        if not folders.total[folder]:
            raise UnderstudyError(
                f"the {split} split is empty: {at}/{shown(folder)} has no images; add some or "
                "remove the folder"
            )
        if not folders.full(folder):
            raise UnderstudyError(
                f"{at}/{shown(folder)} has {counted(folders.direct[folder], 'image')} but no class "
                "folders: "
                "put them into one folder for each class, or list them in a table "
                "(data.source=csv)"
            )
    return splits


def _hidden_splits(folders: Folders, place: str, at: str) -> list[str]:
    """Refuse flat class folders that are splits; a note on those that may be."""
    names = folders.full(place)
    if not names:
        count = folders.direct[place]
        raise UnderstudyError(
            f"{at} has {counted(count, 'image') + ' but ' if count else ''}no class folders: the "
            "imagefolder source needs one folder of images for each class"
        )
    paths = [inside(place, name) for name in names]
    contents = [tuple(folders.full(path)) for path in paths]
    if len(names) < 2 or not contents[0] or any(folders.direct[path] for path in paths):
        return []
    if all(all(map(split_named, content)) and content for content in contents):
        raise UnderstudyError(
            f"every class folder in {at} has folders of splits inside ({listed(contents[0])}): "
            "put the classes into the splits, as in train/<class>/, test/<class>/"
        )
    if len(set(contents)) > 1 or len(contents[0]) < 2:
        return []
    what = f"{listed(names)} in {at} hold the same folders ({listed(contents[0])})"
    if all(any(map(split_named, _words(name))) for name in names):
        raise UnderstudyError(
            f"{what}, so they are probably splits: rename them to train, val or test"
        )
    return [f"{what}: if those are the classes, call the folders around them train, val and test"]


def _words(name: str) -> list[str]:
    return re.split(r"[\W_\d]+", name)
