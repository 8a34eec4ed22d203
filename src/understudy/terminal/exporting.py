"""The outcome of an export on standard output."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.evaluation.deployment import ExportResults
from understudy.report.run.device import change_text, remarks_of


def show_export(results: ExportResults, folder: Path) -> None:
    """Print one row for each file, what to know about it, and the folder.

    Args:
        results: of the export.
        folder: where the files are.
    """
    console = Console(emoji=False)
    console.print(export_table(results))
    for file in results.files:
        for remark in remarks_of(file):
            console.print(Text(remark), soft_wrap=True)
    console.print(Text(f"Files: {folder}"), soft_wrap=True)


def export_table(results: ExportResults) -> Table:
    """The files of an export for ``rich.print``."""
    title = Text(f"{results.network}, validation images")
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("file")
    for heading in ("kB", "change, points", "same class %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for file in results.files:
        parity = file.parity
        change = "–" if parity is None else change_text(parity.change)
        same = "–" if parity is None else f"{100 * parity.agreement.value:.2f}"
        cells = (file.file, f"{file.bytes / 1000:,.1f}", change, same, file.verdict)
        style = "" if file.verdict == "accepted" else "bold"
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table
