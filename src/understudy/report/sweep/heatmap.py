"""The result over the settings: a heat map for two, one for each value of a third, a line for one, dots for sampled ranges.

Each figure shows the paired gain over the plain student, where the sweep trained one beside every trial, else the validation
accuracy. Intervals are those of 95 % over seeds.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from understudy.report.drawing import INK, WIDTH, plain_log_ticks, short
from understudy.report.sweep.colours import BETTER, DIVERGING, LINES, MUTED, RISING, text_on
from understudy.report.sweep.results import (
    Dimension,
    Estimate,
    Sweep,
    Trial,
    described,
    estimate,
    pooled,
    same,
    written,
)

MAX_SLICES = 6
SMALLEST_SCALE = 0.001  # a tenth of a point: fainter gains are not blown up to full colour


def draw_landscape(
    sweep: Sweep, ranked: Sequence[str], *, paired: bool
) -> tuple[Figure, str] | None:
    """The figure for the sweep's shape and how to read it; ``None`` where no trial finished.

    Args:
        sweep: what to draw.
        ranked: swept keys, the most important first. The first two become the axes.
        paired: draw gains; else accuracies.
    """
    if not sweep.complete:
        return None
    by_key = {dimension.key: dimension for dimension in sweep.dimensions}
    ordered = [by_key[key] for key in ranked]
    if len(ordered) == 1:
        return _line(sweep, ordered[0], paired)
    if _dense(sweep, ordered[:2]):
        return _heatmaps(sweep, ordered[:2], ordered[2:], paired)
    return _scatter(sweep, ordered[:2], paired)


# -- two settings with a list of values each, and further ones ----------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    """What was measured in one cell, or what became of its trials; and whether the winner is in it."""

    estimate: Estimate | None
    states: frozenset[str]
    best: bool


@dataclass(frozen=True)
class _Scale:
    """The colours of all panels: symmetric around zero for gains, from the least to the most for accuracies."""

    paired: bool
    low: float
    high: float

    def colour(self, mean: float) -> tuple[float, ...]:
        place = (mean - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return tuple((DIVERGING if self.paired else RISING)(place))


def _dense(sweep: Sweep, pair: Sequence[Dimension]) -> bool:
    """Whether at least half of the cells hold a finished trial: fewer are dots in a plane, not a map."""
    sizes = [len(dimension.levels) for dimension in pair if dimension.levels is not None]
    cells = (
        {tuple(d.place(t.values[d.key]) for d in pair) for t in sweep.complete}
        if len(sizes) == 2
        else set()
    )
    return len(sizes) == 2 and 2 * len(cells) >= math.prod(sizes)


def _heatmaps(
    sweep: Sweep, pair: Sequence[Dimension], rest: Sequence[Dimension], paired: bool
) -> tuple[Figure, str]:
    across, down = pair
    if len(_levels(across)) > max(6, len(_levels(down))):
        across, down = down, across  # a page has more room downwards
    panels = []
    for title, trials in _slices(sweep, rest):
        rows = [
            [
                _cell(sweep, [t for t in trials if _at(t, across, x) and _at(t, down, y)], paired)
                for x in _levels(across)
            ]
            for y in _levels(down)
        ]
        panels.append((title, rows))
    scale = _scale([cell for _, rows in panels for row in rows for cell in row], paired)
    columns, num_rows = len(_levels(across)), len(_levels(down))
    size = (max(WIDTH, 1.0 + 0.56 * columns), (0.42 * num_rows + 0.62) * len(panels) + 0.25)
    figure = Figure(figsize=size, layout="constrained")
    for axes, (title, rows) in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True
    ):
        _map(axes, rows, scale)
        axes.set_title(short(title, 56))
        axes.set_xticks(
            range(columns),
            [short(written(level), max(10, 56 // columns)) for level in _levels(across)],
        )
        axes.set_yticks(range(num_rows), [short(written(level), 12) for level in _levels(down)])
        axes.set(xlabel=short(across.key, 40), ylabel=short(down.key, 12 + 5 * num_rows))
    return figure, _heatmap_caption(sweep, rest, len(panels), paired)


def _levels(dimension: Dimension) -> tuple[Any, ...]:
    assert dimension.levels is not None
    return dimension.levels


def _at(trial: Trial, dimension: Dimension, level: Any) -> bool:
    return same(trial.values[dimension.key], level)


def _slices(sweep: Sweep, rest: Sequence[Dimension]) -> list[tuple[str, list[Trial]]]:
    """Title and trials of each panel: one for each combination of the further settings, or one for all where those are many."""
    whole = [("", list(sweep.trials))]
    if (
        not rest
        or any(d.levels is None for d in rest)
        or math.prod(len(_levels(d)) for d in rest) > MAX_SLICES
    ):
        return whole
    found = []
    for values in itertools.product(*(_levels(d) for d in rest)):
        chosen = {d.key: value for d, value in zip(rest, values, strict=True)}
        trials = [
            t
            for t in sweep.trials
            if all(same(t.values[key], value) for key, value in chosen.items())
        ]
        found.append((described(chosen, rest), trials))
    return found


def _cell(sweep: Sweep, trials: Sequence[Trial], paired: bool) -> _Cell:
    best = sweep.best
    return _Cell(
        pooled(trials, paired),
        frozenset(t.state for t in trials),
        best is not None and best.number in [t.number for t in trials],
    )


def _scale(cells: Sequence[_Cell], paired: bool) -> _Scale:
    means = [cell.estimate.mean for cell in cells if cell.estimate]
    if paired:
        largest = max(SMALLEST_SCALE, *(abs(mean) for mean in means))
        return _Scale(True, -largest, largest)
    return _Scale(False, min(means), max(means))


def _map(axes: Axes, rows: Sequence[Sequence[_Cell]], scale: _Scale) -> None:
    size = 8.5 if len(rows[0]) <= 5 else 7.5
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            box: dict[str, Any] = {"xy": (x - 0.48, y - 0.47), "width": 0.96, "height": 0.94}
            words: dict[str, Any] = {"ha": "center", "va": "center"}
            if cell.estimate is None:
                hatch = "///" if "failed" in cell.states else None
                axes.add_patch(
                    Rectangle(
                        **box, fill=False, edgecolor=MUTED, linewidth=0.6, hatch=hatch, alpha=0.6
                    )
                )
                state = (
                    "failed"
                    if "failed" in cell.states
                    else "pruned"
                    if "pruned" in cell.states
                    else "–"
                )
                axes.text(x, y, state, fontsize=size - 1.5, **words)
                continue
            colour = scale.colour(cell.estimate.mean)
            axes.add_patch(Rectangle(**box, facecolor=colour, linewidth=0))
            words["color"] = text_on(colour)
            half = cell.estimate.half
            axes.text(
                x,
                y - (0 if half is None else 0.15),
                _main(cell.estimate, scale),
                fontsize=size,
                weight="bold",
                **words,
            )
            if half is not None:
                axes.text(x, y + 0.24, f"± {100 * half:.2f}", fontsize=size - 1.5, **words)
            if cell.best:
                axes.add_patch(Rectangle(**box, fill=False, edgecolor=INK, linewidth=2.2, zorder=4))
    axes.set(xlim=(-0.55, len(rows[0]) - 0.45), ylim=(len(rows) - 0.45, -0.55))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _main(measured: Estimate, scale: _Scale) -> str:
    if not scale.paired:
        return f"{100 * measured.mean:.2f}"
    gain = f"{100 * measured.mean:+.2f}"
    return {1: "▲", 0: "", -1: "▼"}[measured.sign] + (gain if float(gain) else "0.00")


def _heatmap_caption(sweep: Sweep, rest: Sequence[Dimension], num_panels: int, paired: bool) -> str:
    parts = [_what(paired), "Below it half the width of its 95 % interval over seeds."]
    if paired:
        parts.append(
            "▲ and ▼: the whole interval lies above or below zero. No allowance is made for the number of cells: "
            "without any effect one cell in twenty would carry a mark."
        )
    if rest and num_panels == 1:
        names = ", ".join(d.label for d in rest)
        parts.append(
            f"Each cell is the mean over the finished trials at other values of {names}, taken seed by seed."
        )
    parts.append("Thick frame: the winner." if sweep.best else "")
    return " ".join(filter(None, parts))


def _what(paired: bool) -> str:
    if paired:
        return "Validation accuracy minus that of the plain student with the same seed, in points, mean over seeds."
    return "Validation accuracy, %, mean over seeds."


# -- one setting --------------------------------------------------------------------------------------------------------


def _line(sweep: Sweep, dimension: Dimension, paired: bool) -> tuple[Figure, str]:
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    places = _places(dimension, sweep.complete)
    done = sorted(
        zip(places, sweep.complete, strict=True), key=lambda pair: (pair[0], pair[1].number)
    )
    x = [place for place, _ in done]
    by_seed = [[100 * v for v in (t.gains if paired else t.accuracies).values()] for _, t in done]
    found = [estimate(values) for values in by_seed]
    means = [each.mean for each in found]
    for place, values in zip(x, by_seed, strict=True):
        axes.plot(
            [place] * len(values),
            values,
            "o",
            color=INK,
            markersize=2.5,
            alpha=0.55,
            markeredgewidth=0,
        )
    halves = [each.half for each in found if each.half is not None]
    if dimension.numeric:
        if len(halves) == len(found):
            low, high = (
                [m + sign * h for m, h in zip(means, halves, strict=True)] for sign in (-1, 1)
            )
            axes.fill_between(x, low, high, color=BETTER, alpha=0.22, linewidth=0)
        axes.plot(x, means, color=BETTER, marker="D", markersize=4.5)
    else:
        axes.errorbar(
            x,
            means,
            yerr=halves if len(halves) == len(found) else None,
            fmt="D",
            color=BETTER,
            markersize=5,
            capsize=4,
        )
    if paired:
        axes.axhline(0, color=INK, linewidth=1)
    axes.margins(x=0.06, y=0.1)
    _name_values(axes, dimension)
    axes.grid()
    axes.set(
        xlabel=short(dimension.key, 40),
        ylabel="gain, points" if paired else "validation accuracy, %",
    )
    spread = "Band" if dimension.numeric else "Bar"
    lost = len(sweep.trials) - len(done)
    missing = (
        f" {lost} pruned or failed {'trials are' if lost > 1 else 'trial is'} missing."
        if lost
        else ""
    )
    return (
        figure,
        f"{_what(paired)} Dots: single seeds. {spread}: 95 % interval over seeds.{missing}",
    )


# -- sampled ranges -----------------------------------------------------------------------------------------------------


def _scatter(sweep: Sweep, pair: Sequence[Dimension], paired: bool) -> tuple[Figure, str]:
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    across, down = pair
    lost = [t for t in sweep.trials if t.state != "complete"]
    axes.scatter(
        _places(across, lost), _places(down, lost), marker="x", s=18, color=MUTED, linewidth=1
    )
    done = sweep.complete[::-1]  # the best on top
    found = [pooled([trial], paired) for trial in done]
    measured = [each for each in found if each is not None]
    means = sorted(each.mean for each in measured)
    largest = max(SMALLEST_SCALE, *(abs(mean) for mean in means))
    low, high = (-largest, largest) if paired else (means[len(means) // 20], means[-1])
    x, y = _places(across, done), _places(down, done)
    for sign, marker in ((0, "o"), (-1, "v"), (1, "^")):
        some = [k for k, each in enumerate(measured) if (each.sign if paired else 0) == sign]
        look: dict[str, Any] = {
            "cmap": LINES,
            "vmin": 100 * low,
            "vmax": 100 * high,
            "marker": marker,
            "s": 34,
            "linewidth": 0,
        }
        dots = axes.scatter(
            [x[k] for k in some],
            [y[k] for k in some],
            c=[100 * measured[k].mean for k in some],
            **look,
        )
    if sweep.best is not None:
        axes.scatter(
            _places(across, [sweep.best]),
            _places(down, [sweep.best]),
            s=120,
            facecolor="none",
            edgecolor=INK,
            linewidth=1.6,
        )
    bar = figure.colorbar(dots, ax=axes, location="top", aspect=40, pad=0.02)
    bar.set_label("gain, points" if paired else "validation accuracy, %")
    bar.outline.set_visible(False)
    axes.margins(0.06)
    _name_values(axes, across)
    _name_values(axes, down, "y")
    axes.grid()
    axes.set(xlabel=short(across.key, 40), ylabel=short(down.key, 34))
    marks = (
        " Triangle up or down: the whole 95 % interval lies above or below zero." if paired else ""
    )
    rest = " The two most important of the settings." if len(sweep.dimensions) > 2 else ""
    crosses = " Crosses: pruned or failed." if lost else ""
    ring = " Ring: the winner." if sweep.best else ""
    return figure, f"One mark a trial. {_what(paired)}{marks}{crosses}{ring}{rest}"


def _places(dimension: Dimension, trials: Sequence[Trial]) -> list[float]:
    """Where the trials lie on this setting's axis: at its value, or at the position of a value that is no number."""
    if dimension.numeric:
        return [float(trial.values[dimension.key]) for trial in trials]
    return [float(dimension.place(trial.values[dimension.key])) for trial in trials]


def _name_values(axes: Axes, dimension: Dimension, which: str = "x") -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not dimension.numeric:
        axis.set_ticks(
            range(len(_levels(dimension))),
            [short(written(level), 10) for level in _levels(dimension)],
        )
    elif dimension.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        plain_log_ticks(axes, which)
    elif dimension.levels is not None and len(dimension.levels) <= 6:
        axis.set_ticks(list(dimension.levels), [written(level) for level in dimension.levels])
