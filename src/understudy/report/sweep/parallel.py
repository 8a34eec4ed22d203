"""Every trial as one line through the values of its settings to its accuracy: which combinations go well together."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from understudy.report.drawing import INK, PAPER, WIDTH, short
from understudy.report.run.table import significant
from understudy.report.sweep.colours import LINES, MUTED
from understudy.report.sweep.results import Dimension, Sweep, written

MAX_AXES = 6  # settings; more axes than this are too close to read on a phone
LANES = {"pruned": -0.10, "failed": -0.19}
"""Where lines without an accuracy end, below the axis of accuracies."""
SPREAD = 0.055  # of an axis: room over which the lines through one value fan out, in the order of their accuracy


def draw_parallel(sweep: Sweep, ranked: Sequence[str]) -> tuple[Figure, str] | None:
    """Parallel coordinates and how to read them; ``None`` for a single setting, of which they would say nothing new.

    Args:
        sweep: what to draw; orange lines are the worst trials, blue the best, dashed ones did not finish.
        ranked: swept keys, the most important first, which stands beside the accuracy.
    """
    by_key = {dimension.key: dimension for dimension in sweep.dimensions}
    shown = [by_key[key] for key in ranked[:MAX_AXES]][::-1]
    done = sweep.complete
    if len(shown) < 2 or not done:
        return None
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    axes = figure.subplots()
    heights = [_heights(sweep, dimension) for dimension in shown]
    means = [trial.accuracy.mean for trial in done]
    low, high = min(means), max(means)
    pale = sorted(means)[
        len(means) // 20
    ]  # one trial that fell apart must not take all the colours

    def height(mean: float) -> float:
        return (mean - low) / (high - low) if high > low else 0.5

    x = range(len(shown) + 1)
    for trial in sweep.trials:
        if trial.state != "complete":
            y = [column[trial.number] for column in heights] + [LANES[trial.state]]
            axes.plot(x, y, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), alpha=0.7)
    alpha = min(0.9, max(0.35, 8 / math.sqrt(len(done)) / 2))
    for trial, mean in list(zip(done, means, strict=True))[::-1]:
        y = [column[trial.number] for column in heights] + [height(mean)]
        colour = LINES((mean - pale) / (high - pale) if high > pale else 0.5)
        axes.plot(x, y, color=colour, linewidth=1.1, alpha=alpha)
    if sweep.best is not None:
        y = [column[sweep.best.number] for column in heights] + [height(sweep.best.accuracy.mean)]
        axes.plot(x, y, color=INK, linewidth=2.2, marker="o", markersize=4, zorder=5)
    _scales(
        axes,
        shown,
        [_ticks(sweep, d) for d in shown],
        (low, high),
        {trial.state for trial in sweep.trials},
    )
    left_out = len(sweep.dimensions) - len(shown)
    caption = "A line is a trial; blue ends high, orange low."
    caption += " Black or white, thick: the winner." if sweep.best else ""
    caption += (
        " Dashed: pruned or failed." if any(t.state != "complete" for t in sweep.trials) else ""
    )
    caption += f" The {left_out} least important settings are left out." if left_out else ""
    return (
        figure,
        caption
        + " The right axis is the validation accuracy, mean over seeds. Lines through one value are fanned out.",
    )


def _heights(sweep: Sweep, dimension: Dimension) -> Mapping[int, float]:
    """Where each trial crosses a setting's axis, by number: 0 to 1, those of one value side by side, the best uppermost."""
    order = [*(t for t in sweep.trials if t.state != "complete"), *sweep.complete[::-1]]
    if dimension.levels is None:
        low, high = _ends(sweep, dimension)
        return {
            trial.number: _share(trial.values[dimension.key], low, high, dimension.log)
            for trial in order
        }
    heights: dict[int, float] = {}
    for index in range(len(dimension.levels)):
        here = [trial for trial in order if dimension.place(trial.values[dimension.key]) == index]
        for rank, trial in enumerate(here):
            fan = SPREAD * (rank / (len(here) - 1) - 0.5) if len(here) > 1 else 0.0
            heights[trial.number] = _level_height(dimension, index) + fan
    return heights


def _level_height(dimension: Dimension, index: int) -> float:
    """Values of a list stand at equal distances."""
    count = len(dimension.levels or ())
    return index / (count - 1) if count > 1 else 0.5


def _ends(sweep: Sweep, dimension: Dimension) -> tuple[float, float]:
    values = [float(trial.values[dimension.key]) for trial in sweep.trials]
    return min(values), max(values)


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low) if high > low else 0.5


def _scales(
    axes: Axes,
    shown: Sequence[Dimension],
    columns: Sequence[Sequence[tuple[float, str]]],
    ends: tuple[float, float],
    states: set[str],
) -> None:
    """Draw the axes with their values left of them, the accuracies right."""
    last, (low, high) = len(shown), ends
    for x in range(last + 1):
        axes.plot([x, x], [-0.03, 1.03], color=INK, linewidth=0.8, alpha=0.5)
    lanes = [(LANES[state], state) for state in LANES if state in states]
    bottom = min([-0.05, *(height - 0.06 for height, _ in lanes)])
    axes.set(xlim=(-0.35, last + 0.05), ylim=(bottom, 1.05))
    axes.set_xticks(
        range(last + 1),
        [*(short(d.label, 13) for d in shown), "accuracy, %"],
        weight="bold",
        fontsize=8,
    )
    if last > 3:
        axes.tick_params(axis="x", labelrotation=20)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.yaxis.tick_right()
    marks = (
        [(share, f"{100 * (low + share * (high - low)):.1f}") for share in np.linspace(0, 1, 5)]
        if high > low
        else []
    )
    marks = [*(marks or [(0.5, f"{100 * low:.1f}")]), *lanes]
    axes.set_yticks([height for height, _ in marks], [text for _, text in marks])
    halo = [withStroke(linewidth=2.5, foreground=PAPER)]
    for x, ticks in enumerate(columns):
        for height, text in ticks:
            axes.annotate(
                text,
                (x, height),
                (-3, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7.5,
                zorder=6,
                path_effects=halo,
            )


def _ticks(sweep: Sweep, dimension: Dimension) -> list[tuple[float, str]]:
    """Height and text of the values beside a setting's axis: every value of a list, the ends and the middle of a range."""
    if dimension.levels is not None:
        return [
            (_level_height(dimension, index), short(written(level), 9))
            for index, level in enumerate(dimension.levels)
        ]
    low, high = _ends(sweep, dimension)
    middle = math.sqrt(low * high) if dimension.log else (low + high) / 2
    return [(0.0, significant(low, 2)), (0.5, significant(middle, 2)), (1.0, significant(high, 2))]
