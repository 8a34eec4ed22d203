"""``npz``: arrays saved by ``numpy.savez``."""

import zipfile
from pathlib import Path

import numpy as np

from understudy.data.decoding import Decoding, fit_arrays, refuse_empty
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    SourceOptions,
    SourceReader,
    cut_test,
    existing,
    identity,
)
from understudy.errors import UnderstudyError, one_line


class Reader(SourceReader):
    """An .npz file with ``x_train, y_train, x_test, y_test``, or ``images, labels``.

    Images are uint8 ``[N, H, W]`` (grey, repeated to RGB), ``[N, H, W, C]`` or ``[N, C, H, W]``
    with C 1 or 3. Labels are integers ``[N]`` or ``[N, 1]`` that count from 0 with no gap. From
    ``images, labels`` a stratified fifth is cut off as the test split, with a fixed seed. Classes
    are named by ``class_names`` if the file has it, else by their numbers.
    """

    def __init__(self, path: Path, identity: str = "") -> None:
        self.path = path
        self.name, self.identity = path.stem, identity

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The .npz file at ``path``."""
        if path is None:
            raise UnderstudyError(
                "the npz source needs a file: give it with --data FILE.npz or UNDERSTUDY_DATA"
            )
        file = existing(path)
        if file.is_dir():
            raise UnderstudyError(f"{path} is a folder: the npz source needs the .npz file itself")
        return cls(file, identity(file.parent, [file]))

    def read(self, decoding: Decoding) -> Arrays:
        images, labels, test_images, test_labels, class_names = _parts(self.path)
        if decoding.size is None and test_images.shape[1:] != images.shape[1:]:
            raise UnderstudyError(
                f"the test images of {self.path.name} are "
                f"{test_images.shape[2]}x{test_images.shape[1]} pixels but the training images "
                f"{images.shape[2]}x{images.shape[1]}: "
                "set data.image_size to bring all images to one size"
            )
        own_size = (images.shape[1], images.shape[2])
        train_out = decoding.allocate("train", len(images), own_size)
        test_out = decoding.allocate("test", len(test_images), own_size)
        fit_arrays(images, train_out, decoding.resize)
        fit_arrays(test_images, test_out, decoding.resize)
        total = len(labels) + len(test_labels)
        decoding.report(self.path.name, total, total)
        return Arrays(train_out, labels, test_out, test_labels, class_names)


def _parts(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Training images and labels, test images and labels, class names."""
    held = _read(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= held.keys():
        images, labels = _pair(path, held, "x_train", "y_train")
        test_images, test_labels = _pair(path, held, "x_test", "y_test")
    elif {"images", "labels"} <= held.keys():
        all_images, all_labels = _pair(path, held, "images", "labels")
        refuse_empty("train", len(all_labels))
        train, test = cut_test(all_labels)
        images, labels = all_images[train], all_labels[train]
        test_images, test_labels = all_images[test], all_labels[test]
    else:
        raise UnderstudyError(
            f"{path.name} holds {', '.join(sorted(held)) or 'nothing'}: "
            f"it needs x_train, y_train, x_test and y_test, or images and labels"
        )
    refuse_empty("train", len(labels))
    refuse_empty("test", len(test_labels))
    if "class_names" in held:
        class_names = tuple(str(name) for name in held["class_names"].ravel())
    else:
        class_names = _numbered(path, labels)
    return images, labels, test_images, test_labels, class_names


def _pair(
    path: Path, held: dict[str, np.ndarray], images_key: str, labels_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, H, W, 3]`` and labels int64 ``[N]``."""
    images = _rgb(path, images_key, held[images_key])
    labels = _labels(path, labels_key, held[labels_key])
    if len(images) != len(labels):
        raise UnderstudyError(
            f"{path.name} has {len(images)} images in {images_key} but {len(labels)} labels"
        )
    return images, labels


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UnderstudyError(
                f"{path.name} is not an .npz file: "
                "save it with numpy.savez(file, images=..., labels=...)"
            )
        with file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UnderstudyError(
            f"cannot read {path.name} as an .npz file of plain arrays: {one_line(error)}"
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
            f"{where} has shape {images.shape}: "
            "images must be [N, H, W], [N, H, W, C] or [N, C, H, W]"
        )
    if images.shape[3] not in (1, 3):
        if images.shape[1] not in (1, 3):
            raise UnderstudyError(
                f"{where} has shape {images.shape}: "
                "the channels, last or right after N, must be 1 (grey) or 3 (RGB)"
            )
        images = images.transpose(0, 2, 3, 1)
    return images if images.shape[3] == 3 else np.repeat(images, 3, axis=3)


def _labels(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    """As int64 ``[N]``."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UnderstudyError(
            f"{key} in {path.name} is {labels.dtype} of shape {labels.shape}: "
            "labels must be integers [N]"
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
            f"no training image in {path.name} has label {gaps[0]} though one has {values[-1]}: "
            "number classes from 0 on"
        )
    return tuple(str(value) for value in values)
