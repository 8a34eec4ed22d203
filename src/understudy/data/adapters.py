"""What users have as data, as parts of one shape: arrays, data sets of torch and Hugging Face,
lists, tables. Each kind is one small function; nothing is decoded here."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import IterableDataset

from understudy.data.columns import choose_columns
from understudy.data.layout import split_named
from understudy.data.listing import SplitName
from understudy.data.names import listed
from understudy.data.pixels import is_block
from understudy.errors import UnderstudyError, one_line

IMAGE_KEYS = ("image", "img", "images", "pixel_values", "x", "X", "file", "path")
LABEL_KEYS = ("label", "labels", "fine_label", "target", "targets", "class", "y")
"""Names of the image and the label in a mapping, the first that is there."""
KINDS = (
    "a folder, an archive or a table of images (a path), hf:NAME, arrays (X, y), a dict such as "
    "{'train': (X, y), 'test': (X, y)}, a torch Dataset or DataLoader, a datasets.Dataset, a list "
    "of {'image': ..., 'label': ...}, or the result of understudy.load_dataset"
)


@dataclass(frozen=True, eq=False)
class Part:
    """Labelled images of one split, not decoded yet.

    Attributes:
        length: how many there are.
        images: all of them in one array or tensor; ``None`` if they come one by one.
        labels: theirs, with ``images``.
        pairs: gives the items one by one as (image, label), in order.
        class_names: that the data has itself, index = label; ``None`` without any.
        notes: sentences on how it is read, for people.
    """

    length: int
    images: Any = None
    labels: Any = None
    pairs: Callable[[], Iterator[tuple[Any, Any]]] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


Parts = Mapping[SplitName | None, Part]
"""Split -> images; a single part without a name has the key ``None``."""


def parts_of(data: Any) -> Parts:
    """The parts of what a user gave.

    Raises:
        UnderstudyError: for anything that is no labelled images: the message lists what is.
    """
    if isinstance(data, Mapping):
        return _of_mapping(data)
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_pair, data)):
        return {"train": _part(data[0]), "test": _part(data[1])}  # as keras.datasets has them
    if _is_from(data, "pandas") and hasattr(data, "columns"):
        return _of_frame(data)
    return {None: _part(data)}


def _part(data: Any) -> Part:
    """One part.

    Raises:
        UnderstudyError: as :func:`parts_of`.
    """
    if _is_pair(data):
        return _of_arrays(*data)
    if is_block(data):
        raise UnderstudyError(
            f"data is {type(data).__name__} of shape {list(data.shape)} without labels: give (X, y)"
        )
    if _is_from(data, "datasets") and hasattr(data, "features"):
        return _of_table(data)
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        return _of_loader(data)
    tensors = getattr(data, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) == 2:  # a TensorDataset
        return _of_arrays(*tensors)
    if isinstance(data, IterableDataset):
        return _of_iterable(data)
    is_text = isinstance(data, str | bytes | tuple)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not is_text:
        return _of_items(data)
    if isinstance(data, Iterable) and not is_text:
        return _of_iterable(data)
    raise UnderstudyError(f"data cannot be {_kind(data)}: give {KINDS}")


def _is_pair(data: Any) -> bool:
    """Whether it is (X, y): many images, and as many labels."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    images, labels = data
    return (is_block(images) or isinstance(images, list)) and hasattr(labels, "__len__")


def _of_arrays(images: Any, labels: Any) -> Part:
    if len(images) != len(labels):
        raise UnderstudyError(
            f"X has {len(images):,} images and y {len(labels):,} labels: give one for each image"
        )
    if isinstance(images, list):
        return Part(len(images), pairs=lambda: zip(images, labels, strict=True))
    notes: tuple[str, ...] = ()
    if "float" in str(images.dtype):
        notes = ("floats in [0, 1] are read as bytes, 0 to 255",)
    return Part(len(images), images, labels, notes=notes)


def _of_mapping(data: Mapping[str, Any]) -> Parts:
    splits = {key: split_named(str(key)) for key in data}
    images, labels = _key(data, IMAGE_KEYS), _key(data, LABEL_KEYS)
    if images and labels:
        return {None: _part((data[images], data[labels]))}
    if "train" not in splits.values() and "test" not in splits.values():
        raise UnderstudyError(
            "a dict of data has the keys train and perhaps val and test, or images and labels: "
            f"this one has {listed([str(key) for key in data]) or 'none'}"
        )
    found: dict[SplitName | None, Part] = {}
    unread = []
    for key, split in splits.items():
        if split is None or split in found:
            unread.append(str(key))
        else:
            found[split] = _part(data[key])
    if unread and "train" in found:
        train = found["train"]
        found["train"] = replace(train, notes=(*train.notes, f"not read: {listed(unread)}"))
    return found


def _of_loader(loader: Any) -> Part:
    """The data set of a loader, read once and in order, whatever the loader draws and joins."""
    rows = getattr(getattr(loader, "sampler", None), "indices", None)
    part = _part(loader.dataset) if rows is None else _of_subset(loader.dataset, rows)
    note = "the loader's data set is read once, in order; its batches and workers are not used"
    return replace(part, notes=(*part.notes, note))


def _of_subset(dataset: Any, rows: Iterable[int]) -> Part:
    chosen = sorted(int(row) for row in rows)
    return Part(
        len(chosen),
        pairs=lambda: (_item(dataset, row) for row in chosen),
        class_names=_names_of(dataset),
    )


def _of_items(dataset: Any) -> Part:
    """Anything with a length and numbered items."""
    notes: tuple[str, ...] = ()
    if "Random" in repr(getattr(innermost(dataset), "transform", None)):
        notes = (
            "the data set's transform draws at random: each image is read once, so give it without "
            "and set augment=",
        )
    count = len(dataset)
    return Part(
        count,
        pairs=lambda: (_item(dataset, row) for row in range(count)),
        class_names=_names_of(dataset),
        notes=notes,
    )


def _of_iterable(dataset: Any) -> Part:
    if not hasattr(dataset, "__len__"):
        raise UnderstudyError(
            f"{type(dataset).__name__} has no length and may not end: give a part of it, "
            "list(itertools.islice(dataset, 10_000))"
        )
    count = len(dataset)

    def pairs() -> Iterator[tuple[Any, Any]]:
        found = 0
        for row, item in enumerate(itertools.islice(iter(dataset), count)):
            yield _split_item(item, f"item {row}")
            found += 1
        if found < count:
            raise UnderstudyError(
                f"{type(dataset).__name__} has the length {count:,}, but gives {found:,} items"
            )

    return Part(count, pairs=pairs, class_names=_names_of(dataset))


def _of_table(table: Any) -> Part:
    """A ``datasets.Dataset``: its files are decoded by our rule, as those of a folder are."""
    import datasets

    from understudy.data.sources.hf import image_and_label

    if not hasattr(table, "__len__"):
        return _of_iterable(table)
    if not any(isinstance(feature, datasets.Image) for feature in table.features.values()):
        found = listed(list(table.features))
        raise UnderstudyError(
            f"the data set has no column of type datasets.Image, only {found}: cast the one with "
            "the images, data.cast_column(NAME, datasets.Image())"
        )
    image, label, names = image_and_label(table.features, {}, "the data set")
    plain = table.with_format(None)
    cells = plain.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    labels = list(plain[label])
    return Part(
        len(table),
        pairs=lambda: ((cell[image], value) for cell, value in zip(cells, labels, strict=True)),
        class_names=names,
    )


def _of_frame(frame: Any) -> Parts:
    """A table of pandas: image files, labels, and perhaps splits."""
    if not len(frame):
        raise UnderstudyError("the table is empty: it has no rows")
    names = [str(name) for name in frame.columns]
    columns = choose_columns(names, {}, "the table")
    images, labels = (list(frame[columns[role]]) for role in ("image", "label"))
    if "split" not in columns:
        return {None: _of_arrays(images, labels)}
    rows: dict[SplitName | None, list[int]] = {}
    for row, text in enumerate(frame[columns["split"]]):
        split = split_named(str(text))
        if split is None:
            raise UnderstudyError(
                f"row {row} of the table has the split {text!r}: it is train, val or test"
            )
        rows.setdefault(split, []).append(row)
    return {
        split: _of_arrays([images[row] for row in own], [labels[row] for row in own])
        for split, own in rows.items()
    }


def _item(dataset: Any, row: int) -> tuple[Any, Any]:
    """An item by its number.

    Raises:
        UnderstudyError: with the reason, if the data set fails.
    """
    try:
        item = dataset[row]
    except UnderstudyError:
        raise
    except Exception as error:  # of the user's own code and its decoders
        raise UnderstudyError(
            f"item {row} of {type(dataset).__name__} cannot be read "
            f"({one_line(error, with_type=True)})"
        ) from error
    return _split_item(item, f"item {row}")


def _split_item(item: Any, where: str) -> tuple[Any, Any]:
    """Image and label of an item."""
    if isinstance(item, Mapping):
        image, label = _key(item, IMAGE_KEYS), _key(item, LABEL_KEYS)
        if not image or not label:
            raise UnderstudyError(
                f"{where} has the keys {listed([str(key) for key in item])}: an image and a label "
                "are needed, such as {'image': ..., 'label': ...}"
            )
        return item[image], item[label]
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    raise UnderstudyError(
        f"{where} is {_kind(item)}: it must be (image, label) or {{'image': ..., 'label': ...}}"
    )


def _key(mapping: Mapping[str, Any], known: Sequence[str]) -> str | None:
    return next((key for key in known if key in mapping), None)


def innermost(dataset: Any) -> Any:
    """The data set that a Subset, perhaps of a Subset, is a part of."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset


def _names_of(dataset: Any) -> tuple[str, ...] | None:
    """The classes that a data set of torch, or the one that it is a part of, has as ``classes``."""
    for _ in range(10):  # a Subset of a Subset
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and len(names) and all(map(_is_name, names)):
            return tuple(map(str, names))
        inner = getattr(dataset, "dataset", None)
        if inner is None:
            several = getattr(dataset, "datasets", None) or [None]
            found = {_names_of(one) for one in several if one is not None}
            if len(found) > 1:
                raise UnderstudyError(
                    f"the parts of {type(dataset).__name__} have different lists of classes, so "
                    "their labels mean different things: join data sets of the same classes"
                )
            return found.pop() if found else None
        dataset = inner
    return None


def _is_name(name: Any) -> bool:
    return isinstance(name, str)


def _is_from(value: Any, package: str) -> bool:
    return type(value).__module__.partition(".")[0] == package


def _kind(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
