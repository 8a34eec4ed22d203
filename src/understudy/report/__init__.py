"""What a run directory says, for people: tables, figures and one self-contained page. Reads files, trains nothing.

Importing this package loads neither matplotlib nor Jinja2 nor rich; the functions that need them do.
"""

from understudy.report.page import read_results, write_report
from understudy.report.table import markdown_table, terminal_table, write_csv

__all__ = ["markdown_table", "read_results", "terminal_table", "write_csv", "write_report"]
