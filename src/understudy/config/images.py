"""The part of a configuration that is about images: which, of which size, how augmented."""

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
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """Mix each image with a partner of the same epoch (Zhang 2018, Yun 2019)."""
    mix_alpha: float = 1.0
    """Both parameters of the Beta distribution that lambda is drawn from."""
    photometric: int = 0
    """Random photometric operations for each image (brightness, contrast, saturation, posterise,
    solarise, autocontrast; the photometric part of RandAugment, Cubuk 2020); 0 for none. Formerly
    ``randaugment``."""
    photometric_magnitude: float = 0.5
    """Strength of those operations, 0 to 1. Formerly ``randaugment_magnitude``."""
    view_seed: int | None = None
    """Seed of the views; none uses the run's own seed. With a fixed number all seeds of a run share
    one set of cached teacher outputs."""

    def __post_init__(self) -> None:
        require(self.padding >= 0, "augment.padding must be at least 0")
        require(self.mix_alpha > 0, "augment.mix_alpha must be above 0")
        require(self.photometric >= 0, "augment.photometric must be at least 0")
        require(
            0 <= self.photometric_magnitude <= 1, "augment.photometric_magnitude must lie in [0, 1]"
        )


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split and normalised."""

    __pydantic_config__ = STRICT

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
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Per-channel mean of the [0, 1] images, subtracted."""
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    """Per-channel standard deviation of the [0, 1] images, divided by."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of the training images."""

    def __post_init__(self) -> None:
        require(0 < self.val_fraction < 1, "data.val_fraction must lie between 0 and 1")
        require(
            self.train_images is None or self.train_images >= 2,
            "data.train_images must be at least 2",
        )
        sizes = self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)
        require(
            all(size is None or size >= 1 for size in sizes), "data.image_size must be at least 1"
        )
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
