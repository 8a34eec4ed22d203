"""``npz``: arrays saved by ``numpy.savez``."""

import zipfile
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
    existing,
    fit_arrays,
    identity,
    in_memory,
    no_progress,
    refuse_empty,
)
from understudy.data.splits import stratified_rows
from understudy.errors import UnderstudyError


def find(path: Path | None, cache: Path) -> Source:
    """The .npz file at ``path``."""
    if path is None:
        raise UnderstudyError(
            "the npz source needs a file: give it with --data FILE.npz or UNDERSTUDY_DATA"
        )
    file = existing(path)
    if file.is_dir():
        raise UnderstudyError(f"{path} is a folder: the npz source needs the .npz file itself")
    return Source(file.stem, identity(file.parent, [file]), partial(load, file))


def load(
    path: Path,
    *,
    image_size: int | None = None,
    new_array: NewArray = in_memory,
    progress: Progress = no_progress,
) -> Arrays:
    """Read an .npz file with the arrays ``x_train, y_train, x_test, y_test``, or ``images, labels``, and perhaps ``class_names``.

    Images are uint8 ``[N, H, W]`` (grey, repeated to RGB), ``[N, H, W, C]`` or ``[N, C, H, W]`` with C 1 or 3. Labels are
    integers ``[N]`` or ``[N, 1]`` that count from 0 with no gap. From ``images, labels`` a stratified fifth is cut off as the
    test split, with a fixed seed. Without ``class_names`` the classes are called by their numbers.

    Raises:
        UnderstudyError: if keys are missing or the arrays are not as above.
    """
    held = _read(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= held.keys():
        images, labels = (
            _rgb(path, "x_train", held["x_train"]),
            _labels(path, "y_train", held["y_train"]),
        )
        test_pixels, test_labels = (
            _rgb(path, "x_test", held["x_test"]),
            _labels(path, "y_test", held["y_test"]),
        )
        _same_length(path, "x_train", images, labels)
        _same_length(path, "x_test", test_pixels, test_labels)
    elif {"images", "labels"} <= held.keys():
        all_images, all_labels = (
            _rgb(path, "images", held["images"]),
            _labels(path, "labels", held["labels"]),
        )
        _same_length(path, "images", all_images, all_labels)
        refuse_empty("train", len(all_labels))
        train, test = stratified_rows(all_labels, TEST_FRACTION, TEST_SEED)
        images, labels, test_pixels, test_labels = (
            all_images[train],
            all_labels[train],
            all_images[test],
            all_labels[test],
        )
    else:
        raise UnderstudyError(
            f"{path.name} holds {', '.join(sorted(held)) or 'nothing'}: "
            f"it needs x_train, y_train, x_test and y_test, or images and labels"
        )
    refuse_empty("train", len(labels))
    refuse_empty("test", len(test_labels))
    named = held.get("class_names")
    class_names = (
        _numbered(path, labels) if named is None else tuple(str(name) for name in named.ravel())
    )
    if image_size is None and test_pixels.shape[1:] != images.shape[1:]:
        raise UnderstudyError(
            f"the test images of {path.name} are {test_pixels.shape[2]}x{test_pixels.shape[1]} pixels but the training images "
            f"{images.shape[2]}x{images.shape[1]}: set data.image_size to bring all images to one size"
        )
    height, width = (image_size, image_size) if image_size else images.shape[1:3]
    train_images = new_array("train", (len(images), height, width, 3))
    test_images = new_array("test", (len(test_pixels), height, width, 3))
    fit_arrays(images, train_images)
    fit_arrays(test_pixels, test_images)
    progress(path.name, len(labels) + len(test_labels), len(labels) + len(test_labels))
    return Arrays(train_images, labels, test_images, test_labels, class_names)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UnderstudyError(
                f"{path.name} is not an .npz file: save it with numpy.savez(file, images=..., labels=...)"
            )
        with file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UnderstudyError(
            f"cannot read {path.name} as an .npz file of plain arrays: {' '.join(str(error).split())}"
        ) from error


def _rgb(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    """As uint8 ``[N, H, W, 3]``."""
    where = f"{key} in {path.name}"
    if images.dtype != np.uint8:
        raise UnderstudyError(
            f"{where} is {images.dtype}: images must be uint8 with values 0 to 255"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise UnderstudyError(
            f"{where} has shape {images.shape}: images must be [N, H, W], [N, H, W, C] or [N, C, H, W]"
        )
    if images.shape[3] not in (1, 3):
        if images.shape[1] not in (1, 3):
            raise UnderstudyError(
                f"{where} has shape {images.shape}: the channels, last or right after N, must be 1 (grey) or 3 (RGB)"
            )
        images = images.transpose(0, 2, 3, 1)
    return images if images.shape[3] == 3 else np.repeat(images, 3, axis=3)


def _labels(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    """As int64 ``[N]``."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UnderstudyError(
            f"{key} in {path.name} is {labels.dtype} of shape {labels.shape}: labels must be integers [N]"
        )
    return labels.astype(np.int64)


def _numbered(path: Path, labels: np.ndarray) -> tuple[str, ...]:
    values = np.unique(labels)
    if values[0] < 0:
        raise UnderstudyError(
            f"label {values[0]} in {path.name} is out of range: labels count from 0"
        )
    gaps = np.setdiff1d(np.arange(min(values[-1], len(values)) + 1), values)
    if len(gaps):
        raise UnderstudyError(
            f"no training image in {path.name} has label {gaps[0]} though one has {values[-1]}: number classes from 0 on"
        )
    return tuple(str(value) for value in values)


def _same_length(path: Path, key: str, images: np.ndarray, labels: np.ndarray) -> None:
    if len(images) != len(labels):
        raise UnderstudyError(
            f"{path.name} has {len(images)} images in {key} but {len(labels)} labels"
        )
