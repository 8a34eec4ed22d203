"""``parquet``: tables with encoded images, in the layout of Hugging Face image data sets."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from understudy.data.annotations import Annotations
from understudy.data.columns import Table, choose_columns, refuse_roles
from understudy.data.decoding import Decoding, decode_all, refuse_bad, refuse_empty
from understudy.data.identity import identity
from understudy.data.inspection import BadImage
from understudy.data.names import shown
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

IMAGE_COLUMNS = ("img", "image", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label")
_BATCH = 1024  # rows read at a time


class Reader(SourceReader):
    """A folder of Parquet files, or one file.

    The split of a file is the start of its name (else of its folder's name), as the Hub has it:
    ``train``, ``test``, or ``validation`` (``valid``, ``val``). If no file is a test split a
    stratified fifth of the training rows is cut off, with a fixed seed; if no file names a split at
    all, all are training rows. Files of other splits next to a ``train`` one are not read.

    The image and the label column are those of ``data.columns``, else of type Image and ClassLabel
    in the ``huggingface`` metadata of the schema, else they are found by name: img, image or
    images; label, labels or fine_label. Class names are the ClassLabel's, else the values of the
    labels in sorted order. Rows with the same value in the column ``group`` are never on both sides
    of a cut.
    """

    def __init__(
        self, path: Path, identity: str = "", columns: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.path, self.columns = path, columns
        self.name, self.identity = path.name if path.is_dir() else path.stem, identity

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The Parquet file at ``path``, or all in the folder there."""
        if path is None:
            raise UnderstudyError(
                "the parquet source needs a folder or file: "
                "give it with --data PATH or UNDERSTUDY_DATA"
            )
        refuse_options("parquet", options, "columns")
        refuse_roles("parquet", options.columns, ("image", "label", "group"))
        place = existing(path)
        root = place if place.is_dir() else place.parent
        return cls(place, identity(root, parquet_files(place)), options.columns)

    def read(self, decoding: Decoding) -> Arrays:
        root = self.path if self.path.is_dir() else self.path.parent
        splits = _by_split(parquet_files(self.path), root)
        image_column, label_column, names = _columns(splits["train"][0], self.columns)
        values = {split: _label_values(files, label_column) for split, files in splits.items()}
        for split, held in values.items():
            refuse_empty(split, len(held))
        labels, class_names = _as_indices(values, label_column, names)
        groups = self._groups(splits)
        blocks = _blocks(labels, groups, class_names)
        split, wanted = blocks["train"][0]
        size = decoding.size_for(_encoded(splits[split], image_column, wanted, batch=1))
        images: dict[str, np.ndarray] = {}
        bad: list[BadImage] = []
        for block, parts in blocks.items():  # a disk that is too small is found before any decoding
            count = sum(int(wanted.sum()) for _, wanted in parts)
            images[block] = decoding.allocate(block, count, size)
        for block, parts in blocks.items():
            encoded = itertools.chain.from_iterable(
                _encoded(splits[split], image_column, wanted) for split, wanted in parts
            )
            bad += decode_all(encoded, images[block], decoding, f"decoding {block} images")
        refuse_bad(bad)
        train_labels, test_labels = (_taken(labels, blocks[block]) for block in ("train", "test"))
        is_val = {split: np.full(len(held), split == "val") for split, held in labels.items()}
        own = Annotations(
            own_val=_taken(is_val, blocks["train"]) if "val" in splits else None,
            train_groups=None if groups is None else _taken(groups, blocks["train"]),
            test_groups=None if groups is None else _taken(groups, blocks["test"]),
            has_own_test="test" in splits,
        )
        return Arrays(images["train"], train_labels, images["test"], test_labels, class_names, own)

    def _groups(self, splits: Mapping[str, Sequence[Path]]) -> dict[str, np.ndarray] | None:
        """int64 ``[N]`` for each split, from the column ``group``; ``None`` without one."""
        column = self.columns.get("group")
        if column is None:
            return None
        values = {split: _label_values(files, column) for split, files in splits.items()}
        distinct = dict.fromkeys(value for held in values.values() for value in held)
        numbers = {value: number for number, value in enumerate(distinct)}
        return {
            split: np.array([numbers[value] for value in held], np.int64)
            for split, held in values.items()
        }


_Parts = list[tuple[str, np.ndarray]]
"""Parts of a block: a split, and bool ``[N]``, which rows of its files belong to the block."""


def _blocks(
    labels: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray] | None,
    class_names: tuple[str, ...],
) -> dict[str, _Parts]:
    """What makes up the ``train`` block, own validation rows at its end, and the ``test`` block."""
    whole = {split: np.ones(len(held), bool) for split, held in labels.items()}
    val = [("val", whole["val"])] if "val" in labels else []
    if "test" in labels:
        return {"train": [("train", whole["train"]), *val], "test": [("test", whole["test"])]}
    own_groups = None if groups is None else groups["train"]
    _, cut = cut_test(labels["train"], own_groups, class_names)
    is_test = np.zeros(len(labels["train"]), bool)
    is_test[cut] = True
    return {"train": [("train", ~is_test), *val], "test": [("train", is_test)]}


def _taken(values: Mapping[str, np.ndarray], parts: _Parts) -> np.ndarray:
    """The values of the rows of a block."""
    return np.concatenate([values[split][wanted] for split, wanted in parts])


def read_table(path: Path, chosen: Mapping[str, str]) -> Table:
    """The columns of a Parquet file that have a role, as text: image *paths*, labels, ...

    Raises:
        UnderstudyError: if it is no Parquet file, or has no such columns.
    """
    with _open(path) as table:
        names = table.schema_arrow.names
    columns = choose_columns(names, chosen, path.name)
    held = {role: _label_values([path], name) for role, name in columns.items()}
    for role, values in held.items():
        kinds = {type(value) for value in values}
        if not kinds <= {str, int}:
            raise UnderstudyError(
                f"column {columns[role]} of {path.name} holds {max(k.__name__ for k in kinds)}, "
                "not text or integers: set data.source=parquet if it holds the images themselves"
            )
    text = {role: [str(value) for value in values] for role, values in held.items()}
    read = ", ".join(f"{role} from {shown(name)}" for role, name in columns.items())
    rows = [f"row {row}" for row in range(len(text["image"]))]
    return Table(path.name, text, rows, (f"columns of {path.name}: {read}",))


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the ``*.parquet`` files in the folder (else below it), sorted.

    Raises:
        UnderstudyError: if there are none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.parquet")) or sorted(path.rglob("*.parquet"))
    if not files:
        raise UnderstudyError(f"{path} has no *.parquet files")
    return files


def _by_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Files of ``train`` and, if there are some, of ``val`` and ``test``."""
    found: dict[str, list[Path]] = {}
    for file in files:
        names = [part.lower() for part in reversed(file.relative_to(root).parts)]
        starts = [s for name in names for s in ("train", "test", "val") if name.startswith(s)]
        split = starts[0] if starts else "other"
        found.setdefault(split, []).append(file)
    if set(found) == {"other"}:
        return {"train": found["other"]}
    if "train" not in found:
        raise UnderstudyError(
            f"no Parquet file in {root} is called train*: "
            f"its files are of the splits {', '.join(sorted(found))}"
        )
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _open(file: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UnderstudyError(
            "reading Parquet needs pyarrow: pip install understudy[data]"
        ) from error
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UnderstudyError(
            f"cannot read {file} as Parquet ({one_line(error)}): is it complete?"
        ) from error


def _columns(file: Path, chosen: Mapping[str, str]) -> tuple[str, str, tuple[str, ...] | None]:
    """Image column, label column and, if the metadata has them, class names."""
    with _open(file) as table:
        schema = table.schema_arrow
    for wanted in chosen.values():
        if wanted not in schema.names:
            hint = suggest(wanted, schema.names, otherwise="it has")
            raise UnderstudyError(f"{file.name} has no column {wanted!r}: {hint}")
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"][
            "features"
        ]
        kinds = {
            name: feature.get("_type") for name, feature in features.items() if name in schema.names
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        features, kinds = {}, {}
    image: str | None = chosen.get("image") or _choose(
        [name for name, kind in kinds.items() if kind == "Image"], IMAGE_COLUMNS, schema.names
    )
    label: str | None = chosen.get("label") or _choose(
        [name for name, kind in kinds.items() if kind == "ClassLabel"], LABEL_COLUMNS, schema.names
    )
    for what, column, usual in (("image", image, IMAGE_COLUMNS), ("label", label, LABEL_COLUMNS)):
        if column is None:
            raise UnderstudyError(
                f"{file.name} has no {what} column: it has {', '.join(schema.names)}; "
                f"call it {' or '.join(usual)}, or name it: data.columns={{{what}: NAME}} in a "
                f"recipe, --columns '{{{what}: NAME}}' of init and inspect"
            )
    assert image is not None and label is not None
    names = features[label].get("names") if kinds.get(label) == "ClassLabel" else None
    return image, label, tuple(str(name) for name in names) if names else None


def _choose(typed: list[str], usual: tuple[str, ...], present: list[str]) -> str | None:
    """The usual name among the columns of the right type, else the first of these.

    Without a column of that type: the usual name among all columns.
    """
    for candidates in (typed, present):
        named = [name for name in usual if name in candidates]
        if named:
            return named[0]
        if typed:
            return typed[0]
    return None


def _label_values(files: Sequence[Path], column: str) -> list[Any]:
    """Of a column of labels or groups."""
    values: list[Any] = []
    for file in files:
        for _, batch in _batches(file, column, _BATCH * 64):
            if batch.null_count:
                row = batch.is_null().index(True).as_py()
                raise UnderstudyError(f"row {row} of {file.name} has no value in column {column}")
            values += batch.to_pylist()
    return values


def _as_indices(
    values: dict[str, list[Any]], column: str, names: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels as int64 and the class names."""
    kinds = {type(value) for held in values.values() for value in held}
    if kinds != {int} and kinds != {str}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UnderstudyError(
            f"the labels in column {column} are of type {found}: they must be integers or strings"
        )
    if names is not None and kinds == {int}:
        return {split: np.array(held, np.int64) for split, held in values.items()}, names
    known: Sequence[Any] = names if names is not None else sorted(set(values["train"]))
    index = {value: number for number, value in enumerate(known)}
    for split, held in values.items():
        strangers = set(held) - set(index)
        if strangers:
            what = (
                f"is none of the {len(known)} class names"
                if names is not None
                else "does not occur in the train split"
            )
            raise UnderstudyError(
                f"label {sorted(strangers)[0]!r} of the {split} split is out of range: it {what}"
            )
    return {
        split: np.array([index[value] for value in held], np.int64)
        for split, held in values.items()
    }, tuple(map(str, known))


def _batches(file: Path, column: str, size: int) -> Iterator[tuple[int, Any]]:
    """First row and Arrow array of each batch of a column."""
    import pyarrow as pa

    with _open(file) as table:
        if column not in table.schema_arrow.names:
            raise UnderstudyError(
                f"{file.name} has no column {column}, which the other files have: "
                f"{', '.join(table.schema_arrow.names)}"
            )
        row = 0
        try:
            for batch in table.iter_batches(batch_size=size, columns=[column]):
                yield row, batch.column(0)
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise UnderstudyError(
                f"cannot read {file} after row {row} ({one_line(error)}): is it complete?"
            ) from error


def _encoded(
    files: Sequence[Path], column: str, wanted: np.ndarray, batch: int = _BATCH
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image whose row, counted over all files, is wanted."""
    import pyarrow as pa

    before = 0
    for file in files:
        rows = 0
        for start, images in _batches(file, column, batch):
            rows = start + len(images)
            if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
                images = images.field("bytes")
            if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
                raise UnderstudyError(
                    f"column {column} of {file.name} holds {images.type}, not the bytes of "
                    "encoded images: set data.source=csv if it holds paths of image files"
                )
            for row, data in enumerate(images.to_pylist(), start):
                if wanted[before + row]:
                    where = f"row {row} of {file.name}"
                    if data is None:
                        raise UnderstudyError(
                            f"{where}: column {column} holds no image bytes (only a path?); "
                            "embed the images"
                        )
                    yield where, data
        before += rows
