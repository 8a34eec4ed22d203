"""The outcome of a sweep in words and as rows: for the terminal, and as cells for its page."""

from typing import TYPE_CHECKING

from understudy.evaluation.statistics import Estimate, estimate
from understudy.report.format import ABSENT, number, percent, points
from understudy.report.sweep.view import (
    SweepView,
    accuracy,
    described,
    gain,
    written,
)
from understudy.sweep.results import SweepResults, Trial

if TYPE_CHECKING:
    from rich.table import Table

TOP = 10
"""Trials in the short table."""
MAX_COLUMNS = 3
"""More settings do not fit 80 characters next to each other; then one column holds them all."""


def conclusions(view: SweepView) -> list[tuple[str, bool]]:
    """What the sweep found: the test's verdict, the winner, trials without a result.

    Returns:
        sentences, each with whether it is evidence of a gain.
    """
    found = []
    final = view.results.final
    if final is not None:
        seeds = ", ".join(map(str, final.seeds))
        sentence = final.verdict[0].upper() + final.verdict[1:]
        helped = final.gain.low is not None and final.gain.low > 0
        found.append((f"{sentence} (test images, fresh seeds {seeds}).", helped))
    if view.best is not None:
        ending = "." if final else "; it was not tested on fresh seeds."
        found.append((_best_sentence(view, view.best) + ending, False))
    lost = _lost_sentence(view)
    return [*found, (lost, False)] if lost else found


def _best_sentence(view: SweepView, best: Trial) -> str:
    found = gain(best)
    over = f", {with_interval(found)} points over the baseline" if found else ""
    return (
        f"Best of {len(view.complete)} finished trials on validation: "
        f"{described(best.values, view.settings)}, with {percent(accuracy(best).mean)} %{over}. "
        "Being the best of many is partly luck"
    )


def _lost_sentence(view: SweepView) -> str:
    failed = sum(trial.state == "failed" for trial in view.trials)
    pruned = sum(trial.state == "pruned" for trial in view.trials)
    lost = [f"{failed} failed"] if failed else []
    lost += [f"{pruned} {'was' if pruned == 1 else 'were'} pruned"] if pruned else []
    return f"Of {len(view.trials)} trials {' and '.join(lost)}." if lost else ""


def with_interval(found: Estimate | None) -> str:
    """``+0.82 [0.31, 1.33]`` in points; without brackets for one seed."""
    if found is None:
        return ABSENT
    if found.half is None:
        return points(found.mean)
    return f"{points(found.mean)} [{percent(found.low)}, {percent(found.high)}]"


def with_half(found: Estimate) -> str:
    """``71.24 ± 0.40`` in percent; without ± for one seed."""
    if found.half is None:
        return percent(found.mean)
    return f"{percent(found.mean)} ± {percent(found.half)}"


def ordered(view: SweepView) -> list[Trial]:
    """Complete trials, the best first, then the others by number."""
    return [*view.complete, *(trial for trial in view.trials if trial.state != "complete")]


def trial_cells(view: SweepView, trial: Trial) -> list[str]:
    """The cells of a trial after its number: settings, accuracy, gain if there are any, seconds."""
    cells = [written(trial.values[setting.key]) for setting in view.settings]
    cells.append(with_half(accuracy(trial)) if trial.state == "complete" else trial.state)
    if view.paired:
        cells.append(with_interval(gain(trial)))
    return [*cells, number(trial.seconds, 0)]


def trial_headings(view: SweepView) -> list[str]:
    """The headings of :func:`trial_cells`."""
    gains = ["gain, points [95 %]"] if view.paired else []
    labels = [setting.label for setting in view.settings]
    return [*labels, "validation, % (± 95 %)", *gains, "seconds"]


def baseline_rows(view: SweepView) -> list[tuple[str, str]]:
    """Settings (empty if all trials share one baseline) and accuracy of each baseline."""
    rows = []
    for baseline in view.results.baselines:
        own = [setting for setting in view.settings if setting.key in baseline.values]
        accuracies = [run.val.accuracy for run in baseline.runs]
        if accuracies:
            rows.append((described(baseline.values, own), with_half(estimate(accuracies))))
    return rows


def sweep_table(results: SweepResults, *, top: int = TOP) -> "Table":
    """The best trials for ``rich.print``, and the baseline if all trials share one.

    Args:
        results: of the sweep.
        top: how many trials.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

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
    from rich.console import Console

    console = Console()
    console.print(sweep_table(results))
    for sentence, _ in conclusions(SweepView.of(results)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
