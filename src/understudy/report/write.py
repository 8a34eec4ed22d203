"""From the folder of a run or a sweep to its ``report.html``."""

from pathlib import Path

from understudy.report.run.page import write_run_report
from understudy.report.sweep.page import write_sweep_report
from understudy.runs.results import is_sweep


def write_report(folder: Path, *, figures: bool = True) -> Path:
    """Write ``report.html`` and its figures into the folder of a run or a sweep.

    The same folder gives the same bytes. With ``figures=False`` nothing is drawn and matplotlib is
    not loaded.

    Returns:
        the path of ``report.html``.

    Raises:
        UnderstudyError: if ``results.json`` is missing or damaged.
    """
    write = write_sweep_report if is_sweep(Path(folder)) else write_run_report
    return write(Path(folder), figures=figures)
