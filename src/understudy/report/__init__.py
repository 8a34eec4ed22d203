"""What the folder of a run or sweep says, for people: tables, figures, one self-contained page. Reads files, trains nothing.

Importing this package loads neither matplotlib nor Jinja2 nor rich; the functions that need them do.
"""

from understudy.report.page import read_results, write_report
from understudy.report.sweep_page import write_sweep_report
from understudy.report.sweep_table import show_sweep, sweep_table
from understudy.report.table import markdown_table, terminal_table, write_csv

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
