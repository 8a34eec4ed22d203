"""The images of a training once more, for a network that sees them at another size.

A teacher may have been trained on larger images than its student gets, in another filter, or in
colour where the student sees grey. Its copy has the same rows and labels, and the same part of each
picture. Views are drawn for the student's images and scaled to the copy's
(:meth:`~understudy.data.views.Views.scaled`), so both see the same crop.
"""

import hashlib
from dataclasses import replace

import torch

from understudy.config.schema import DataConfig
from understudy.data import read_dataset
from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.decoding import NewArray, fit_arrays
from understudy.data.image_cache import cache_root, open_or_build
from understudy.data.prepare import TrainingData, split_dataset
from understudy.data.sources.base import Arrays
from understudy.data.spec import ImageSpec, size_of
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer

_SAME_PROPORTIONS = 0.02
"""Difference of two proportions, as a share, up to which both cut out the same part: a pixel of 50,
which the rounding of a size may take."""

_CHUNK = 1024
"""Images that are resized or read at a time."""


def image_of(data: TrainingData, inputs: DataConfig) -> ImageSpec:
    """The shape of the images that a network with these inputs sees.

    Args:
        data: of the run, as the student sees it.
        inputs: ``data.config`` with the size, filter, channels and normalisation of the network.
    """
    given, size = data.config, data.image.size
    if inputs.image_size != given.image_size:
        size = size_of(inputs.image_size) or size
    is_other = inputs.channels != given.channels
    return ImageSpec(inputs.channels if is_other else data.image.channels, *size)


def has_own_pixels(data: TrainingData, inputs: DataConfig) -> bool:
    """Whether a network with these inputs sees other pixels than ``data`` has."""
    if image_of(data, inputs) != data.image:
        return True
    # Images in memory have their size already: no filter changes them.
    return data.reading is not None and inputs.interpolation != data.config.interpolation


def own_copy(data: TrainingData, inputs: DataConfig, observer: Observer = SILENT) -> TrainingData:
    """The images as a network with these inputs sees them; ``data`` itself if those are the same.

    Args:
        data: of the run.
        inputs: as for :func:`image_of`.
        observer: gets progress while files are decoded again.

    Raises:
        UnderstudyError: if the sizes have other proportions, or the files have changed since.
    """
    if not has_own_pixels(data, inputs):
        return data
    if data.reading is None:
        return _resized(data, inputs)
    return own_copy_with_test(data, inputs, observer)[0]


def own_copy_with_test(
    data: TrainingData, inputs: DataConfig, observer: Observer = SILENT
) -> tuple[TrainingData, SealedSplit]:
    """As :func:`own_copy` of data that differ and were read from a source, with the test split."""
    own, test = split_dataset(own_dataset(data, inputs, observer), inputs)
    if not torch.equal(own.rows, data.rows) or not torch.equal(own.val.labels, data.val.labels):
        raise UnderstudyError(
            f"the files of {data.name} have changed while they were read: run again"
        )
    return replace(own, grid=data.grid or data.image), test


def own_dataset(data: TrainingData, inputs: DataConfig, observer: Observer = SILENT) -> Dataset:
    """The data set that ``data`` is from, read again as a network with these inputs sees it."""
    assert data.reading is not None, "images in memory cannot be read again"
    image = image_of(data, inputs)
    require_same_part(image, data.image, inputs)
    reading = replace(
        data.reading,
        size=image.size,
        interpolation=inputs.interpolation,
        channels=image.channels,
    )
    return read_dataset(reading, observer)


def pixels_fingerprint(data: TrainingData, inputs: DataConfig) -> str:
    """Hex digest of all that decides the pixels of a copy; the rows are in ``data.fingerprint``."""
    if data.reading is not None:
        return own_dataset(data, inputs).fingerprint
    rule = f"{image_of(data, inputs)} {inputs.resize} {inputs.interpolation} {data.class_names}"
    digest = hashlib.sha256(rule.encode())
    for split in (data.train, data.val):
        for rows in torch.arange(len(split)).split(_CHUNK):
            digest.update(split.gather(rows).numpy().data)
        digest.update(split.labels.numpy().data)
    return digest.hexdigest()


def require_same_part(image: ImageSpec, student: ImageSpec, inputs: DataConfig) -> None:
    """Refuse sizes at which both networks would see different parts of a picture.

    Raises:
        UnderstudyError: naming a size of the right proportions.
    """
    wide, tall = image.width * student.height, image.height * student.width
    if inputs.resize == "squash" or abs(wide - tall) <= _SAME_PROPORTIONS * max(wide, tall):
        return
    height = max(1, round(image.width * student.height / student.width))
    raise UnderstudyError(
        f"the teacher's {image.height}x{image.width} images (height x width) have other "
        f"proportions than the student's {student.height}x{student.width}, so they would show "
        f"another part: set teacher.image_size=[{height},{image.width}], or data.resize=squash"
    )


def _resized(data: TrainingData, inputs: DataConfig) -> TrainingData:
    """The copy of images in memory, made from their own pixels; memory-mapped and made once."""
    image = image_of(data, inputs)
    require_same_part(image, data.image, inputs)
    if data.image.channels not in (1, 3):
        raise UnderstudyError(
            f"images of {data.image.channels} channels cannot be resized for the teacher: give one "
            f"that takes {data.image}"
        )

    def build(new_array: NewArray) -> Arrays:
        made = {}
        for block, split in (("train", data.train), ("test", data.val)):
            made[block] = new_array(block, (len(split), *image.size, image.channels))
            for rows in torch.arange(len(split)).split(_CHUNK):
                part = split.gather(rows).numpy()
                out = made[block][rows[0] : rows[-1] + 1]
                fit_arrays(part, out, inputs.resize, inputs.interpolation)
        labels = data.train.labels.numpy(), data.val.labels.numpy()
        return Arrays(made["train"], labels[0], made["test"], labels[1], data.class_names)

    fingerprint = pixels_fingerprint(data, inputs)
    key = f"memory-{fingerprint[:32]}"
    made = open_or_build(cache_root(), key, build, f"{data.name} at {image}").arrays
    return replace(
        data,
        train=Split.from_arrays(made.train_images, made.train_labels),
        val=Split.from_arrays(made.test_images, made.test_labels),
        config=inputs,
        fingerprint=fingerprint,
        grid=data.grid or data.image,
    )
