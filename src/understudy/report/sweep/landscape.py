"""The result over the settings: a heat map for two, a line for one, dots for sampled ranges.

Each figure shows the paired gain over the baseline, if the sweep trained one for every trial,
otherwise the validation accuracy. Intervals are those of 95 %: of accuracies over seeds, of gains
also over images, if it is recorded which were right.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.evaluation.gain import PairedGain, corrected
from understudy.report.colours import BETTER, LINES, MUTED
from understudy.report.drawing import INK, WIDTH, plain_log_ticks, short
from understudy.report.sweep.heatmap import (
    SMALLEST_SCALE,
    draw_heatmaps,
    is_dense,
    levels_of,
    what_is_shown,
)
from understudy.report.sweep.view import Measured, Setting, SweepView, pooled, written
from understudy.sweep.results import Trial


def draw_landscape(
    view: SweepView, ranked: Sequence[str], *, paired: bool
) -> tuple[Figure, str] | None:
    """The figure that fits the sweep and how to read it; ``None`` without a complete trial.

    Args:
        view: what to draw.
        ranked: swept keys, the most important first. The first two become the axes.
        paired: draw gains; otherwise accuracies.
    """
    if not view.complete:
        return None
    by_key = {setting.key: setting for setting in view.settings}
    ordered = [by_key[key] for key in ranked]
    if len(ordered) == 1:
        return _line(view, ordered[0], paired)
    if is_dense(view, ordered[:2]):
        return draw_heatmaps(view, ordered[:2], ordered[2:], paired)
    return _scatter(view, ordered[:2], paired)


# -- one setting -----------------------------------------------------------------------------------


def _line(view: SweepView, setting: Setting, paired: bool) -> tuple[Figure, str]:
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    places = zip(_places(setting, view.complete), view.complete, strict=True)
    done = sorted(places, key=lambda pair: (pair[0], pair[1].number))
    x = [place for place, _ in done]
    by_seed = [_percents(trial, paired) for _, trial in done]
    for place, values in zip(x, by_seed, strict=True):
        seeds: dict[str, Any] = {"markersize": 2.5, "alpha": 0.55, "markeredgewidth": 0}
        axes.plot([place] * len(values), values, "o", color=INK, **seeds)
    found = [pooled(view, [trial], paired) for _, trial in done]
    _draw_means(axes, setting, x, [each for each in found if each is not None])
    if paired:
        axes.axhline(0, color=INK, linewidth=1)
    axes.margins(x=0.06, y=0.1)
    _name_values(axes, setting)
    axes.grid()
    label = "gain, points" if paired else "validation accuracy, %"
    axes.set(xlabel=short(setting.key, 40), ylabel=label)
    spread = "Band" if setting.numeric else "Bar"
    caption = (
        f"{what_is_shown(paired)} Dots: single seeds. {spread}: 95 % interval "
        f"{view.covers if paired else 'over seeds'}."
        f"{_missing(len(view.trials) - len(done))}"
    )
    return figure, caption


def _percents(trial: Trial, paired: bool) -> list[float]:
    return [100 * value for value in (trial.gains if paired else trial.accuracies).values()]


def _draw_means(
    axes: Axes, setting: Setting, x: Sequence[float], found: Sequence[Measured]
) -> None:
    means = [100 * each.mean for each in found]
    halves = [100 * each.half for each in found if each.half is not None]
    known = len(halves) == len(found)
    if not setting.numeric:
        style: dict[str, Any] = {"markersize": 5, "capsize": 4}
        axes.errorbar(x, means, yerr=halves if known else None, fmt="D", color=BETTER, **style)
        return
    if known:
        low = [mean - half for mean, half in zip(means, halves, strict=True)]
        high = [mean + half for mean, half in zip(means, halves, strict=True)]
        axes.fill_between(x, low, high, color=BETTER, alpha=0.22, linewidth=0)
    axes.plot(x, means, color=BETTER, marker="D", markersize=4.5)


def _missing(lost: int) -> str:
    if not lost:
        return ""
    return f" {lost} pruned or failed {'trials are' if lost > 1 else 'trial is'} missing."


# -- sampled ranges --------------------------------------------------------------------------------


def _scatter(view: SweepView, pair: Sequence[Setting], paired: bool) -> tuple[Figure, str]:
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    across, down = pair
    lost = [trial for trial in view.trials if trial.state != "complete"]
    crosses: dict[str, Any] = {"marker": "x", "s": 18, "color": MUTED, "linewidth": 1}
    axes.scatter(_places(across, lost), _places(down, lost), **crosses)
    dots = _draw_dots(axes, view, pair, paired)
    if view.best is not None:
        ring: dict[str, Any] = {"s": 120, "facecolor": "none", "edgecolor": INK, "linewidth": 1.6}
        axes.scatter(_places(across, [view.best]), _places(down, [view.best]), **ring)
    bar = figure.colorbar(dots, ax=axes, location="top", aspect=40, pad=0.02)
    bar.set_label("gain, points" if paired else "validation accuracy, %")
    bar.outline.set_visible(False)
    axes.margins(0.06)
    _name_values(axes, across)
    _name_values(axes, down, "y")
    axes.grid()
    axes.set(xlabel=short(across.key, 40), ylabel=short(down.key, 34))
    return figure, _scatter_caption(view, bool(lost), paired)


def _draw_dots(axes: Axes, view: SweepView, pair: Sequence[Setting], paired: bool) -> Any:
    """One dot per complete trial, the best on top; returns one of the collections for a legend."""
    done = view.complete[::-1]
    found = [pooled(view, [trial], paired) for trial in done]
    measured = _corrected([each for each in found if each is not None])
    means = sorted(each.mean for each in measured)
    low, high = means[len(means) // 20], means[-1]
    if paired:
        high = max(SMALLEST_SCALE, *(abs(mean) for mean in means))
        low = -high
    x, y = (_places(setting, done) for setting in pair)
    look: dict[str, Any] = {"cmap": LINES, "vmin": 100 * low, "vmax": 100 * high}
    dots = None
    for sign, marker in ((0, "o"), (-1, "v"), (1, "^")):
        some = [k for k, each in enumerate(measured) if (each.sign if paired else 0) == sign]
        dots = axes.scatter(
            [x[k] for k in some],
            [y[k] for k in some],
            c=[100 * measured[k].mean for k in some],
            marker=marker,
            s=34,
            linewidth=0,
            **look,
        )
    return dots


def _corrected(measured: Sequence[Measured]) -> list[Measured]:
    """Gains corrected for how many they are; accuracies unchanged."""
    gains = [each for each in measured if isinstance(each, PairedGain)]
    return [*corrected(gains)] if gains else list(measured)


def _scatter_caption(view: SweepView, lost: bool, paired: bool) -> str:
    parts = [f"One mark a trial. {what_is_shown(paired)}"]
    if paired:
        parts.append(
            "Triangle up or down: evidence of a gain or a loss, with Holm's correction for the "
            "number of trials."
        )
    if lost:
        parts.append("Crosses: pruned or failed.")
    if view.best is not None:
        parts.append("Ring: the winner.")
    if len(view.settings) > 2:
        parts.append("The two most important of the settings.")
    return " ".join(parts)


# -- axes ------------------------------------------------------------------------------------------


def _places(setting: Setting, trials: Sequence[Trial]) -> list[float]:
    """Where trials lie on a setting's axis: at the value, or at its position if it is no number."""
    values = [trial.values[setting.key] for trial in trials]
    if setting.numeric:
        return [float(value) for value in values]
    return [float(setting.place(value)) for value in values]


def _name_values(axes: Axes, setting: Setting, which: str = "x") -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not setting.numeric:
        names = [short(written(level), 10) for level in levels_of(setting)]
        axis.set_ticks(range(len(names)), names)
    elif setting.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        plain_log_ticks(axes, which)
    elif setting.levels is not None and len(setting.levels) <= 6:
        axis.set_ticks(list(setting.levels), [written(level) for level in setting.levels])
