"""The pictures of a run in its report: what was read, what is wrong with it, and how it looks."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.data.inspection import ClassCounts, Inspection
from understudy.data.names import shown
from understudy.errors import UnderstudyError
from understudy.files import from_json
from understudy.report.format import number
from understudy.runs.folder import RunFolder
from understudy.runs.results import AGAIN

SPLITS = {"train": "training", "val": "validation", "test": "test"}
"""Name of a split -> its heading."""
_MOST_NAMES = 4
"""Names of a group of duplicates, and of files that were passed over."""


@dataclass(frozen=True)
class Table:
    """A title, headings, and rows of cells, the first of which names the row."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Pictures:
    """What the page shows of a data set.

    Attributes:
        warnings: what to repair, or would have been.
        facts: sentences on what was read, and what is good to know.
        classes: images of each class and split.
        details: tables that are folded away: unreadable images, duplicates, what was passed over.
        sheet: the contact sheet as a URL with all its bytes; empty if there is none.
    """

    warnings: Sequence[str]
    facts: Sequence[str]
    classes: Table
    details: Sequence[Table]
    sheet: str


def pictures_section(run: Path) -> Pictures | None:
    """From ``data.json`` and the contact sheet; ``None`` if the data set has no image files.

    Raises:
        UnderstudyError: if ``data.json`` is damaged.
    """
    folder = RunFolder(run)
    found = read_inspection(folder.inspection)
    if found is None:
        return None
    sheet = ""
    if folder.contact_sheet.exists():
        encoded = base64.b64encode(folder.contact_sheet.read_bytes()).decode()
        sheet = f"data:image/png;base64,{encoded}"
    details = [_unreadable(found), _duplicates(found), _passed_over(found)]
    return Pictures(
        found.warnings,
        [*found.notes, *image_facts(found), *found.remarks],
        _classes(found),
        [table for table in details if table.rows],
        sheet,
    )


def read_inspection(path: Path) -> Inspection | None:
    """The contents of a ``data.json``; ``None`` if there is none.

    Raises:
        UnderstudyError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UnderstudyError(f"{path} cannot be read ({error}): {AGAIN}") from None
    return from_json(Inspection, content, str(path), AGAIN)


def image_facts(found: Inspection) -> list[str]:
    """Sizes, formats and modes, a line each."""
    facts = []
    if found.sizes is not None:
        sizes = found.sizes
        small, median, large = (
            f"{width}x{height}" for width, height in (sizes.smallest, sizes.median, sizes.largest)
        )
        if sizes.distinct == 1:
            facts.append(f"All images are of {small} pixels (width x height)")
        else:
            facts.append(
                f"Images of {small} to {large} pixels (width x height), median {median}; "
                f"{sizes.distinct:,} different sizes"
            )
    if found.formats:  # of arrays there are none
        facts.append(f"Formats: {_counted(found.formats)}; pixels: {_counted(found.modes)}")
    return facts


def splits_with_images(classes: Sequence[ClassCounts]) -> list[str]:
    """Those of :data:`SPLITS` in which any class has images."""
    return [split for split in SPLITS if any(getattr(entry, split) for entry in classes)]


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in numbers.items())


def _classes(found: Inspection) -> Table:
    splits = splits_with_images(found.classes)
    rows = [
        [shown(entry.name), *(number(getattr(entry, split), 0) for split in splits)]
        for entry in found.classes
    ]
    return Table("Images of each class", ["class", *(SPLITS[split] for split in splits)], rows)


def _unreadable(found: Inspection) -> Table:
    left_out = ", left out" if found.skipped_bad else ""
    title = f"{len(found.unreadable):,} that cannot be read{left_out}"
    rows = [[shown(image.name), image.reason] for image in found.unreadable]
    return Table(title, ["image", "why"], rows)


def _duplicates(found: Inspection) -> Table:
    counts = [f"{count:,} {place}" for place, count in found.num_duplicates.items()]
    rows = [
        [
            group.kind,
            number(group.count, 0),
            ", ".join(group.splits),
            ", ".join(group.classes),
            ", ".join(group.names[:_MOST_NAMES]),
        ]
        for group in found.duplicates
    ]
    title = f"Images that show the same: {', '.join(counts)}"
    return Table(title, ["kind", "images", "splits", "classes", "such as"], rows)


def _passed_over(found: Inspection) -> Table:
    rows = [
        [entry.reason, number(entry.count, 0), ", ".join(map(shown, entry.examples[:_MOST_NAMES]))]
        for entry in found.passed_over
    ]
    return Table("Files that were passed over", ["why", "files", "such as"], rows)
