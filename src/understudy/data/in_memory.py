"""Data that is no folder: arrays, data sets of torch and Hugging Face, lists, become images to
train on or a split to measure on.

Each image is decoded once, into bytes; above 1 GiB they are in a file of the cache folder that no
other process sees, which is read batch by batch.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.config.images import AugmentConfig, DataConfig
from understudy.config.parse import parse
from understudy.data.adapters import Part, innermost, parts_of
from understudy.data.dataset import LARGEST_COPY, Split, check_split
from understudy.data.decoding import in_memory, refuse_empty
from understudy.data.image_cache import allocator, cache_root
from understudy.data.label_values import matched, read_labels
from understudy.data.listing import SplitName
from understudy.data.pixels import PixelRule
from understudy.data.prepare import TrainingData
from understudy.data.preprocess import RESIZES, Resize
from understudy.data.spec import size_of
from understudy.data.splits import split_train_val
from understudy.errors import UnderstudyError, suggest
from understudy.events import SILENT, Observer, Progress

_REPORT = 64
"""Images between two reports of progress."""


@dataclass(frozen=True)
class DataOptions:
    """How data from Python is read; keywords of ``train``, ``distill`` and ``evaluate``.

    Attributes:
        image_size: pixels to bring all images to, one number for squares or (height, width); by
            default their own size, which must then be the same for all.
        resize: how an image of other proportions is brought to it: ``crop``, ``pad`` or ``squash``.
        class_names: one per class, index = label, if the data does not name them itself.
        val: validation images, of the same kinds as the data; cut from it by default.
        val_fraction: share of each class that is cut off, in (0, 1).
        normalised: (mean, std), one number per channel each, by which float images were normalised:
            it is undone.
        augment: fields of ``data.augment`` in a recipe, such as ``{"padding": 2, "flip": False}``.
    """

    image_size: int | tuple[int, int] | None = None
    resize: Resize = "crop"
    class_names: Sequence[str] = ()
    val: Any = None
    val_fraction: float = 0.1
    normalised: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            hint = suggest(str(self.resize), RESIZES)
            raise UnderstudyError(f"unknown resize rule {self.resize!r}: {hint}")
        if isinstance(self.class_names, str):
            raise UnderstudyError("class_names are several names: give a list of them")
        object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))
        if isinstance(self.augment, Mapping):
            object.__setattr__(self, "augment", parse(AugmentConfig, self.augment, "augment"))
        if not isinstance(self.augment, AugmentConfig):
            raise UnderstudyError(
                "augment takes fields of data.augment in a recipe, such as {'flip': False}, not "
                f"{type(self.augment).__name__}"
            )
        if not 0 < self.val_fraction < 1:
            raise UnderstudyError(f"val_fraction must lie between 0 and 1, not {self.val_fraction}")
        size_of(self.image_size)
        if self.normalised is not None:
            object.__setattr__(self, "normalised", _mean_and_std(self.normalised))

    def rule(self, channels: int) -> PixelRule:
        """How images become bytes."""
        return PixelRule(channels, size_of(self.image_size), self.resize, self.normalised)


def training_images(
    data: Any, options: DataOptions, config: DataConfig, observer: Observer = SILENT
) -> TrainingData:
    """Training and validation images of data that is no folder; its test images are not read.

    Args:
        data: see :data:`understudy.data.adapters.KINDS`.
        options: how it is read.
        config: normalisation, one number per channel: grey images stay grey if it has one.
        observer: gets progress, and a line for what is not plain.

    Raises:
        UnderstudyError: for data that cannot be trained on, and why.
    """
    parts = dict(parts_of(data))
    name = _name(data)
    train = parts.pop("train", None) or parts.pop(None, None)
    val = parts.get("val")
    if train is None:
        raise UnderstudyError(f"{name} has no train images: it has {', '.join(map(str, parts))}")
    if options.val is not None:
        if val is not None:
            raise UnderstudyError(f"{name} has a part val already: leave out val=")
        val = _only_part(options.val, "val=")
    given = {"train": train} | ({} if val is None else {"val": val})
    for line in train.notes:
        observer.message(line)
    rule = options.rule(len(config.mean))
    read: dict[Any, tuple[np.ndarray, Any]] = {}
    for split, part in given.items():
        read[split] = _read(part, rule, split, observer)
        rule = replace(rule, size=read[split][0].shape[1:3])  # the others are brought to it
    names = options.class_names or train.class_names
    held = {split: found for split, (_, found) in read.items()}
    if val is not None and train.class_names is not None:
        held["val"] = _as_classes_of(train.class_names, val, held["val"])
    labels = read_labels(held, names, name)
    splits = {key: _split(pixels, labels.of[key]) for key, (pixels, _) in read.items()}
    for split, found in splits.items():
        check_split(split, found, len(labels.class_names))
    config = replace(config, val_fraction=options.val_fraction, resize=options.resize)
    config = replace(config, augment=options.augment, image_size=splits["train"].image.size)
    rows, digest = torch.arange(len(train_split := splits["train"])), _digest(splits, labels)
    if "val" in splits:
        own_val = splits["val"]
    else:
        train_split, own_val, rows, _ = split_train_val(
            train_split, config.val_fraction, config.split_seed, class_names=labels.class_names
        )
        digest.update(rows.numpy().data)
    return TrainingData(
        name, train_split, own_val, rows, labels.class_names, config, digest.hexdigest()
    )


def measured_split(
    data: Any,
    options: DataOptions,
    channels: int,
    class_names: Sequence[str],
    observer: Observer = SILENT,
) -> Split:
    """The images to measure a network on: the part ``test``, else ``val``, else all of them.

    Args:
        data: see :data:`understudy.data.adapters.KINDS`.
        options: how it is read.
        channels: of the network's images.
        class_names: of the network, by which labels are matched; empty if they are not known.
        observer: gets progress.

    Raises:
        UnderstudyError: for data that cannot be read, and classes that the network does not know.
    """
    parts, name = parts_of(data), _name(data)
    order: tuple[SplitName | None, ...] = ("test", "val", None)
    present = [split for split in order if split in parts]
    if not present:
        raise UnderstudyError(
            f"{name} has train images alone: give the part to measure on, such as data['train']"
        )
    wanted = present[0]
    part = parts[wanted]
    pixels, held = _read(part, options.rule(channels), wanted or "data", observer)
    own_names = options.class_names or part.class_names
    labels = read_labels({"test": held}, own_names, name, len(class_names))
    found = labels.of["test"]
    if class_names:
        found = matched(found, labels.class_names, class_names, name)
    split = _split(pixels, found)
    check_split(name, split, len(class_names or labels.class_names))
    return split


def _read(part: Part, rule: PixelRule, where: str, observer: Observer) -> tuple[np.ndarray, Any]:
    """uint8 ``[N, H, W, C]``, and the labels as given."""
    refuse_empty(where, part.length)

    def allocate(shape: tuple[int, int, int, int]) -> np.ndarray:
        return _room_for(where, shape)

    if part.images is not None:
        return rule.block(part.images, f"X of {where}", allocate), part.labels
    assert part.pairs is not None
    labels: list[Any] = []
    out: np.ndarray | None = None
    for row, (image, label) in enumerate(part.pairs()):
        pixels = rule.one(image, f"image {row} of {where}")
        if out is None:
            out = allocate((part.length, *pixels.shape))
        if pixels.shape != out.shape[1:]:
            raise UnderstudyError(
                f"image {row} of {where} is {pixels.shape[1]}x{pixels.shape[0]} pixels, the first "
                f"{out.shape[2]}x{out.shape[1]}: give image_size=, pixels to bring all images to"
            )
        out[row] = pixels
        labels.append(label)
        if row % _REPORT == _REPORT - 1 or row + 1 == part.length:
            observer.progress(
                Progress("decode", row + 1, part.length, detail=f"{where} images read")
            )
    assert out is not None and len(labels) == part.length
    return out, labels


def _room_for(where: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """An array in memory; above 1 GiB in a file of the cache folder that goes with the array."""
    if int(np.prod(shape)) <= LARGEST_COPY:
        return in_memory(where, shape)
    root = cache_root() / "datasets"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tmp-in-memory-", dir=root))
    try:
        return allocator(folder)(where, shape)
    finally:  # the mapping holds the file until the array is gone
        shutil.rmtree(folder, ignore_errors=True)


def _split(pixels: np.ndarray, labels: np.ndarray) -> Split:
    if not pixels.flags.writeable:  # torch would warn, though nothing writes to it
        pixels = pixels.copy()
    return Split.from_arrays(pixels, labels)


def _digest(splits: Mapping[str, Split], labels: Any) -> Any:
    """SHA-256 over names, shapes and content."""
    digest = hashlib.sha256(json.dumps(labels.class_names).encode())
    for name, split in splits.items():
        digest.update(f"{name} {split.image} {len(split)}".encode())
        digest.update(split.labels.numpy().data)
        for start in range(0, len(split), 4096):
            rows = torch.arange(start, min(start + 4096, len(split)))
            digest.update(split.gather(rows).numpy().data)
    return digest


def _as_classes_of(names: tuple[str, ...], val: Part, held: Any) -> Any:
    """Validation labels by the training images' list of classes, where theirs is another one.

    As that of a folder in which a class has no images.
    """
    if val.class_names in (None, names):
        return held
    own = read_labels({"val": held}, val.class_names, "the validation data")
    return matched(own.of["val"], own.class_names, names, "the validation data")


def _only_part(data: Any, where: str) -> Part:
    """The part of data that is one split."""
    parts = parts_of(data)
    if None not in parts:
        raise UnderstudyError(
            f"{where} takes images of one split, not {', '.join(map(str, parts))}"
        )
    return parts[None]


def _name(data: Any) -> str:
    """What to call the data: ``arrays`` or the name of its type."""
    inner = innermost(data)
    return "arrays" if isinstance(inner, tuple | list | Mapping) else type(inner).__name__


def _mean_and_std(given: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        mean, std = (
            (float(part),) if isinstance(part, int | float) else tuple(map(float, part))
            for part in given
        )
    except (TypeError, ValueError) as error:
        raise UnderstudyError(
            "normalised takes (mean, std), one number per channel each, such as "
            "((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))"
        ) from error
    return mean, std
