"""Which column of a table is which, and how a table of text is read."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.data.names import counted, listed, shown
from understudy.errors import UnderstudyError, suggest

USUAL: dict[str, tuple[str, ...]] = {
    "image": ("image", "file", "filename", "file_name", "path", "filepath", "file_path"),
    "label": ("label", "class", "target", "class_name"),
    "split": ("split",),
}
"""Role -> names of columns that are found without ``data.columns``, in any case."""
ROLES = ("image", "label", "split", "group", "slice")
_NEEDED = ("image", "label")
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Table:
    """Columns of text.

    Attributes:
        where: its name, for messages.
        columns: role -> values.
        rows: what the rows are called in messages: ``line 2``, ``row 0``.
        notes: sentences on what was read as what.
    """

    where: str
    columns: Mapping[str, Sequence[str]]
    rows: Sequence[str]
    notes: tuple[str, ...] = ()


def choose_columns(present: Sequence[str], chosen: Mapping[str, str], where: str) -> dict[str, str]:
    """Role -> the column that has it.

    Args:
        present: names of all columns.
        chosen: ``data.columns``; these first, then the usual names.
        where: the table, for messages.

    Raises:
        UnderstudyError: if a chosen column is not there, a role is none of a table's, or no column
            is called as an image's or a label's usually is.
    """
    found = {}
    for role in ROLES:
        if role in chosen:
            if chosen[role] not in present:
                hint = suggest(chosen[role], present, otherwise="it has")
                raise UnderstudyError(f"{where} has no column {chosen[role]!r}: {hint}")
            found[role] = chosen[role]
        else:
            usual = [
                name for known in USUAL.get(role, ()) for name in present if name.lower() == known
            ]
            if usual and usual[0] not in chosen.values():
                found[role] = usual[0]
    for role in _NEEDED:
        if role not in found:
            raise UnderstudyError(
                f"{where} has no {role} column: it has {listed(present, 20)}; call it "
                f"{' or '.join(USUAL[role][:4])}, or name it: data.columns={{{role}: NAME}} in a "
                f"recipe, --columns {role}=NAME of init and inspect"
            )
    return found


def refuse_roles(source: str, chosen: Mapping[str, str], known: Sequence[str]) -> None:
    """Raises UnderstudyError if ``data.columns`` has a key that a source does not read."""
    unknown = [role for role in chosen if role not in known]
    if unknown:
        raise UnderstudyError(
            f"data.columns.{unknown[0]} is not for the source {source}: its keys are "
            f"{', '.join(known)}"
        )


def read_csv(path: Path, chosen: Mapping[str, str]) -> Table:
    """The columns of a CSV file that have a role.

    UTF-8, with or without a byte order mark. The separator is the most frequent one of comma,
    semicolon and tab in the first line, which holds the names of the columns. Spaces around values
    are dropped.

    Raises:
        UnderstudyError: naming line and column of what is wrong.
    """
    where = shown(path.name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnderstudyError(
            f"{where} is not UTF-8 text (at byte {error.start:,}): save it as CSV UTF-8"
        ) from None
    header = io.StringIO(text, newline=None).readline()
    delimiter = max(_DELIMITERS, key=header.count)
    lines, records = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            if any(record):
                lines.append(f"line {reader.line_num}")
                records.append([value.strip() for value in record])
    except csv.Error as error:
        raise UnderstudyError(
            f"cannot read {where} as CSV ({error}, line {reader.line_num}): check its quotes"
        ) from error
    if len(records) < 2:
        raise UnderstudyError(
            f"{where} is empty: it needs a line with the names of its columns, and one for "
            "each image"
        )
    names = records[0]
    for line, record in zip(lines, records, strict=True):
        if len(record) != len(names):
            raise UnderstudyError(
                f"{line} of {where} has {counted(len(record), 'value')}, the first has "
                f"{len(names)} (separated by {delimiter!r}): quote values that contain it"
            )
    columns = choose_columns(names, chosen, where)
    held = {
        role: [record[names.index(name)] for record in records[1:]]
        for role, name in columns.items()
    }
    read = ", ".join(f"{role} from {shown(name)}" for role, name in columns.items())
    others = [name for name in names if name not in columns.values()]
    unread = f"; not read: {listed(others)}" if others else ""
    return Table(where, held, lines[1:], (f"columns of {where}: {read}{unread}",))
