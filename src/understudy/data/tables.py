"""The listing of a table that names an image file and a label in each row."""

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from understudy.data.arrange import arranged
from understudy.data.class_names import match_classes
from understudy.data.columns import Table
from understudy.data.identity import identity_of, state_of
from understudy.data.layout import SPLIT_FOLDERS, split_named
from understudy.data.listing import SPLIT_NAMES, Listing, Sample, SplitName
from understudy.data.litter import Census
from understudy.data.names import counted, listed, normalised, refuse_undecodable, shown
from understudy.data.options import SourceOptions
from understudy.errors import UnderstudyError


def list_table(table: Table, root: Path, name: str, options: SourceOptions) -> tuple[Listing, str]:
    """The images that a table names, and an identity of their files.

    Args:
        table: with columns ``image`` (paths inside ``root``) and ``label``, perhaps ``split``,
            ``group`` and ``slice``.
        root: the folder of the table.
        name: of the data set.
        options: how it is read.

    Raises:
        UnderstudyError: naming files that are missing or outside of the folder, rows without a
            label, images with two labels, classes that train does not have.
    """
    paths = [_inside(path, root, table.where) for path in table.columns["image"]]
    refuse_undecodable(paths, table.where)
    rows, notes = _without_repeats(table, paths)
    states = _states(root, [paths[row] for row in rows], table.where, options.skip_bad)
    census = Census()
    census.add_all("a missing file", (paths[row] for row in rows if paths[row] not in states))
    rows = [row for row in rows if paths[row] in states]
    splits = _splits(table)
    labels = _labels(table)
    found: dict[SplitName, list[str]] = {}
    for split in SPLIT_NAMES:
        present = {labels[row] for row in rows if splits[row] == split}
        if present or split == "train":
            found[split] = sorted(present)
    if not found["train"]:
        raise UnderstudyError(f"{table.where} has no rows of the train split")
    class_names, class_notes = match_classes(found, table.where)
    if all(name.isdecimal() for name in class_names):
        class_names = tuple(sorted(class_names, key=int))
    index = {class_name: label for label, class_name in enumerate(class_names)}
    more = {role: table.columns.get(role) for role in ("group", "slice")}
    samples = [
        Sample(
            paths[row],
            index[labels[row]],
            splits[row],
            **{role: values[row] for role, values in more.items() if values is not None},
        )
        for row in rows
    ]
    names = [paths[row] for row in rows]

    def encoded(positions: Sequence[int]) -> Iterator[tuple[str, Path]]:
        for position in positions:
            path = os.path.join(root, names[position])
            yield shown(path), Path(path)

    listing = arranged(
        name,
        class_names,
        samples,
        encoded,
        options,
        passed_over=census.results(),
        notes=[*table.notes, *notes, *class_notes],
    )
    return listing, identity_of(root, names, list(states.values()))


def _inside(path: str, root: Path, where: str) -> str:
    """A path as it is written in a table, relative to the table's folder, with slashes."""
    clean = posixpath.normpath(path.replace("\\", "/")) if path else "."
    clean = clean.removeprefix(f"{root.as_posix()}/")
    is_absolute = clean.startswith("/") or clean[1:3] == ":/"
    if clean == "." or "\0" in clean or is_absolute or clean.split("/")[0] == "..":
        raise UnderstudyError(
            f"{where} names the image {shown(path)!r}: paths must lie in the folder of the table "
            f"({shown(str(root))}), best relative to it; move the table to a folder above the "
            "images"
        )
    return clean


def _without_repeats(table: Table, paths: Sequence[str]) -> tuple[list[int], list[str]]:
    """The first row of each image, and a note on the others."""
    first: dict[str, int] = {}
    contradictions = []
    for row, path in enumerate(paths):
        known = first.setdefault(path, row)
        if any(values[row] != values[known] for values in _facts(table)):
            contradictions.append(f"{path} ({table.rows[known]}, {table.rows[row]})")
    if contradictions:
        raise UnderstudyError(
            f"{table.where} has {counted(len(contradictions), 'image')} with two different "
            f"entries: {listed(contradictions)}; keep one of them"
        )
    repeats = len(paths) - len(first)
    note = f"{counted(repeats, 'repeated row')} of the same image and label read once"
    return list(first.values()), [note] if repeats else []


def _facts(table: Table) -> list[Sequence[str]]:
    return [values for role, values in table.columns.items() if role != "image"]


def _splits(table: Table) -> list[SplitName]:
    """The split of each row; all are of train in a table without such a column."""
    values = table.columns.get("split")
    if values is None:
        return ["train"] * len(table.rows)
    found = {value: split_named(value) for value in set(values)}
    unknown = sorted(value for value, split in found.items() if split is None)
    if unknown:
        raise UnderstudyError(
            f"{table.where} names the splits {listed([value or '(none)' for value in unknown])}: "
            f"known are {', '.join(SPLIT_FOLDERS)}"
        )
    return [split for value in values if (split := found[value])]


def _labels(table: Table) -> list[str]:
    """Labels as text in composed form; integers without leading zeros."""
    labels = table.columns["label"]
    empty = [row for row, label in zip(table.rows, labels, strict=True) if not label]
    if empty:
        raise UnderstudyError(
            f"{table.where} has {counted(len(empty), 'row')} without a label: {listed(empty)}"
        )
    if all(label.isdecimal() for label in set(labels)):
        return [str(int(label)) for label in labels]
    return [normalised(label) for label in labels]


def _states(root: Path, names: Sequence[str], where: str, skip_bad: bool) -> dict[str, bytes]:
    """File -> its state, in the order of the names; refuses missing ones or leaves them out."""
    found, missing = {}, []
    for name in names:
        try:
            state = os.stat(os.path.join(root, name))
        except OSError:
            missing.append(name)
            continue
        if stat.S_ISREG(state.st_mode):
            found[name] = state_of(state)
        else:
            missing.append(name)
    if missing and not (skip_bad and found):
        raise UnderstudyError(
            f"{where} names {counted(len(missing), 'file')} of {len(names):,} that "
            f"{'is' if len(missing) == 1 else 'are'} not in {shown(str(root))}: "
            f"{listed(missing, 10)}; paths are relative to the folder of the table"
        )
    return found
