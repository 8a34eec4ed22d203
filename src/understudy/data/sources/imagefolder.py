"""``imagefolder``: one folder of image files for each class."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from understudy.data.sources.base import (
    TEST_FRACTION,
    TEST_SEED,
    Arrays,
    NewArray,
    Progress,
    Source,
    decode,
    decode_all,
    existing,
    identity,
    in_memory,
    no_progress,
)
from understudy.data.splits import stratified_rows
from understudy.errors import UnderstudyError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the files that are read (in any case); others are passed over."""


def find(path: Path | None, cache: Path) -> Source:
    """The folder at ``path``."""
    if path is None:
        raise UnderstudyError(
            "the imagefolder source needs a folder: give it with --data FOLDER or UNDERSTUDY_DATA"
        )
    root = existing(path)
    train, test, _ = _layout(root)
    files = [file for file, _ in train + test]
    return Source(root.name, identity(root, files, by_content=False), partial(load, root))


def load(
    path: Path,
    *,
    image_size: int | None = None,
    new_array: NewArray = in_memory,
    progress: Progress = no_progress,
) -> Arrays:
    """Read ``train/<class>/...`` with ``test/<class>/...`` (else ``val/``), or ``<class>/...`` alone.

    Classes are the folders of the training images in alphabetical order. Where there is neither ``test`` nor ``val`` a
    stratified fifth is cut off as the test split, with a fixed seed. With both, ``val`` is not read: validation is cut from
    the training images. Class folders may be links, and may have folders inside; links to folders inside them are not followed.

    Args:
        image_size: resize the shorter side to this many pixels and crop the centre; None keeps the size, which must be the
            same for all.

    Raises:
        UnderstudyError: naming the file or folder that cannot be used.
    """
    train, test, class_names = _layout(path)
    if not test:
        labels = np.array([label for _, label in train])
        kept, cut = stratified_rows(labels, TEST_FRACTION, TEST_SEED)
        train, test = [train[row] for row in kept], [train[row] for row in cut]
    height, width = (
        (image_size, image_size)
        if image_size
        else decode(train[0][0], str(train[0][0]), None).shape[:2]
    )
    images = {}
    for split, files in (("train", train), ("test", test)):
        images[split] = new_array(split, (len(files), height, width, 3))
        decode_all(
            ((str(file), file) for file, _ in files),
            images[split],
            image_size,
            progress,
            f"decoding {split} images",
        )
    return Arrays(images["train"], _labels(train), images["test"], _labels(test), class_names)


def _labels(files: list[tuple[Path, int]]) -> np.ndarray:
    return np.array([label for _, label in files], np.int64)


def _layout(root: Path) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]], tuple[str, ...]]:
    """Files with labels of the train and the test split (empty if there is none), sorted, and the class names."""
    if not root.is_dir():
        raise UnderstudyError(
            f"{root} is a file: the imagefolder source needs a folder with one folder of images for each class"
        )
    train_root = root / "train"
    if not train_root.is_dir():
        if (root / "test").is_dir() or (root / "val").is_dir():
            raise UnderstudyError(
                f"{root} has a test or val folder but no train folder: add train/<class>/ with the training images"
            )
        train_root = root
    class_names = _folders(train_root)
    if not class_names:
        raise UnderstudyError(
            f"{train_root} has no class folders: the imagefolder source needs one folder of images for each class"
        )
    train = _files(train_root, class_names)
    test: list[tuple[Path, int]] = []
    test_root = (
        next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
        if train_root != root
        else None
    )
    if test_root is not None:
        unknown = sorted(set(_folders(test_root)) - set(class_names))
        if unknown:
            raise UnderstudyError(
                f"{test_root / unknown[0]} has no folder of that name in {train_root}: classes of train and test must agree"
            )
        present = set(_folders(test_root))
        test = _files(test_root, class_names, present)
        if not test:
            raise UnderstudyError(f"the test split is empty: {test_root} has no class folders")
    return train, test, class_names


def _folders(root: Path) -> tuple[str, ...]:
    with os.scandir(root) as entries:
        return tuple(
            sorted(
                entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
            )
        )


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
                f"the class folder {root / name} has no images ({', '.join(SUFFIXES)}): add some or remove it"
            )
        for file in sorted(files):
            if not file.is_file():
                raise UnderstudyError(
                    f"{file} is a broken link: restore the image it points to, or remove it"
                )
            found.append((file, label))
    return found
