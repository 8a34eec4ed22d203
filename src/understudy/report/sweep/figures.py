"""The figures of a sweep, in the order of its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from understudy.report.drawing import (
    INK,
    WIDTH,
    Drawing,
    bars_figure,
    name_rows,
    save,
    short,
    styled,
)
from understudy.report.run.figures import COLOURS
from understudy.report.run.table import present, significant
from understudy.report.sweep.colours import BETTER, MUTED, WORSE
from understudy.report.sweep.heatmap import draw_landscape
from understudy.report.sweep.importance import Importance, by_importance
from understudy.report.sweep.parallel import draw_parallel
from understudy.report.sweep.results import Sweep, estimate


def draw_sweep(sweep: Sweep, found: Importance | None, folder: Path) -> list[Drawing]:
    """Draw every figure the sweep has numbers for and write ``folder/<name>.png`` and ``.svg``.

    Args:
        sweep: what to draw.
        found: the importance of its settings, which orders them.
        folder: where the files go.
    """
    ranked = by_importance(sweep, found)
    several_baselines = len(sweep.results.get("baselines") or []) > 1
    drawings = []
    with styled():
        for name, title, drawn in (
            (
                "landscape",
                "Gain over the settings" if sweep.paired else "Accuracy over the settings",
                draw_landscape(sweep, ranked, paired=sweep.paired),
            ),
            # With one plain student for all trials, accuracies are the gains and a constant.
            (
                "landscape_accuracy",
                "Accuracy over the settings",
                draw_landscape(sweep, ranked, paired=False)
                if sweep.paired and several_baselines
                else None,
            ),
            ("best", "Winner against the plain student", draw_best(sweep)),
            ("parallel", "Trial by trial", draw_parallel(sweep, ranked)),
            ("importance", "Importance of the settings", draw_importance(sweep, found)),
            ("cost", "Cost", draw_cost(sweep)),
        ):
            if drawn is not None:
                figure, caption = drawn
                drawings.append(save(figure, name, title, caption, folder))
    return drawings


def draw_best(sweep: Sweep) -> tuple[Figure, str] | None:
    """The winner beside the plain student, seed by seed: on validation, where it was chosen, and on the test images."""
    panels = []
    best = sweep.best
    if best is not None and best.gains:
        after = [100 * value for value in best.accuracies.values()]
        panels.append(
            (
                "validation, the sweep's seeds",
                [a - 100 * g for a, g in zip(after, best.gains.values(), strict=True)],
                after,
            )
        )
    tested = list(sweep.tested.values())
    if tested:
        panels.append(
            (
                "test, fresh seeds",
                [100 * before for before, _, _ in tested],
                [100 * after for _, after, _ in tested],
            )
        )
    if not panels:
        return None
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    for axes, (title, before, after) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        gain = estimate([a - b for a, b in zip(after, before, strict=True)])
        interval = (
            ""
            if gain.half is None
            else f" [{gain.mean - gain.half:.2f}, {gain.mean + gain.half:.2f}]"
        )
        axes.set_title(f"{title}\n{gain.mean:+.2f} points{interval}", fontsize=8)
        for pair in zip(before, after, strict=True):
            axes.plot([0.13, 0.87], pair, color=MUTED, linewidth=1, marker="o", markersize=3)
        for x, values, role in ((0, before, "baseline"), (1, after, "distilled")):
            mean = estimate(values)
            axes.errorbar(
                x,
                mean.mean,
                yerr=mean.half,
                fmt="D",
                color=COLOURS[role],
                markersize=6,
                capsize=4,
                elinewidth=1.5,
            )
            axes.annotate(
                f"{mean.mean:.2f}",
                (x, mean.mean),
                (-8 if x == 0 else 8, 0),
                textcoords="offset points",
                va="center",
                ha="right" if x == 0 else "left",
                fontweight="bold",
            )
        axes.set_xlim(-1.0, 1.8)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xticks([0, 1], ["plain", "winner"])
        axes.grid(axis="y")
        axes.set_ylabel("top-1 accuracy, %" if axes.get_subplotspec().is_first_col() else "")
    caption = (
        "A grey line is one seed. Diamonds: means with their 95 % intervals; above, the mean paired gain with its own interval. "
        "The winner of many trials was partly lucky on validation"
    )
    return figure, caption + (
        "; the test images were opened once, for fresh seeds."
        if tested
        else "; only a test on fresh seeds is fair."
    )


def draw_importance(sweep: Sweep, found: Importance | None) -> tuple[Figure, str] | None:
    """Bars of each setting's share of the spread; nothing for a single setting, which has all of it."""
    if found is None or len(sweep.dimensions) < 2:
        return None
    labels = {dimension.key: dimension.label for dimension in sweep.dimensions}
    rows: list[tuple[str, float, Any]] = [
        (short(labels[key], 18), found.shares[key], (found.chance or {}).get(key))
        for key in by_importance(sweep, found)
        if key in found.shares
    ]
    if found.rest is not None:
        rows.append(("together, noise", found.rest, None))
    figure, axes = bars_figure(len(rows))
    for row, (label, share, chance) in enumerate(rows):
        axes.barh(
            row, 100 * share, height=0.6, color=MUTED if label == "together, noise" else BETTER
        )
        if chance is not None:
            axes.plot([100 * chance] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=1.6)
        end = max(share, chance or 0)
        axes.annotate(
            f"{100 * share:.0f} %",
            (100 * end, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
        )
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the spread in validation accuracy, %")
    ticks = (
        " Upright tick: what a setting without any effect would get on average."
        if found.chance
        else ""
    )
    rest = (
        " Grey: what the settings do together, and the noise of seeds."
        if found.rest is not None
        else ""
    )
    return name_rows(figure, axes, [label for label, _, _ in rows]), found.how + ticks + rest


def draw_cost(sweep: Sweep) -> tuple[Figure, str] | None:
    """Seconds of each trial in their order, and the measured rates of the backends where several were tried."""
    timed = [trial for trial in sweep.trials if trial.seconds is not None]
    backend = sweep.results.get("backend") or {}
    rates = {name: rate for name, rate in (backend.get("measured") or {}).items() if present(rate)}
    if not timed and not rates:
        return None
    heights = ([2.2] if timed else []) + ([0.55 + 0.3 * len(rates)] if rates else [])
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.2), layout="constrained")
    panels = iter(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if timed:
        _draw_seconds(next(panels), sweep)
    if rates:
        axes = next(panels)
        for row, (name, rate) in enumerate(rates.items()):
            axes.barh(row, rate, height=0.6, color=BETTER if name == backend.get("name") else MUTED)
            axes.annotate(
                significant(rate),
                (rate, row),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
        axes.set_xlim(0, 1.2 * max(rates.values()))
        axes.set_title("images per second, all trainings together")
        axes.grid(axis="x")
        name_rows(figure, axes, [short(name, 16) for name in rates])
    caption = (
        "Above: time of each trial, its seeds added up; trials that run side by side slow each other down."
        if timed
        else ""
    )
    return figure, caption + (
        " Bars: what each backend was measured to do before the sweep began; blue was chosen."
        if rates
        else ""
    )


def _draw_seconds(axes: Axes, sweep: Sweep) -> None:
    looks: Sequence[tuple[str, str, str]] = (
        ("complete", BETTER, "o"),
        ("pruned", MUTED, "v"),
        ("failed", WORSE, "X"),
    )
    for state, colour, marker in looks:
        some = [
            (trial.number, trial.seconds)
            for trial in sweep.trials
            if trial.state == state and trial.seconds is not None
        ]
        if some:
            x, y = zip(*some, strict=True)
            axes.plot(x, y, marker, color=colour, markersize=4, markeredgewidth=0, label=state)
    axes.set_ylim(
        0, 1.12 * max(trial.seconds for trial in sweep.trials if trial.seconds is not None)
    )
    axes.set_title("seconds per trial")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="best")
