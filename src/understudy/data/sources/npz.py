"""``npz``: arrays saved by ``numpy.savez``."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from understudy.data.annotations import Annotations
from understudy.data.columns import refuse_roles
from understudy.data.decoding import Decoding, refuse_empty
from understudy.data.identity import identity
from understudy.data.listing import SPLIT_NAMES, SplitName
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    SourceOptions,
    SourceReader,
    existing,
    refuse_options,
)
from understudy.data.splits import cut_test
from understudy.errors import UnderstudyError, one_line, suggest

_USUAL: dict[str, tuple[str, ...]] = {
    "images": ("{split}_images", "x_{split}", "X_{split}"),
    "labels": ("{split}_labels", "y_{split}", "Y_{split}"),
}
"""What the keys of a split are usually called: as in MedMNIST, as in Keras."""
_WHOLE = ("images", "labels")
"""Keys of images that are not split."""
_ROLES = (*(f"{split}_{what}" for split in SPLIT_NAMES for what in _USUAL), *_WHOLE)
_TRAIN_BLOCK: tuple[SplitName, ...] = ("train", "val")
_Part = tuple[np.ndarray, np.ndarray]
"""Images uint8 ``[N, H, W, 3]`` and labels int64 ``[N]``."""


class Reader(SourceReader):
    """An .npz file with images and labels for each split, or with ``images, labels``.

    The keys of a split are ``train_images, train_labels`` or ``x_train, y_train``, others are named
    by ``data.columns``. Images are uint8 ``[N, H, W]`` (grey, repeated to RGB), ``[N, H, W, C]`` or
    ``[N, C, H, W]`` with C 1 or 3. Labels are integers ``[N]`` or ``[N, 1]`` that count from 0 with
    no gap. Without a test split a stratified fifth of the training images is cut off as one, with a
    fixed seed. Classes are named by ``class_names`` if the file has it, else by their numbers.
    """

    def __init__(
        self, path: Path, identity: str = "", keys: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.path, self.keys = path, keys
        self.name, self.identity = path.stem, identity

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The .npz file at ``path``."""
        if path is None:
            raise UnderstudyError(
                "the npz source needs a file: give it with --data FILE.npz or UNDERSTUDY_DATA"
            )
        refuse_options("npz", options, "columns")
        refuse_roles("npz", options.columns, _ROLES)
        file = existing(path)
        if file.is_dir():
            raise UnderstudyError(f"{path} is a folder: the npz source needs the .npz file itself")
        return cls(file, identity(file.parent, [file]), options.columns)

    def read(self, decoding: Decoding) -> Arrays:
        held = _read(self.path)
        parts = _parts(self.path, held, self.keys)
        for split, (_, labels) in parts.items():
            refuse_empty(split, len(labels))
        class_names = _class_names(self.path, held, parts["train"][1])
        has_own_test = "test" in parts
        if not has_own_test:
            images, labels = parts["train"]
            stay, cut = cut_test(labels, class_names=class_names)
            parts["train"], parts["test"] = ((images[rows], labels[rows]) for rows in (stay, cut))
        if decoding.size is None:
            _refuse_other_sizes(self.path, parts)
        train = [parts[split] for split in _TRAIN_BLOCK if split in parts]
        train_images, train_labels = _fitted("train", train, decoding)
        test_images, test_labels = _fitted("test", [parts["test"]], decoding)
        total = len(train_labels) + len(test_labels)
        decoding.report(self.path.name, total, total)
        is_val = np.arange(len(train_labels)) >= len(parts["train"][1])
        own = Annotations(own_val=is_val if "val" in parts else None, has_own_test=has_own_test)
        return Arrays(train_images, train_labels, test_images, test_labels, class_names, own)


def _fitted(block: str, parts: Sequence[_Part], decoding: Decoding) -> _Part:
    """Parts of one block, one after the other, brought to the size that is wanted."""
    labels = np.concatenate([labels for _, labels in parts])
    _, height, width, _ = parts[0][0].shape
    out = decoding.allocate(block, len(labels), (height, width))
    start = 0
    for images, _ in parts:
        decoding.fit_arrays(images, out[start : start + len(images)])
        start += len(images)
    return out, labels


def _parts(
    path: Path, held: dict[str, np.ndarray], chosen: Mapping[str, str]
) -> dict[SplitName, _Part]:
    """The splits that a file has; ``train`` is one of them."""
    for role, key in chosen.items():
        if key not in held:
            hint = suggest(key, held, otherwise="it holds")
            raise UnderstudyError(f"{path.name} has no array {key!r} (data.columns.{role}): {hint}")
    found: dict[SplitName, _Part] = {}
    for split in SPLIT_NAMES:
        images, labels = (_key(held, chosen, split, what) for what in _USUAL)
        if images and labels:
            found[split] = _pair(path, held, images, labels)
        elif images or labels:
            raise UnderstudyError(
                f"{path.name} has {images or labels} without its "
                f"{'labels' if images else 'images'}: name both in data.columns"
            )
    whole = [chosen.get(what, what) for what in _WHOLE]
    if "train" not in found and held.keys() >= set(whole):
        found["train"] = _pair(path, held, *whole)
    if "train" not in found:
        raise UnderstudyError(
            f"{path.name} holds {', '.join(sorted(held)) or 'nothing'}: it needs x_train, y_train, "
            "x_test and y_test, or images and labels; others are named by "
            "data.columns={train_images: KEY, train_labels: KEY, ...} in a recipe, --columns of "
            "init and inspect"
        )
    return found


def _key(
    held: Mapping[str, np.ndarray], chosen: Mapping[str, str], split: SplitName, what: str
) -> str | None:
    """The key of a split's images or labels; ``None`` without one."""
    if f"{split}_{what}" in chosen:
        return chosen[f"{split}_{what}"]
    usual = (key.format(split=split) for key in _USUAL[what])
    return next((key for key in usual if key in held), None)


def _class_names(path: Path, held: Mapping[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    if "class_names" in held:
        return tuple(str(name) for name in held["class_names"].ravel())
    return _numbered(path, labels)


def _refuse_other_sizes(path: Path, parts: Mapping[SplitName, _Part]) -> None:
    height, width = parts["train"][0].shape[1:3]
    for split, (images, _) in parts.items():
        if images.shape[1:3] != (height, width):
            raise UnderstudyError(
                f"the {split} images of {path.name} are {images.shape[2]}x{images.shape[1]} pixels "
                f"but the training images {width}x{height}: "
                "set data.image_size to bring all images to one size"
            )


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
        if not zipfile.is_zipfile(path):  # of other content numpy would state that it is pickled
            raise UnderstudyError(
                f"{path.name} is not an .npz file, or not a complete one: "
                "save it with numpy.savez(file, images=..., labels=...)"
            )
        with np.load(path, allow_pickle=False) as file:
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
