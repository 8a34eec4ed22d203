"""Reports: tables, figures and one self-contained page for a run or a sweep. Trains nothing.

Importing this package loads no matplotlib, Jinja2 or rich; the functions that need them do.
"""

from understudy.report.run.csv_file import write_csv
from understudy.report.run.table import markdown_table
from understudy.report.sweep.page import write_sweep_report
from understudy.report.write import write_report
from understudy.runs.results import read_results

__all__ = [
    "markdown_table",
    "read_results",
    "write_csv",
    "write_report",
    "write_sweep_report",
]
