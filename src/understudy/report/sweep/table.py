"""The outcome of a sweep in words and as rows: for the terminal, and as cells for its page."""

from typing import TYPE_CHECKING

from understudy.report.run.table import ABSENT, Results, number, percent, points, present
from understudy.report.sweep.results import (
    Estimate,
    Sweep,
    Trial,
    described,
    estimate,
    parse_sweep,
    written,
)

if TYPE_CHECKING:
    from rich.table import Table

TOP = 10


def conclusions(sweep: Sweep) -> list[tuple[str, bool]]:
    """What the sweep found, one sentence each, and whether it is evidence of a gain: the test's verdict, the winner, losses."""
    found = []
    results, best = sweep.results, sweep.best
    final = results.get("final") or {}
    if final.get("verdict"):
        low = (final.get("gain") or {}).get("low")
        seeds = ", ".join(map(str, final.get("seeds") or []))
        sentence = f"{final['verdict'][0].upper()}{final['verdict'][1:]} (test images, fresh seeds {seeds})."
        found.append((sentence, present(low) and low > 0))
    if best is not None:
        gain = f", {with_interval(best.gain)} points over the plain student" if best.gain else ""
        sentence = f"Best of {len(sweep.complete)} finished trials on validation: {described(best.values, sweep.dimensions)}, "
        sentence += (
            f"with {percent(best.accuracy.mean)} %{gain}. Being the best of many is partly luck"
        )
        found.append((sentence + ("." if final else "; it was not tested on fresh seeds."), False))
    failed, pruned = (
        sum(trial.state == state for trial in sweep.trials) for state in ("failed", "pruned")
    )
    if failed or pruned:
        lost = [f"{failed} failed"] if failed else []
        lost += [f"{pruned} {'was' if pruned == 1 else 'were'} pruned"] if pruned else []
        found.append((f"Of {len(sweep.trials)} trials {' and '.join(lost)}.", False))
    return found


def with_interval(gain: Estimate | None) -> str:
    """``+0.82 [0.31, 1.33]`` in points; without brackets for one seed."""
    if gain is None:
        return ABSENT
    if gain.half is None:
        return points(gain.mean)
    return (
        f"{points(gain.mean)} [{percent(gain.mean - gain.half)}, {percent(gain.mean + gain.half)}]"
    )


def with_half(accuracy: Estimate) -> str:
    """``71.24 ± 0.40`` in percent."""
    return percent(accuracy.mean) + (
        "" if accuracy.half is None else f" ± {percent(accuracy.half)}"
    )


def ordered(sweep: Sweep) -> list[Trial]:
    """Finished trials, the best first, then the others by number."""
    return [*sweep.complete, *(trial for trial in sweep.trials if trial.state != "complete")]


def trial_cells(sweep: Sweep, trial: Trial) -> list[str]:
    """The cells of a trial after its number: settings, accuracy, gain where there are any, seconds."""
    done = trial.state == "complete"
    cells = [written(trial.values[d.key]) for d in sweep.dimensions]
    cells.append(with_half(trial.accuracy) if done else trial.state)
    if sweep.paired:
        cells.append(with_interval(trial.gain))
    return [*cells, number(trial.seconds, 0)]


def trial_headings(sweep: Sweep) -> list[str]:
    """The headings of :func:`trial_cells`."""
    gain = ["gain, points [95 %]"] if sweep.paired else []
    return [*(d.label for d in sweep.dimensions), "validation, % (± 95 %)", *gain, "seconds"]


def baseline_rows(sweep: Sweep) -> list[tuple[str, str]]:
    """The plain students: the settings that were theirs too (empty where all trials share one), and their accuracy."""
    rows = []
    for entry in sweep.results.get("baselines") or []:
        runs = [
            run["val"]["accuracy"]
            for run in entry.get("runs") or []
            if present((run.get("val") or {}).get("accuracy"))
        ]
        own = [d for d in sweep.dimensions if d.key in (entry.get("values") or {})]
        if runs:
            rows.append((described(entry["values"], own) if own else "", with_half(estimate(runs))))
    return rows


def sweep_table(results: Results, *, top: int = TOP) -> "Table":
    """The best trials for ``rich.print``, and the plain student where all trials share one.

    Raises:
        UnderstudyError: where the mapping is not a sweep's.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    sweep = parse_sweep(results, "this sweep")
    shown = sweep.complete[:top]
    title = f"{results.get('name', 'sweep')}, validation images, best {len(shown)} of {len(sweep.trials)} trials"
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", pad_edge=False)
    apart = (
        len(sweep.dimensions) <= 3
    )  # more columns do not fit 80 characters; then one holds all settings
    settings = [d.label for d in sweep.dimensions] if apart else ["settings"]
    table.add_column("trial")
    for label in settings:
        table.add_column(
            Text(label), justify="right" if apart else "left", overflow="fold"
        )  # Text: no [markup] in names
    for heading in ["val. %", "gain, points"] if sweep.paired else ["val. %"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in shown:
        style = "bold" if sweep.best is not None and trial.number == sweep.best.number else ""
        values = [written(trial.values[d.key]) for d in sweep.dimensions]
        cells = [
            str(trial.number),
            *(values if apart else [described(trial.values, sweep.dimensions)]),
            with_half(trial.accuracy),
        ]
        table.add_row(
            *(
                Text(cell, style=style)
                for cell in [*cells, *([with_interval(trial.gain)] if sweep.paired else [])]
            )
        )
    plain = baseline_rows(sweep)
    if len(plain) == 1:
        table.add_row(
            "plain",
            *[""] * len(settings),
            plain[0][1],
            *([""] if sweep.paired else []),
            style="dim",
        )
    return table


def show_sweep(results: Results) -> None:
    """Print the best trials and what the sweep found on standard output."""
    from rich.console import Console

    console = Console()
    console.print(sweep_table(results))
    for sentence, _ in conclusions(parse_sweep(results, "this sweep")):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
