"""From the folder of a run or a sweep to its ``report.html``."""

from pathlib import Path

from understudy.report.folds import write_folds_report
from understudy.report.run.page import write_run_report
from understudy.report.sweep.page import write_sweep_report
from understudy.runs.folds import FoldsFolder
from understudy.runs.results import is_sweep


def write_report(folder: Path, *, figures: bool = True) -> Path:
    """Write ``report.html`` and its figures into the folder of a run, a sweep or a
    cross-validation.

    The same folder gives the same bytes. With ``figures=False`` nothing is drawn and matplotlib is
    not loaded.

    Returns:
        the path of ``report.html``.

    Raises:
        UnderstudyError: if ``results.json`` (``folds.json``) is missing or damaged.
    """
    if FoldsFolder(Path(folder)).record.exists():
        return write_folds_report(Path(folder))
    write = write_sweep_report if is_sweep(Path(folder)) else write_run_report
    return write(Path(folder), figures=figures)
