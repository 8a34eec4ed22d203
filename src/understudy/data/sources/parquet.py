"""``parquet``: tables with encoded images, in the layout of Hugging Face image data sets."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from understudy.data.annotations import Annotations
from understudy.data.columns import refuse_roles
from understudy.data.decoding import Decoding, decode_all, refuse_bad, refuse_empty
from understudy.data.identity import identity
from understudy.data.inspection import BadImage
from understudy.data.listing import SPLIT_NAMES, Listing, Sample, SplitName
from understudy.data.parquet_files import (
    column_values,
    encoded_rows,
    open_parquet,
    parquet_files,
    row_names,
)
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    SourceOptions,
    SourceReader,
    existing,
    refuse_options,
)
from understudy.data.sources.files import read_listing
from understudy.data.splits import cut_test
from understudy.errors import UnderstudyError, suggest

IMAGE_COLUMNS = ("img", "image", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label")


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
        self,
        path: Path,
        identity: str = "",
        columns: Mapping[str, str] = MappingProxyType({}),
        skip_bad: bool = False,
    ) -> None:
        self.path, self.columns, self.skip_bad = path, columns, skip_bad
        self.name, self.identity = path.name if path.is_dir() else path.stem, identity

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The Parquet file at ``path``, or all in the folder there."""
        if path is None:
            raise UnderstudyError(
                "the parquet source needs a folder or file: "
                "give it with --data PATH or UNDERSTUDY_DATA"
            )
        refuse_options("parquet", options, "columns", "skip_bad")
        refuse_roles("parquet", options.columns, ("image", "label", "group"))
        place = existing(path)
        root = place if place.is_dir() else place.parent
        files = identity(root, parquet_files(place))
        return cls(place, files, options.columns, options.skip_bad)

    def read(self, decoding: Decoding) -> Arrays:
        if self.skip_bad:
            return read_listing(self.listing, decoding, SourceOptions(skip_bad=True))
        rows = self._rows
        blocks = {
            "train": [*rows.blocks["train"], *rows.blocks["val"]],
            "test": rows.blocks["test"],
        }
        split, wanted = blocks["train"][0]
        first = encoded_rows(rows.files[split], rows.image_column, wanted, batch=1)
        size = decoding.size_for(first)
        images: dict[str, np.ndarray] = {}
        bad: list[BadImage] = []
        for block, parts in blocks.items():  # a disk that is too small is found before any decoding
            count = sum(int(wanted.sum()) for _, wanted in parts)
            images[block] = decoding.allocate(block, count, size)
        for block, parts in blocks.items():
            encoded = itertools.chain.from_iterable(
                encoded_rows(rows.files[split], rows.image_column, wanted)
                for split, wanted in parts
            )
            bad += decode_all(encoded, images[block], decoding, f"decoding {block} images")
        refuse_bad(bad)
        labels = {block: _taken(rows.labels, parts) for block, parts in blocks.items()}
        groups = rows.groups
        is_val = {split: np.full(len(held), split == "val") for split, held in rows.labels.items()}
        own = Annotations(
            own_val=_taken(is_val, blocks["train"]) if rows.blocks["val"] else None,
            train_groups=None if groups is None else _taken(groups, blocks["train"]),
            test_groups=None if groups is None else _taken(groups, blocks["test"]),
            has_own_test="test" in rows.files,
        )
        return Arrays(
            images["train"], labels["train"], images["test"], labels["test"], rows.class_names, own
        )

    @cached_property
    def listing(self) -> Listing:
        """The encoded images, for a look at them; a run reads them in the same order."""
        rows = self._rows
        names = {split: row_names(files) for split, files in rows.files.items()}
        groups = rows.groups or {}
        samples, parts = [], []
        for block in SPLIT_NAMES:
            for split, wanted in rows.blocks[block]:
                chosen = np.flatnonzero(wanted)
                parts.append((split, chosen))
                samples += [
                    Sample(
                        names[split][row],
                        int(rows.labels[split][row]),
                        block,
                        str(groups[split][row]) if groups else "",
                    )
                    for row in chosen
                ]

        def encoded(positions: Sequence[int]) -> Iterator[tuple[str, bytes]]:
            in_order = sorted(positions)
            found = _in_parts(in_order)
            if in_order != list(positions):  # a few images: files are read from start to end
                held = dict(zip(in_order, found, strict=True))
                found = (held[position] for position in positions)
            yield from found

        def _in_parts(positions: Sequence[int]) -> Iterator[tuple[str, bytes]]:
            wanted, start = np.array(positions, np.int64), 0
            for split, chosen in parts:
                inside = wanted[(wanted >= start) & (wanted < start + len(chosen))] - start
                mask = np.zeros(len(rows.labels[split]), bool)
                mask[chosen[inside]] = True
                start += len(chosen)
                if mask.any():
                    yield from encoded_rows(rows.files[split], rows.image_column, mask)

        return Listing(self.name, rows.class_names, tuple(samples), encoded, "test" in rows.files)

    @cached_property
    def _rows(self) -> "_Rows":
        root = self.path if self.path.is_dir() else self.path.parent
        files = _by_split(parquet_files(self.path), root)
        image_column, label_column, names = _columns(files["train"][0], self.columns)
        values = {split: column_values(held, label_column) for split, held in files.items()}
        for split, held in values.items():
            refuse_empty(split, len(held))
        labels, class_names = _as_indices(values, label_column, names)
        groups = self._groups(files)
        blocks = _blocks(labels, groups, class_names)
        return _Rows(files, image_column, labels, class_names, groups, blocks)

    def _groups(self, splits: Mapping[str, Sequence[Path]]) -> dict[str, np.ndarray] | None:
        """int64 ``[N]`` for each split, from the column ``group``; ``None`` without one."""
        column = self.columns.get("group")
        if column is None:
            return None
        values = {split: column_values(files, column) for split, files in splits.items()}
        distinct = dict.fromkeys(value for held in values.values() for value in held)
        numbers = {value: number for number, value in enumerate(distinct)}
        return {
            split: np.array([numbers[value] for value in held], np.int64)
            for split, held in values.items()
        }


_Parts = list[tuple[str, np.ndarray]]
"""Parts of a split: whose files, and bool ``[N]``, which of their rows belong to it."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """All rows, labelled, no image read.

    Attributes:
        files: split, as the files are called -> its files.
        image_column: which holds the images.
        labels: int64 ``[N]`` of the rows of each split.
        class_names: one for each label.
        groups: int64 ``[N]``, the same; ``None`` if there are none.
        blocks: ``train``, ``val`` and ``test`` -> their parts; a cut makes two of one split.
    """

    files: Mapping[str, Sequence[Path]]
    image_column: str
    labels: Mapping[str, np.ndarray]
    class_names: tuple[str, ...]
    groups: Mapping[str, np.ndarray] | None
    blocks: Mapping[SplitName, _Parts]


def _blocks(
    labels: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray] | None,
    class_names: tuple[str, ...],
) -> dict[SplitName, _Parts]:
    """What makes up the three splits: a test split is cut off from train if there is none."""
    whole = {split: np.ones(len(held), bool) for split, held in labels.items()}
    val = [("val", whole["val"])] if "val" in labels else []
    if "test" in labels:
        return {"train": [("train", whole["train"])], "val": val, "test": [("test", whole["test"])]}
    own_groups = None if groups is None else groups["train"]
    _, cut = cut_test(labels["train"], own_groups, class_names)
    is_test = np.zeros(len(labels["train"]), bool)
    is_test[cut] = True
    return {"train": [("train", ~is_test)], "val": val, "test": [("train", is_test)]}


def _taken(values: Mapping[str, np.ndarray], parts: _Parts) -> np.ndarray:
    """The values of the rows of a block."""
    return np.concatenate([values[split][wanted] for split, wanted in parts])


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


def _columns(file: Path, chosen: Mapping[str, str]) -> tuple[str, str, tuple[str, ...] | None]:
    """Image column, label column and, if the metadata has them, class names."""
    with open_parquet(file) as table:
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
                f"recipe, --columns {what}=NAME of init and inspect"
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
