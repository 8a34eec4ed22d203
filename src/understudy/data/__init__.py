"""Images to train on: ``load_dataset`` finds a source, decodes it once and maps the result.

Importing this loads no torch.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UnderstudyError, suggest
from understudy.events import SILENT, Observer

if TYPE_CHECKING:
    from understudy.data.dataset import Dataset
    from understudy.data.decoding import NewArray
    from understudy.data.listing import Listing
    from understudy.data.options import SourceOptions
    from understudy.data.preprocess import Resize
    from understudy.data.reading import Reading
    from understudy.data.sources.base import Arrays, SourceReader

SOURCES: dict[str, str] = {
    "digits": "1,797 handwritten digits from scikit-learn, as 32x32 RGB; needs no files",
    "cifar10": (
        "CIFAR-10: the official binary archive (downloaded on first use), its extracted folder, "
        "or a Parquet copy"
    ),
    "parquet": (
        "a folder or file in the Hugging Face image layout; columns found from the features, "
        "else by name or data.columns"
    ),
    "imagefolder": (
        "a folder, zip or tar with train/<class>/*, val/<class>/* and test/<class>/*, or with "
        "<class>/* alone"
    ),
    "csv": "a CSV or Parquet table of image paths and labels, perhaps of splits; see data.columns",
    "npz": (
        "an .npz file with train_images, train_labels, test_images, ..., or x_train, y_train, "
        "..., or images, labels; see data.columns"
    ),
    "hf": "hf:NAME, a data set on the Hugging Face Hub, or a folder saved by datasets",
}
"""Name -> one line. The source NAME is the class ``Reader`` in ``data/sources/NAME.py``."""


def load_dataset(
    source: str,
    path: str | Path | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    resize: "Resize" = "crop",
    max_pixels: int | None = None,
    options: "SourceOptions | None" = None,
    cache_dir: Path | None = None,
    observer: Observer = SILENT,
) -> "Dataset":
    """Open a data set; the first time, decode it into the cache.

    Args:
        source: a name from ``SOURCES``.
        path: the local copy; None takes UNDERSTUDY_DATA (which ``digits`` does not read).
            ``cifar10`` with neither is downloaded.
        image_size: pixels to bring all images to, one number for squares or (height, width); None
            keeps their own size (32 for digits).
        resize: how an image of other proportions is brought to it: ``crop`` cuts out the largest
            part in its centre that has them, ``pad`` fits inside and pads with black, ``squash``
            changes its proportions.
        max_pixels: a file of more pixels counts as one that cannot be read; None for
            ``config.images.MOST_PIXELS``, 179 million.
        cache_dir: folder for decoded images and downloads; None takes UNDERSTUDY_CACHE, else the
            user's cache folder.
        observer: gets progress while images are downloaded and decoded.

    Returns:
        The data set, its images mapped from the cache: uint8 ``[N, C, H, W]``.

    Raises:
        UnderstudyError: for an unknown source or resize rule, missing or corrupt files, labels out
            of range, an empty split, a single class.
    """
    from understudy.config.images import MOST_PIXELS
    from understudy.data.options import NO_OPTIONS
    from understudy.data.preprocess import RESIZES
    from understudy.data.reading import Reading
    from understudy.data.spec import size_of

    if resize not in RESIZES:
        raise UnderstudyError(f"unknown resize rule {resize!r}: {suggest(str(resize), RESIZES)}")
    reading = Reading(
        source=source,
        path=None if path is None else Path(path),
        size=size_of(image_size),
        resize=resize,
        max_pixels=MOST_PIXELS if max_pixels is None else max_pixels,
        options=options or NO_OPTIONS,
        cache_dir=cache_dir,
    )
    return read_dataset(reading, observer)


def read_dataset(reading: "Reading", observer: Observer = SILENT) -> "Dataset":
    """Open a data set as a :class:`~understudy.data.reading.Reading` has it.

    Raises:
        UnderstudyError: as :func:`load_dataset`.
    """
    from understudy.data.dataset import Dataset, SealedSplit, Split
    from understudy.data.decoding import Decoding
    from understudy.data.image_cache import cache_key, cache_root, open_or_build

    root, options = cache_root(reading.cache_dir), reading.options
    source, path = _place(reading.source, reading.path)
    reader = _find(source, path, root, options)
    size, resize, most = reading.size, reading.resize, reading.max_pixels
    pixels = reading.interpolation, reading.channels

    def build(new_array: "NewArray") -> "Arrays":
        arrays = reader.read(Decoding(size, new_array, observer, resize, most, *pixels))
        _check(arrays)  # before the cache publishes it
        return arrays

    key = cache_key(source, reader.identity, size, resize, options, most, *pixels)
    entry = open_or_build(root, key, build, reader.name)
    arrays = entry.arrays
    return Dataset(
        name=reader.name,
        train=Split.from_arrays(arrays.train_images, arrays.train_labels),
        test=SealedSplit(Split.from_arrays(arrays.test_images, arrays.test_labels)),
        class_names=arrays.class_names,
        fingerprint=entry.fingerprint,
        annotations=arrays.annotations,
        inspection=arrays.inspection,
        reading=reading,
    )


def listing_of(
    source: str, path: str | Path | None = None, options: "SourceOptions | None" = None
) -> "Listing":
    """The image files of a data set, found and labelled, not decoded.

    Args:
        source: a name from ``SOURCES``.
        path: as for :func:`load_dataset`.
        options: how it reads the files.

    Raises:
        UnderstudyError: if the source reads no image files, or they are not in order.
    """
    from understudy.data.image_cache import cache_root
    from understudy.data.options import NO_OPTIONS

    source, path = _place(source, path)
    return _find(source, path, cache_root(), options or NO_OPTIONS).listing


def _place(source: str, path: str | Path | None) -> tuple[str, Path | None]:
    """The source's own name, and where its files are."""
    from understudy.data.detect import HUB

    if source.startswith(HUB):
        return "hf", Path(source)
    if path is None and source != "digits":
        path = os.environ.get("UNDERSTUDY_DATA") or None
    return source, None if path is None else Path(path).expanduser()


def _find(source: str, place: Path | None, root: Path, options: "SourceOptions") -> "SourceReader":
    """The reader of a source for the files at ``place``."""
    import importlib
    from shlex import quote

    from understudy.data.detect import fitting_source

    if source not in SOURCES:
        hint = suggest(source, SOURCES, otherwise="choose one of")
        raise UnderstudyError(f"unknown data source {source!r}: {hint}")
    module = importlib.import_module(f"understudy.data.sources.{source}")
    try:
        reader: SourceReader = module.Reader.find(place, root, options)
    except UnderstudyError as error:
        fitting = None if place is None else fitting_source(place)
        if fitting in (None, source) or source == "digits":
            raise
        raise UnderstudyError(
            f"{error}. It looks like data of the source {fitting}: set data.source={fitting}, or "
            f"let `understudy init {quote(str(place))}` write a recipe"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise UnderstudyError(f"cannot read {str(place)!r}: {error}") from error
    return reader


def _check(arrays: "Arrays") -> None:
    from understudy.data.dataset import Split, check_split

    num_classes = len(arrays.class_names)
    train = Split.from_arrays(arrays.train_images, arrays.train_labels)
    check_split("train", train, num_classes)
    test = Split.from_arrays(arrays.test_images, arrays.test_labels)
    check_split("test", test, num_classes)
    first = int(arrays.train_labels[0])
    if (arrays.train_labels == first).all():
        raise UnderstudyError(
            f"all training images are of one class ({arrays.class_names[first]}): "
            "at least two classes are needed"
        )
