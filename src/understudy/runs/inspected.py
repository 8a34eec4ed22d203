"""The images of a run, as they were found: recorded in its folder, and shown before it trains."""

from understudy.data.contact_sheet import contact_sheet
from understudy.data.inspection import Inspection
from understudy.data.names import counted, shown
from understudy.data.prepare import TrainingData
from understudy.files import write_bytes, write_json
from understudy.runs.folder import RunFolder

_MOST_LINES = 6
"""Warnings that are shown before a training; the report lists all."""


def record_inspection(data: TrainingData, folder: RunFolder) -> None:
    """Write ``data.json`` and the contact sheet of the training images."""
    assert data.inspection is not None, "only image files are inspected"
    write_json(folder.inspection, data.inspection)
    sheet = contact_sheet(data.train, data.class_names, data.config.augment)
    write_bytes(folder.contact_sheet, sheet)


def headline(inspection: Inspection) -> list[str]:
    """What was read as what, and what is wrong with it, in a few lines."""
    classes = inspection.classes
    counts = {
        "training": sum(entry.train for entry in classes),
        "validation": sum(entry.val for entry in classes),
        "test": sum(entry.test for entry in classes),
    }
    splits = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
    lines = [f"{shown(inspection.name)}: {len(classes):,} classes, {splits} images"]
    lines += inspection.notes
    lines += [f"Warning: {sentence}" for sentence in inspection.warnings[:_MOST_LINES]]
    left = len(inspection.warnings) - _MOST_LINES
    if left > 0:
        lines.append(f"{counted(left, 'more warning')}: `understudy inspect data PATH` shows all")
    return lines
