"""Images to train on: ``load_dataset`` finds a source, decodes it once and maps the result. Importing this loads no torch."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.data.dataset import Dataset
    from understudy.data.sources.base import Arrays, NewArray

SOURCES: dict[str, str] = {
    "digits": "1,797 handwritten digits embedded in scikit-learn, as 32x32 RGB; needs no files",
    "cifar10": "CIFAR-10: the official binary archive (downloaded on first use), its extracted folder, or a Parquet copy",
    "parquet": "a folder or file in the Hugging Face image layout; columns found from the features, else by name",
    "imagefolder": "train/<class>/* with test/<class>/* or val/<class>/*, or <class>/* alone",
    "npz": "an .npz file with x_train, y_train, x_test, y_test, or images, labels",
}
"""The data sources: name -> one line. The source NAME is the file ``understudy/data/NAME.py`` with ``find`` and ``load``."""


def load_dataset(
    source: str,
    path: str | Path | None = None,
    *,
    image_size: int | None = None,
    cache_dir: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> "Dataset":
    """Open a data set; the first time, decode it into the cache.

    Args:
        source: a name from ``SOURCES``.
        path: the local copy; None takes UNDERSTUDY_DATA (which ``digits`` does not read). ``cifar10`` with neither is downloaded.
        image_size: pixels a side to bring all images to; None keeps their own size (32 for digits).
        cache_dir: where decoded images and downloads are kept; None takes UNDERSTUDY_CACHE, else the user's cache folder.
        progress: ``progress(what, done, total)``, called while decoding and downloading.

    Returns:
        The data set, its images mapped from the cache: uint8 ``[N, 3, H, W]``.

    Raises:
        UnderstudyError: for an unknown source, missing or corrupt files, labels out of range, an empty split, a single class.
    """
    if source not in SOURCES:
        raise UnderstudyError(f"unknown data source {source!r}: choose one of {', '.join(SOURCES)}")
    if image_size is not None and image_size < 1:
        raise UnderstudyError(f"data.image_size must be at least 1, not {image_size}")
    import importlib

    from understudy.data.dataset import Dataset, SealedSplit, Split
    from understudy.data.image_cache import cache_key, cache_root, open_or_build
    from understudy.data.sources.base import no_progress

    if path is None and source != "digits":
        path = os.environ.get("UNDERSTUDY_DATA") or None
    root = cache_root(cache_dir)
    place = None if path is None else Path(path).expanduser()
    try:
        found = importlib.import_module(f"understudy.data.sources.{source}").find(place, root)
    except OSError as error:
        raise UnderstudyError(f"cannot read {place}: {error}") from error

    def build(new_array: "NewArray") -> "Arrays":
        arrays: Arrays = found.load(
            image_size=image_size, new_array=new_array, progress=progress or no_progress
        )
        _check(arrays)  # before the cache keeps it
        return arrays

    entry = open_or_build(root, cache_key(source, found.identity, image_size), build)
    arrays = entry.arrays
    return Dataset(
        name=found.name,
        train=Split.from_arrays(arrays.train_images, arrays.train_labels),
        test=SealedSplit(Split.from_arrays(arrays.test_images, arrays.test_labels)),
        class_names=arrays.class_names,
        fingerprint=entry.fingerprint,
    )


def _check(arrays: "Arrays") -> None:
    from understudy.data.dataset import Split, check_split

    check_split(
        "train",
        Split.from_arrays(arrays.train_images, arrays.train_labels),
        len(arrays.class_names),
    )
    check_split(
        "test", Split.from_arrays(arrays.test_images, arrays.test_labels), len(arrays.class_names)
    )
    first = int(arrays.train_labels[0])
    if (arrays.train_labels == first).all():
        raise UnderstudyError(
            f"all training images are of one class ({arrays.class_names[first]}): at least two classes are needed"
        )
