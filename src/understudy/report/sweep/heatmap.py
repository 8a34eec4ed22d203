"""The result over the settings: heat maps for two, one per value of a third.

A line for one setting and dots for sampled ranges are in :mod:`understudy.report.sweep.landscape`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from understudy.evaluation.gain import PairedGain, corrected
from understudy.report.colours import DIVERGING, MUTED, RISING, text_on
from understudy.report.drawing import INK, WIDTH, short
from understudy.report.sweep.view import (
    Measured,
    Setting,
    SweepView,
    described,
    pooled,
    same,
    written,
)
from understudy.sweep.results import Trial

MAX_SLICES = 6
"""Panels of one figure; more combinations of the further settings are averaged."""
SMALLEST_SCALE = 0.001
"""A tenth of a point: fainter gains are not blown up to full colour."""


@dataclass(frozen=True)
class Cell:
    """One cell of a map.

    Attributes:
        estimate: what was measured; ``None`` without a complete trial.
        states: how its trials ended.
        best: whether the winner is in it.
    """

    estimate: Measured | None
    states: frozenset[str]
    best: bool


@dataclass(frozen=True)
class Scale:
    """The colours of all panels: symmetric around zero for gains, from least to most otherwise."""

    paired: bool
    low: float
    high: float

    @classmethod
    def of(cls, means: Sequence[float], paired: bool) -> "Scale":
        """The scale of these means."""
        if paired:
            largest = max(SMALLEST_SCALE, *(abs(mean) for mean in means))
            return cls(True, -largest, largest)
        return cls(False, min(means), max(means))

    def colour(self, mean: float) -> tuple[float, ...]:
        """Red, green, blue and opacity in [0, 1]."""
        place = (mean - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return tuple((DIVERGING if self.paired else RISING)(place))


def is_dense(view: SweepView, pair: Sequence[Setting]) -> bool:
    """Whether at least half of the cells hold a complete trial: fewer are no map."""
    sizes = [len(setting.levels) for setting in pair if setting.levels is not None]
    if len(sizes) < 2:
        return False
    cells = {
        tuple(setting.place(trial.values[setting.key]) for setting in pair)
        for trial in view.complete
    }
    return 2 * len(cells) >= math.prod(sizes)


def draw_heatmaps(
    view: SweepView, pair: Sequence[Setting], rest: Sequence[Setting], paired: bool
) -> tuple[Figure, str]:
    """One map for each value of the further settings, and how to read them.

    Args:
        view: what to draw.
        pair: the two axes, both with a list of values.
        rest: the further settings.
        paired: draw gains; otherwise accuracies.
    """
    across, down = pair
    if len(levels_of(across)) > max(6, len(levels_of(down))):
        across, down = down, across  # a page has more room downwards
    panels = _corrected(
        [
            (title, _cells(view, trials, across, down, paired))
            for title, trials in _slices(view, rest)
        ]
    )
    cells = [cell for _, rows in panels for row in rows for cell in row]
    scale = Scale.of([cell.estimate.mean for cell in cells if cell.estimate], paired)
    columns, num_rows = len(levels_of(across)), len(levels_of(down))
    size = (max(WIDTH, 1.0 + 0.56 * columns), (0.42 * num_rows + 0.62) * len(panels) + 0.25)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    names = [short(written(level), max(10, 56 // columns)) for level in levels_of(across)]
    for axes, (title, rows) in zip(places, panels, strict=True):
        _draw_map(axes, rows, scale)
        axes.set_title(short(title, 56))
        axes.set_xticks(range(columns), names)
        axes.set_yticks(range(num_rows), [short(written(level), 12) for level in levels_of(down)])
        axes.set(xlabel=short(across.key, 40), ylabel=short(down.key, 12 + 5 * num_rows))
    return figure, _caption(view, rest, len(panels), paired)


Panel = tuple[str, list[list[Cell]]]
"""Title and rows of one map."""


def _corrected(panels: Sequence[Panel]) -> list[Panel]:
    """The same maps, the gains of all their cells corrected for how many they are."""
    cells = [cell for _, rows in panels for row in rows for cell in row]
    gains = iter(
        corrected([cell.estimate for cell in cells if isinstance(cell.estimate, PairedGain)])
    )

    def renewed(cell: Cell) -> Cell:
        if not isinstance(cell.estimate, PairedGain):
            return cell
        return replace(cell, estimate=next(gains))

    return [(title, [[renewed(cell) for cell in row] for row in rows]) for title, rows in panels]


def what_is_shown(paired: bool) -> str:
    """The first sentence of a caption."""
    if paired:
        return (
            "Validation accuracy minus that of the baseline with the same seed, in points, mean "
            "over seeds."
        )
    return "Validation accuracy, %, mean over seeds."


def levels_of(setting: Setting) -> tuple[Any, ...]:
    """The values of a setting that has a list of them."""
    assert setting.levels is not None
    return setting.levels


def _slices(view: SweepView, rest: Sequence[Setting]) -> list[tuple[str, list[Trial]]]:
    """Title and trials of each panel; one panel for all trials if there would be too many."""
    whole = [("", list(view.trials))]
    if not rest or any(setting.levels is None for setting in rest):
        return whole
    if math.prod(len(levels_of(setting)) for setting in rest) > MAX_SLICES:
        return whole
    found = []
    for values in itertools.product(*(levels_of(setting) for setting in rest)):
        chosen = {setting.key: value for setting, value in zip(rest, values, strict=True)}
        found.append((described(chosen, rest), [t for t in view.trials if _has(t, chosen)]))
    return found


def _has(trial: Trial, values: dict[str, Any]) -> bool:
    return all(same(trial.values[key], value) for key, value in values.items())


def _cells(
    view: SweepView, trials: Sequence[Trial], across: Setting, down: Setting, paired: bool
) -> list[list[Cell]]:
    rows = []
    for y in levels_of(down):
        row = []
        for x in levels_of(across):
            inside = [trial for trial in trials if _has(trial, {across.key: x, down.key: y})]
            states = frozenset(trial.state for trial in inside)
            best = any(view.is_best(trial) for trial in inside)
            row.append(Cell(pooled(view, inside, paired), states, best))
        rows.append(row)
    return rows


def _draw_map(axes: Axes, rows: Sequence[Sequence[Cell]], scale: Scale) -> None:
    size = 8.5 if len(rows[0]) <= 5 else 7.5
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell.estimate is None:
                _draw_empty(axes, x, y, cell.states, size)
            else:
                _draw_estimate(axes, x, y, cell.estimate, scale, size)
            if cell.best:
                frame = _box(x, y)
                axes.add_patch(
                    Rectangle(**frame, fill=False, edgecolor=INK, linewidth=2.2, zorder=4)
                )
    axes.set(xlim=(-0.55, len(rows[0]) - 0.45), ylim=(len(rows) - 0.45, -0.55))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _box(x: int, y: int) -> dict[str, Any]:
    return {"xy": (x - 0.48, y - 0.47), "width": 0.96, "height": 0.94}


def _draw_empty(axes: Axes, x: int, y: int, states: frozenset[str], size: float) -> None:
    text, hatch = "–", None
    if "failed" in states:
        text, hatch = "failed", "///"
    elif "pruned" in states:
        text = "pruned"
    outline: dict[str, Any] = {"fill": False, "edgecolor": MUTED, "linewidth": 0.6, "alpha": 0.6}
    axes.add_patch(Rectangle(**_box(x, y), hatch=hatch, **outline))
    axes.text(x, y, text, fontsize=size - 1.5, ha="center", va="center")


def _draw_estimate(axes: Axes, x: int, y: int, found: Measured, scale: Scale, size: float) -> None:
    colour = scale.colour(found.mean)
    axes.add_patch(Rectangle(**_box(x, y), facecolor=colour, linewidth=0))
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": text_on(colour)}
    height = y if found.half is None else y - 0.15
    axes.text(x, height, _main_text(found, scale), fontsize=size, weight="bold", **style)
    if found.half is not None:
        axes.text(x, y + 0.24, f"± {100 * found.half:.2f}", fontsize=size - 1.5, **style)


def _main_text(found: Measured, scale: Scale) -> str:
    if not scale.paired:
        return f"{100 * found.mean:.2f}"
    text = f"{100 * found.mean:+.2f}"
    mark = {1: "▲", 0: "", -1: "▼"}[found.sign]
    return mark + (text if float(text) else "0.00")


def _caption(view: SweepView, rest: Sequence[Setting], num_panels: int, paired: bool) -> str:
    covers = view.covers if paired else "over seeds"
    parts = [what_is_shown(paired), f"Below it half the width of its 95 % interval {covers}."]
    if paired:
        parts.append(
            "▲ and ▼: evidence of a gain or a loss, with Holm's correction for the number of cells."
        )
    if rest and num_panels == 1:
        names = ", ".join(setting.label for setting in rest)
        parts.append(
            f"Each cell is the mean over the finished trials at other values of {names}, taken "
            "seed by seed."
        )
    if view.best is not None:
        parts.append("Thick frame: the winner.")
    return " ".join(parts)
