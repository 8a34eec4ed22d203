"""The part of a configuration that is about images: which, of which size, how augmented."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from understudy.config.parse import STRICT, require, require_pattern

COLUMN_ROLES = (
    *("image", "label", "split", "group", "slice"),
    *("train_images", "train_labels", "val_images", "val_labels"),
    *("test_images", "test_labels", "images", "labels"),
)
"""The keys of ``data.columns``."""
MOST_PIXELS = 178_956_970
"""Of an image file, unless ``data.max_pixels`` allows more: twice what Pillow warns of. More is an
attack or a mistake, and above 0.7 GB of memory."""

Interpolation = Literal["bilinear", "bicubic"]
"""Filters by which an image is brought to a size; both antialiased."""

LARGEST_MAGNITUDE = 30
"""Magnitudes of RandAugment are whole numbers from 0 to this one."""
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are augmented. Every view is replayable from (seed, epoch, index)."""

    __pydantic_config__ = STRICT
    RENAMED: ClassVar[Mapping[str, str]] = {
        "randaugment": "photometric",
        "randaugment_magnitude": "photometric_magnitude",
    }
    """Former name of a key -> its name; recipes and runs that use the former one are still read."""

    padding: int = 4
    """Zero padding in pixels on each side before the random crop; 0 for no crop."""
    flip: bool = True
    """Mirror horizontally with probability one half."""
    vertical_flip: bool = False
    """Mirror upside down with probability one half: for pictures that have no up."""
    resized_crop: tuple[float, float] | None = None
    """Random-resized crop (Szegedy 2015) instead of the padded one: smallest and largest share of
    the image's area, such as ``[0.35, 1.0]``, in proportions of 3/4 to 4/3; none for no such crop.
    The image is cut after it was decoded to its size, and enlarged to that size again."""
    color_jitter: tuple[float, float, float, float] | None = None
    """Largest change of brightness, contrast and saturation, as a share, and of hue, as a share of
    the colour circle up to 0.5: ``[0.4, 0.4, 0.4, 0.1]``; in random order. None for no jitter."""
    rand_augment_ops: int = 0
    """Operations of RandAugment (Cubuk 2020) for each image, out of fourteen: shear, translation,
    rotation, brightness, saturation, contrast, sharpness, posterise, solarise, autocontrast,
    equalise; 0 for none."""
    rand_augment_magnitude: int = 9
    """Strength of those operations, a whole number from 0 to 30."""
    erasing: float = 0.0
    """Probability to erase a rectangle of 2 to 33 % of the area (Zhong 2017), filled with
    ``data.mean``."""
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """Mix each image with a partner of the same epoch (Zhang 2018, Yun 2019)."""
    mix_alpha: float = 1.0
    """Both parameters of the Beta distribution that lambda is drawn from."""
    photometric: int = 0
    """Random photometric operations for each image, each of random strength (brightness, contrast,
    saturation, posterise, solarise, autocontrast); 0 for none. Formerly ``randaugment``, without
    the geometry that ``rand_augment_ops`` has."""
    photometric_magnitude: float = 0.5
    """Strength of those operations, 0 to 1. Formerly ``randaugment_magnitude``."""
    view_seed: int | None = None
    """Seed of the views; none uses the run's own seed. With a fixed number all seeds of a run share
    one set of cached teacher outputs."""
    view_epochs: int | None = None
    """Draw the views of so many epochs and repeat them in turn: a slow teacher then labels each
    image so many times at most, and feature maps can be cached as well. None draws new views in
    every epoch."""

    def __post_init__(self) -> None:
        require(self.padding >= 0, "augment.padding must be at least 0")
        require(self.mix_alpha > 0, "augment.mix_alpha must be above 0")
        require(self.photometric >= 0, "augment.photometric must be at least 0")
        require(
            0 <= self.photometric_magnitude <= 1, "augment.photometric_magnitude must lie in [0, 1]"
        )
        low, high = self.resized_crop or (1.0, 1.0)
        require(
            0 < low <= high <= 1,
            "augment.resized_crop must be two shares of the area in (0, 1], the smaller one first",
        )
        *changes, hue = self.color_jitter or (0.0,)
        require(
            all(0 <= change < math.inf for change in changes) and 0 <= hue <= 0.5,
            "augment.color_jitter must be at least 0, and the hue at most 0.5",
        )
        require(self.rand_augment_ops >= 0, "augment.rand_augment_ops must be at least 0")
        require(
            0 <= self.rand_augment_magnitude <= LARGEST_MAGNITUDE,
            f"augment.rand_augment_magnitude must lie in [0, {LARGEST_MAGNITUDE}]",
        )
        require(0 <= self.erasing <= 1, "augment.erasing must lie in [0, 1]")
        require(
            self.view_epochs is None or self.view_epochs >= 1,
            "augment.view_epochs must be at least 1",
        )


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split and normalised."""

    __pydantic_config__ = STRICT

    NULL_IS_EMPTY: ClassVar[tuple[str, ...]] = ("mean", "std")

    source: str = "digits"
    """One of the data sources (``understudy.data.SOURCES``)."""
    path: str | None = None
    """A local copy, set by ``--data``; without it, sources that need files read UNDERSTUDY_DATA."""
    image_size: int | tuple[int, int] | None = None
    """Size in pixels to bring every image to when decoding: a number for squares, or
    ``[height, width]``. None keeps the images' own size, which must then be the same for all."""
    resize: Literal["crop", "pad", "squash"] = "crop"
    """How an image of other proportions is brought to that size: ``crop`` cuts out the largest
    part in its centre that has them, ``pad`` fits inside and pads with black, ``squash`` changes
    the proportions."""
    interpolation: Interpolation = "bilinear"
    """Filter of that resizing, antialiased as in Pillow. Files for devices are written for
    ``bilinear`` alone."""
    channels: int = 3
    """3 for RGB; 1 for grey, by Pillow's mode ``L``: ``mean`` and ``std`` then have one value."""
    max_pixels: int = MOST_PIXELS
    """A file of more pixels is not decoded: it counts as one that cannot be read. Decoding takes
    up to 16 bytes a pixel for a moment."""
    columns: dict[str, str] = field(default_factory=dict)
    """Where a table or an .npz file holds what: role -> name, such as ``{image: file, label:
    species}``. Roles of a table: image, label, split, group, slice. Of an .npz file: train_images,
    train_labels, val_images, val_labels, test_images, test_labels, images, labels."""
    group_by: str | None = None
    """Regular expression on the path of an image inside the data set. Images with the same match
    (of its first group in parentheses) are never on both sides of a cut: frames of one clip."""
    report_by: str | None = None
    """The same for parts of the data set by which results are reported."""
    skip_bad: bool = False
    """Go on without images that cannot be read; they are counted in the report."""
    val_fraction: float = 0.1
    """Share of the training images held out for validation, stratified."""
    train_images: int | None = None
    """Train on this many of the remaining images only, stratified; none for all. Validation and
    test images are not affected."""
    split_seed: int = 0
    """Seed of that cut: the same for every seed of a run, so that all models are selected on the
    same images."""
    folds: int | None = None
    """Cross-validation: the images are cut into so many parts of equal size, and ``fold`` is the
    test split. Set by ``understudy run --folds``."""
    fold: int | None = None
    """Which of the folds is the test split, from 1."""
    mean: tuple[float, ...] = _MEAN
    """Per-channel mean of the [0, 1] images, subtracted. Empty (``null``): measured on the training
    images of the run, as std then is; config.yaml has the numbers."""
    std: tuple[float, ...] = _STD
    """Per-channel standard deviation of the [0, 1] images, divided by."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of the training images."""

    @property
    def pixels(self) -> tuple[object, ...]:
        """What of the images decides their pixels: size, filter, channels."""
        return self.image_size, self.interpolation, self.channels

    def __post_init__(self) -> None:
        if self.channels == 1 and (self.mean, self.std) == (_MEAN, _STD):  # nothing was given
            object.__setattr__(self, "mean", _MEAN[:1])
            object.__setattr__(self, "std", _STD[:1])
        require(0 < self.val_fraction < 1, "data.val_fraction must lie between 0 and 1")
        require(
            self.train_images is None or self.train_images >= 2,
            "data.train_images must be at least 2",
        )
        require(self.folds is None or self.folds >= 2, "data.folds must be at least 2")
        if self.fold is None or self.folds is None:
            require(self.fold == self.folds, "data.folds and data.fold must be given together")
        else:
            require(1 <= self.fold <= self.folds, "data.fold must lie between 1 and data.folds")
        sizes = self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)
        require(
            all(size is None or size >= 1 for size in sizes), "data.image_size must be at least 1"
        )
        require(self.channels in (1, 3), "data.channels must be 1 for grey or 3 for RGB")
        require(self.max_pixels >= 1, "data.max_pixels must be at least 1")
        unknown = set(self.columns) - set(COLUMN_ROLES)
        require(
            not unknown,
            f"data.columns.{min(unknown, default='')} is unknown: its keys are "
            f"{', '.join(COLUMN_ROLES)}",
        )
        for name in ("group_by", "report_by"):
            require_pattern(f"data.{name}", getattr(self, name))
        require(all(s > 0 for s in self.std), "data.std must be above 0")
        require(len(self.mean) == len(self.std), "data.mean and data.std must have the same length")
