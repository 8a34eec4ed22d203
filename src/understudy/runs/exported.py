"""What the exports of a run measured: ``deploy/export.json``."""

import json
from pathlib import Path

from understudy.errors import UnderstudyError, one_line
from understudy.evaluation.deployment import ExportResults
from understudy.files import from_json
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
    if not path.exists():
        return None
    advice = "run understudy export again"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UnderstudyError(f"{path} cannot be read ({one_line(error)}): {advice}") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UnderstudyError(
            f"{path} has schema {schema!r}, this version reads {SCHEMA}: {advice}"
        )
    return from_json(ExportResults, content, str(path), advice)
