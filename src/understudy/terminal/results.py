"""The outcome of a run and of a sweep on standard output: a table, then what it means."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.data.names import shown
from understudy.report.run.slices import slice_sentences
from understudy.report.run.table import (
    BALANCED,
    COMPRESSION,
    LATENCY_128,
    PARAMETERS,
    PER_MS,
    SIZE,
    TOP1,
    with_published,
)
from understudy.report.sweep.table import TOP, baseline_rows, conclusions, with_half, with_interval
from understudy.report.sweep.view import SweepView, accuracy, described, gain, written
from understudy.runs.results import DataFacts, RunResults
from understudy.sweep.results import SweepResults, Trial

MAX_COLUMNS = 3
"""More settings do not fit 80 characters next to each other; then one column holds them all."""
_TERMINAL_HEADINGS = {
    "parameters": "params",
    "size MB": "MB",
    "balanced %": "balanced",
    "compression": "smaller",
    "ms, batch 128": "ms/128",
    "published": "publ.",
}
"""Shorter than those of the page."""


def show_run(results: RunResults) -> None:
    """Print the table of a run and the verdict of each comparison."""
    Console(emoji=False).print(run_table(results))
    for comparison in results.comparisons:
        print(comparison.verdict)
    for sentence in slice_sentences(results):
        print(sentence)
    for note in results.chance_notes:
        print(note)
    _show_skipped(results.data)


def _show_skipped(data: DataFacts) -> None:
    """Print how many unreadable images were left out, if any were."""
    if data.num_skipped:
        print(f"Left out of {shown(data.name)}: {data.num_skipped:,} images that cannot be read")


def run_table(results: RunResults) -> Table:
    """The final table of a run for ``rich.print``: one row per arm, with published numbers."""
    columns = [PARAMETERS, SIZE, COMPRESSION, TOP1, LATENCY_128]
    if results.has_skewed_classes:  # 80 characters do not hold all
        columns = [PARAMETERS, TOP1, BALANCED, LATENCY_128]
    elif not results.reference:
        columns.append(PER_MS)
    headings, rows = with_published(results, columns)
    del headings[1]  # the model's name is in the report
    table = Table(
        box=SIMPLE_HEAD,
        title=Text(f"{results.name}, test images"),
        title_justify="left",
        pad_edge=False,
    )
    for index, heading in enumerate(headings):
        table.add_column(
            _TERMINAL_HEADINGS.get(heading, heading),
            justify="right" if index else "left",
            style="dim" if heading == "published" else None,
        )
    for name, _, *cells in rows:
        arm = results.arms.get(name)
        style = "bold" if arm is not None and arm.role == "distilled" else ""
        # Text: a name that looks like rich's [markup] is shown unchanged.
        table.add_row(*(Text(cell, style=style, no_wrap=True) for cell in (name, *cells)))
    return table


def sweep_table(results: SweepResults, *, top: int = TOP) -> Table:
    """The best trials for ``rich.print``, and the baseline if all trials share one.

    Args:
        results: of the sweep.
        top: how many trials.
    """
    view = SweepView.of(results)
    shown = view.complete[:top]
    title = f"{results.name}, validation images, best {len(shown)} of {len(view.trials)} trials"
    separate = len(view.settings) <= MAX_COLUMNS
    labels = [setting.label for setting in view.settings] if separate else ["settings"]
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("trial")
    for label in labels:
        # Text: a name that looks like rich's [markup] is shown unchanged.
        side = "right" if separate else "left"
        table.add_column(Text(label), justify=side, overflow="fold")  # type: ignore[arg-type]
    for heading in ["val. %", "gain, points"] if view.paired else ["val. %"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in shown:
        style = "bold" if view.is_best(trial) else ""
        cells = [str(trial.number), *_terminal_cells(view, trial, separate)]
        table.add_row(*(Text(cell, style=style) for cell in cells))
    baselines = baseline_rows(view)
    if len(baselines) == 1:
        row = ["baseline", *[""] * len(labels), baselines[0][1]]
        table.add_row(*row, style="dim")
    return table


def _terminal_cells(view: SweepView, trial: Trial, separate: bool) -> list[str]:
    values = [written(trial.values[setting.key]) for setting in view.settings]
    cells = values if separate else [described(trial.values, view.settings)]
    gains = [with_interval(gain(trial))] if view.paired else []
    return [*cells, with_half(accuracy(trial)), *gains]


def show_sweep(results: SweepResults) -> None:
    """Print the best trials and what the sweep found on standard output."""
    console = Console(emoji=False)
    console.print(sweep_table(results))
    for sentence, _ in conclusions(SweepView.of(results)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    _show_skipped(results.data)
