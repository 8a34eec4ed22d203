"""What a scan of a data set found, as plain records that round-trip through JSON.

Importing this loads no torch: reports read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.data.listing import PassedOver


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image file, as it was opened.

    Attributes:
        width, height: in pixels, as stored: before the orientation is applied.
        mode: Pillow's name of its pixels, for instance ``RGB``, ``L``, ``I;16``.
        format: ``JPEG``, ``PNG``, ...
        orientation: of its EXIF data, 1 (upright) to 8.
        frames: 1, or more for an animated image, of which the first is read.
        digest: 16 bytes that two files share if their bytes are equal.
        thumbnail: its 8 x 8 grey pixels, see :func:`~understudy.data.thumbnail.thumbnail_of`.
    """

    width: int
    height: int
    mode: str
    format: str
    orientation: int
    frames: int
    digest: bytes
    thumbnail: bytes


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read.

    Attributes:
        row: its position in the listing.
        name: its path inside the data set.
        reason: why, in one line.
    """

    row: int
    name: str
    reason: str


@dataclass(frozen=True)
class ClassCounts:
    """How many images of a class are in each split; unreadable ones are not counted."""

    name: str
    train: int
    val: int
    test: int

    @property
    def total(self) -> int:
        return self.train + self.val + self.test


def too_small(classes: Sequence[ClassCounts]) -> list[ClassCounts]:
    """Classes of which no training image would be left: one of each is cut off for validation,
    unless the data set names its validation images."""
    least = 1 if any(entry.val for entry in classes) else 2
    return [entry for entry in classes if entry.train < least]


@dataclass(frozen=True)
class SizeRange:
    """Sizes of the images in pixels, upright.

    Attributes:
        smallest, median, largest: (width, height), each side on its own.
        distinct: how many different sizes there are.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int


@dataclass(frozen=True)
class Duplicates:
    """Images that show the same.

    Attributes:
        kind: ``exact`` (equal bytes) or ``near`` (equal but for size, compression, brightness).
        names: of the images, the first few.
        count: how many there are.
        splits: the splits that they are in.
        classes: their classes; more than one is a contradiction in the labels.
    """

    kind: str
    names: tuple[str, ...]
    count: int
    splits: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def is_serious(self) -> bool:
        """Whether a test image is among the training images, or labels contradict each other."""
        return {"train", "test"} <= set(self.splits) or len(self.classes) > 1


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A data set as a scan found it, as in ``data.json`` of a run.

    Attributes:
        name: of the data set.
        notes: what was read as what.
        classes: images of each class in each split.
        sizes: of the images; ``None`` if none is readable.
        modes, formats: name -> number of images.
        turned: images whose EXIF orientation is applied.
        animated: images of which the first of several frames is read.
        unreadable: all images that cannot be read.
        skipped_bad: whether the data set is used without them.
        passed_over: files that were not read, and why.
        duplicates: groups of them, the first hundred: exact before near, those across splits or of
            several classes first, then the largest.
        num_duplicates: kind and place, ``exact across splits``, ``near within train``, ... ->
            number of images that have a duplicate there.
        clip: a regular expression for ``data.group_by`` if names look like frames of clips;
            ``None`` if they do not.
        warnings: sentences on what spoils a training or its measurement, and what to do about it.
        remarks: sentences on what is good to know.
    """

    name: str
    notes: tuple[str, ...] = ()
    classes: tuple[ClassCounts, ...]
    sizes: SizeRange | None
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    turned: int = 0
    animated: int = 0
    unreadable: tuple[BadImage, ...] = ()
    skipped_bad: bool = False
    passed_over: tuple[PassedOver, ...] = ()
    duplicates: tuple[Duplicates, ...] = ()
    num_duplicates: Mapping[str, int]
    clip: str | None = None
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """How many images can be read."""
        return sum(entry.total for entry in self.classes)

    @property
    def needs_repair(self) -> bool:
        """Whether a training is refused, or its measurement would be wrong for certain."""
        return (
            bool(self.unreadable and not self.skipped_bad)
            or bool(too_small(self.classes))
            or any(group.kind == "exact" and group.is_serious for group in self.duplicates)
        )
