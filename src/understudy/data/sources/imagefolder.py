"""``imagefolder``: one folder of image files for each class."""

import os
from pathlib import Path

import numpy as np

from understudy.data.decoding import Decoding, decode_all, refuse_bad
from understudy.data.formats import SUFFIXES
from understudy.data.inspection import BadImage
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    SourceOptions,
    SourceReader,
    cut_test,
    existing,
    identity,
)
from understudy.errors import UnderstudyError


class Reader(SourceReader):
    """``train/<class>/...`` with ``test/<class>/...`` (else ``val/``), or ``<class>/...`` alone.

    Classes are the folders of the training images in alphabetical order. With neither ``test`` nor
    ``val`` a stratified fifth is cut off as the test split, with a fixed seed. With both, ``val``
    is not read: validation is cut from the training images. Class folders may be links, and may
    have folders inside; links to folders inside them are not followed.
    """

    def __init__(self, path: Path, identity: str = "") -> None:
        self.path = path
        self.name, self.identity = path.name, identity

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The folder at ``path``."""
        if path is None:
            raise UnderstudyError(
                "the imagefolder source needs a folder: "
                "give it with --data FOLDER or UNDERSTUDY_DATA"
            )
        root = existing(path)
        train, test, _ = _layout(root)
        files = [file for file, _ in train + test]
        return cls(root, identity(root, files, by_content=False))

    def read(self, decoding: Decoding) -> Arrays:
        train, test, class_names = _layout(self.path)
        if not test:
            stay, cut = cut_test(_labels(train))
            train, test = [train[row] for row in stay], [train[row] for row in cut]
        size = decoding.size_for((str(file), file) for file, _ in train)
        images: dict[str, np.ndarray] = {}
        bad: list[BadImage] = []
        for split, files in (("train", train), ("test", test)):
            # both before the first is decoded: a disk that is too small is found at once
            images[split] = decoding.allocate(split, len(files), size)
        for split, files in (("train", train), ("test", test)):
            encoded = ((str(file), file) for file, _ in files)
            bad += decode_all(encoded, images[split], decoding, f"decoding {split} images")
        refuse_bad(bad)
        return Arrays(images["train"], _labels(train), images["test"], _labels(test), class_names)


def _labels(files: list[tuple[Path, int]]) -> np.ndarray:
    return np.array([label for _, label in files], np.int64)


def _layout(root: Path) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]], tuple[str, ...]]:
    """Sorted files with labels of train and test (empty if there is none), and the class names."""
    if not root.is_dir():
        raise UnderstudyError(
            f"{root} is a file: "
            "the imagefolder source needs a folder with one folder of images for each class"
        )
    train_root = root / "train"
    if not train_root.is_dir():
        if (root / "test").is_dir() or (root / "val").is_dir():
            raise UnderstudyError(
                f"{root} has a test or val folder but no train folder: "
                "add train/<class>/ with the training images"
            )
        train_root = root
    class_names = _folders(train_root)
    if not class_names:
        raise UnderstudyError(
            f"{train_root} has no class folders: "
            "the imagefolder source needs one folder of images for each class"
        )
    train = _files(train_root, class_names)
    test: list[tuple[Path, int]] = []
    test_root = None
    if train_root != root:
        test_root = next((root / n for n in ("test", "val") if (root / n).is_dir()), None)
    if test_root is not None:
        unknown = sorted(set(_folders(test_root)) - set(class_names))
        if unknown:
            raise UnderstudyError(
                f"{test_root / unknown[0]} has no folder of that name in {train_root}: "
                "classes of train and test must agree"
            )
        present = set(_folders(test_root))
        test = _files(test_root, class_names, present)
        if not test:
            raise UnderstudyError(f"the test split is empty: {test_root} has no class folders")
    return train, test, class_names


def _folders(root: Path) -> tuple[str, ...]:
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if entry.is_dir()]
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def _files(
    root: Path, class_names: tuple[str, ...], present: set[str] | None = None
) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(class_names):
        if present is not None and name not in present:
            continue
        files = []
        for folder, _, names in os.walk(root / name):
            files += [
                Path(folder, file)
                for file in names
                if file.lower().endswith(SUFFIXES) and not file.startswith(".")
            ]
        if not files:
            raise UnderstudyError(
                f"the class folder {root / name} has no images ({', '.join(SUFFIXES)}): "
                "add some or remove it"
            )
        for file in sorted(files):
            if not file.is_file():
                raise UnderstudyError(
                    f"{file} is a broken link: restore the image it points to, or remove it"
                )
            found.append((file, label))
    return found
