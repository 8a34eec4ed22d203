"""A data set as a scan found it: tables and sentences on standard output."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from understudy.data.inspection import Inspection
from understudy.data.names import shown
from understudy.report.run.pictures import image_facts, splits_with_images
from understudy.terminal.tables import table

MOST_CLASSES = 30
"""Rows of the table of classes; ``--json`` has all."""
MOST_ROWS = 20
"""Rows of the table of unreadable images."""
MOST_GROUPS = 10
"""Rows of the table of duplicates."""


def show_inspection(found: Inspection) -> None:
    """Print what was read, the counts of each class, what is wrong, and what is good to know."""
    console = Console(emoji=False)

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    line(f"{shown(found.name)}: {found.num_images:,} images of {len(found.classes):,} classes")
    for note in found.notes:
        line(note)
    for fact in image_facts(found):
        line(fact)
    console.print(table(class_rows(found)))
    if len(found.classes) > MOST_CLASSES:
        line(f"The {MOST_CLASSES} largest of {len(found.classes):,} classes; --json shows all.")
    _show_part(console, "Passed over", _passed_over(found))
    _show_part(console, "Cannot be read", _unreadable(found), len(found.unreadable))
    _show_part(console, "Duplicates", _duplicates(found), len(found.duplicates))
    for sentence in found.remarks:
        line(f"Note: {sentence}")
    for sentence in found.warnings:
        line(f"Warning: {sentence}")
    if not found.warnings:
        line("Nothing to repair.")


def class_rows(found: Inspection, most: int = MOST_CLASSES) -> list[dict[str, object]]:
    """A row for each class, the largest first if not all are shown; splits without images are left
    out."""
    classes = found.classes
    if len(classes) > most:
        classes = tuple(sorted(classes, key=lambda entry: -entry.total)[:most])
    splits = splits_with_images(found.classes)
    return [
        {"class": shown(entry.name)} | {split: getattr(entry, split) for split in splits}
        for entry in classes
    ]


def _passed_over(found: Inspection) -> list[dict[str, object]]:
    return [
        {"why": entry.reason, "files": entry.count, "such as": _names(entry.examples)}
        for entry in found.passed_over
    ]


def _unreadable(found: Inspection) -> list[dict[str, object]]:
    return [
        {"image": shown(image.name), "why": image.reason} for image in found.unreadable[:MOST_ROWS]
    ]


def _duplicates(found: Inspection) -> list[dict[str, object]]:
    return [
        {
            "kind": group.kind,
            "images": group.count,
            "splits": ", ".join(group.splits),
            "classes": _names(group.classes),
            "such as": " = ".join(group.names[:2]),
        }
        for group in found.duplicates[:MOST_GROUPS]
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names))


def _show_part(
    console: Console, title: str, rows: Sequence[Mapping[str, object]], count: int | None = None
) -> None:
    """A table with a title, and how many rows it leaves out."""
    if not rows:
        return
    console.print(title)
    console.print(table(rows))
    if count is not None and count > len(rows):
        console.print(f"{count - len(rows):,} more; --json shows all.")
