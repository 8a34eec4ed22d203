"""What the folder of a run or sweep says, for people: tables, figures, one self-contained page. Reads files, trains nothing.

Importing this package loads neither matplotlib nor Jinja2 nor rich; the functions that need them do.
"""

from understudy.report.run.page import write_report
from understudy.report.run.table import markdown_table, terminal_table, write_csv
from understudy.report.sweep.page import write_sweep_report
from understudy.report.sweep.table import show_sweep, sweep_table
from understudy.runs.results import read_results

__all__ = [
    "markdown_table",
    "read_results",
    "show_sweep",
    "sweep_table",
    "terminal_table",
    "write_csv",
    "write_report",
    "write_sweep_report",
]
