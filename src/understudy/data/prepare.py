"""What training may use: training and validation images of a data set, and no test image."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from understudy.config.schema import DataConfig
from understudy.data import read_dataset
from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.data.channels import measure_channels
from understudy.data.dataset import Dataset, LabelledImages, SealedSplit, Split
from understudy.data.folds import folded
from understudy.data.inspection import Inspection
from understudy.data.options import source_options
from understudy.data.preprocess import Preprocessing
from understudy.data.reading import Reading
from understudy.data.spec import ImageSpec, size_of
from understudy.data.splits import split_train_val, take_fewer
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer


@dataclass(frozen=True, eq=False)
class TrainingData(LabelledImages):
    """Training and validation images with what is needed to make batches of them.

    Attributes:
        name: of the data set.
        train, val: disjoint parts of the data set's training split.
        rows: int64, the rows of the training split that ``train`` is made of.
        class_names: one per class.
        config: normalisation and augmentation.
        fingerprint: hex digest of the images in ``train`` and their order.
        annotations: of the data set that the images are from.
        inspection: what was found while the files were read, if they are image files.
        reading: how the data set was read; ``None`` for images that were made in memory.
        grid: the images that views are drawn for, where these are a copy of them at another size
            (:mod:`understudy.data.own_size`).
    """

    name: str
    train: Split
    val: Split
    rows: Tensor
    class_names: tuple[str, ...]
    config: DataConfig
    fingerprint: str
    annotations: Annotations = NO_ANNOTATIONS
    inspection: Inspection | None = None
    reading: Reading | None = None
    grid: ImageSpec | None = None


def rule_of(config: DataConfig, image: ImageSpec) -> Preprocessing:
    """From an image file to images of this shape, as a configuration reads them."""
    return Preprocessing(
        image=image,
        resize=config.resize,
        filter=config.interpolation,
        max_pixels=config.max_pixels,
    )


def split_dataset(dataset: Dataset, config: DataConfig) -> tuple[TrainingData, SealedSplit]:
    """Cut validation from the training images; the test split, or the fold, is returned sealed.

    A normalisation that the configuration leaves open is measured on the training images.

    Raises:
        UnderstudyError: if the normalisation has another number of channels than the images, or a
            cut is impossible.
    """
    channels = dataset.image.channels
    if config.mean and len(config.mean) != channels:
        raise UnderstudyError(
            f"data.mean has {len(config.mean)} values, but the images of {dataset.name} "
            f"have {channels} channels"
        )
    if config.folds is not None and config.fold is not None:
        dataset = folded(dataset, config.folds, config.fold, config.split_seed)
    train, val, rows = _train_and_val(dataset, config)
    if config.train_images is not None:
        train, fewer = take_fewer(train, config.train_images, config.split_seed)
        rows = rows[fewer]
    if not config.mean:
        mean, std = measure_channels(train)
        config = replace(config, mean=mean, std=std)
    digest = hashlib.sha256(dataset.fingerprint.encode())
    digest.update(rows.numpy().data)
    data = TrainingData(
        dataset.name,
        train,
        val,
        rows,
        dataset.class_names,
        config,
        digest.hexdigest(),
        dataset.annotations,
        dataset.inspection,
        dataset.reading,
    )
    return data, dataset.test


def _train_and_val(dataset: Dataset, config: DataConfig) -> tuple[Split, Split, Tensor]:
    """Training images, validation images, and the rows of the former: the data set's own
    validation images where it names some, else a cut that keeps groups together."""
    own = dataset.annotations.own_val
    if own is not None:
        is_val = torch.from_numpy(own)
        rows = torch.nonzero(~is_val).flatten()
        val_rows = torch.nonzero(is_val).flatten()
        return dataset.train.take(rows), dataset.train.take(val_rows), rows
    train, val, rows, _ = split_train_val(
        dataset.train,
        config.val_fraction,
        config.split_seed,
        groups=dataset.annotations.train_groups,
        class_names=dataset.class_names,
    )
    return train, val, rows


def open_dataset(
    config: DataConfig, cache_dir: Path | None = None, observer: Observer = SILENT
) -> Dataset:
    """The configured data set, as it is read."""
    reading = Reading(
        source=config.source,
        path=None if config.path is None else Path(config.path),
        size=size_of(config.image_size),
        resize=config.resize,
        interpolation=config.interpolation,
        channels=config.channels,
        max_pixels=config.max_pixels,
        options=source_options(config),
        cache_dir=cache_dir,
    )
    return read_dataset(reading, observer)


def prepare_data(
    config: DataConfig, cache_dir: Path | None = None, observer: Observer = SILENT
) -> tuple[TrainingData, SealedSplit]:
    """Load the configured source and split it."""
    return split_dataset(open_dataset(config, cache_dir, observer), config)
