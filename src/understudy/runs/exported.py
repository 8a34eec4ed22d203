"""What the exports of a run measured: ``deploy/export.json``."""

from pathlib import Path

from understudy.evaluation.deployment import ExportResults
from understudy.files import read_record
from understudy.runs.folder import RunFolder

SCHEMA = 1


def read_export(run: Path) -> ExportResults | None:
    """The contents of ``deploy/export.json``; ``None`` if nothing was exported.

    Raises:
        UnderstudyError: if the file is damaged or of another schema.
    """
    return read_export_file(RunFolder(run).export)


def read_export_file(path: Path) -> ExportResults | None:
    """The contents of an ``export.json``; ``None`` if there is none.

    Raises:
        UnderstudyError: if the file is damaged or of another schema.
    """
    return read_record(ExportResults, path, SCHEMA, "run understudy export again")
