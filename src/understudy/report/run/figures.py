"""The figures of a run, in the order of its page.

Each ``draw_*`` function returns ``None`` if the run holds nothing to draw. The style of all figures
is in :mod:`understudy.report.drawing`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.evaluation.results import Reliability
from understudy.evaluation.statistics import estimate
from understudy.events import EpochResult
from understudy.report.colours import CROWD, EXTRA_COLOURS, ROLE_COLOURS
from understudy.report.drawing import (
    HOLLOW,
    INK,
    WIDTH,
    Drawing,
    bars_figure,
    legend_below,
    name_rows,
    plain_log_ticks,
    save,
    short,
    styled,
)
from understudy.report.format import is_number
from understudy.report.run.bars import (
    PUBLISHED_BATCH,
    draw_accuracy,
    draw_gain,
    draw_latency,
    draw_parameters,
    draw_size,
)
from understudy.report.run.confusion import draw_confusion
from understudy.report.run.looks import Look, arm_looks, crowded, legend_labels
from understudy.report.run.table import latency_ms, paired_per_class
from understudy.runs.history import HistoryRow, epochs_of
from understudy.runs.results import Published, RunResults

MAX_CLASSES = 24
"""More do not fit one figure; then half of them are the best, half the worst."""


@dataclass(frozen=True)
class Caption:
    """Title of a figure, and one line on how to read it."""

    title: str
    text: str
    published: tuple[str, ...] = ()
    """The published numbers that it shows, if there are any."""


CAPTIONS = {
    "accuracy": Caption(
        "Top-1 accuracy",
        "Longer is better. Bar: mean over seeds; dots: single seeds; line: 95 % interval.",
        ("accuracy",),
    ),
    "gain": Caption(
        "Paired gain",
        "Dot: one seed, its accuracy minus that of the reference arm with the same seed. Diamond: "
        "mean, with its 95 % interval over seeds and test images (over seeds alone, if it is not "
        "recorded which images were right). An interval right of zero is evidence of a gain.",
    ),
    "curves": Caption(
        "Training curves",
        "Line: mean over seeds; band: ± one standard deviation. Methods add up different losses: "
        "compare shapes, not heights.",
    ),
    "size": Caption(
        "Size in memory",
        "Shorter is better. Parameters and buffers, MB of 2²⁰ bytes; × is how many times smaller "
        "than the teacher.",
    ),
    "parameters": Caption("Parameters", "Shorter is better. Trained numbers in the network."),
    "latency": Caption(
        "Latency",
        "Shorter is better. Bar: median time of one batch; tick: 95th percentile.",
        ("latency_ms",),
    ),
    "accuracy_size": Caption(
        "Accuracy against size",
        "Up and left is better. Logarithmic axis; vertical lines are 95 % intervals over seeds.",
        ("accuracy", "size_mb"),
    ),
    "accuracy_latency": Caption(
        "Accuracy against latency",
        "Up and left is better. Logarithmic axis; vertical lines are 95 % intervals over seeds.",
        ("accuracy", "latency_ms"),
    ),
    "per_class": Caption(
        "Change by class",
        "Test accuracy of the distilled student minus the baseline, class by class, paired by "
        "seed. Right of zero is better; lines are 95 % intervals over seeds alone.",
    ),
    "confusion": Caption(
        "Confusion",
        "A row for each class: how many percent of its test images are predicted as which class, "
        "mean over seeds. On the diagonal they are right.",
    ),
    "reliability": Caption(
        "Reliability",
        "On the dashed diagonal, a model that is 80 % sure is right 80 % of the time; below it, it "
        "is overconfident. Larger marks hold more images.",
    ),
}
"""File stem -> caption, in the order of the page."""


def draw_all(results: RunResults, history: Sequence[HistoryRow], folder: Path) -> list[Drawing]:
    """Draw every figure the run has numbers for and write ``folder/<name>.png`` and ``.svg``.

    Args:
        results: of the run.
        history: epochs of all arms and seeds; empty draws no training curves.
        folder: where the files go.
    """
    drawings = []
    with styled():
        for name, caption in CAPTIONS.items():
            figure = draw_curves(results, history) if name == "curves" else _DRAW[name](results)
            if figure is not None:
                text = caption.text + _published_note(results, caption.published)
                drawings.append(save(figure, name, caption.title, text, folder))
    return drawings


def _published_note(results: RunResults, keys: Sequence[str]) -> str:
    """What the hollow diamonds are, for the figures that have some."""
    shown = [results.published(name) for name in results.arms]
    if not keys or not any(_has_all(row, keys) for row in shown):
        return ""
    other_hardware = ", from other hardware" if "latency_ms" in keys else ""
    return f" Hollow diamonds: published figures{other_hardware}."


def _has_all(row: Published, keys: Sequence[str]) -> bool:
    return all(getattr(row, key) is not None for key in keys)


# -- training curves -------------------------------------------------------------------------------


def draw_curves(results: RunResults, history: Sequence[HistoryRow]) -> Figure | None:
    """Validation accuracy and training loss by epoch: mean and ± one standard deviation."""
    if not history:
        return None
    looks, labels = arm_looks(results), legend_labels(results)
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, title, value_of in (
        (panels[0], "validation accuracy, %", lambda epoch: 100 * epoch.val_accuracy),
        (panels[1], "training loss", lambda epoch: epoch.losses.get("loss")),
    ):
        for name, look in looks.items():
            by_epoch = _by_epoch(epochs_of(history, name), value_of)
            if by_epoch:
                thin = look.colour == CROWD and crowded(results)
                _curve(axes, by_epoch, look, labels[name], thin)
        axes.set_title(title)
        axes.grid()
    panels[1].set_xlabel("epochs trained")
    panels[1].xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, panels[0])
    return figure


def _by_epoch(
    epochs: Sequence[EpochResult], value_of: Callable[[EpochResult], float | None]
) -> dict[int, list[float]]:
    """Epochs trained -> one value for each seed."""
    found: dict[int, list[float]] = {}
    for epoch in epochs:
        value = value_of(epoch)
        if is_number(value):
            found.setdefault(epoch.epoch + 1, []).append(value)
    return found


def _curve(
    axes: Axes, by_epoch: Mapping[int, list[float]], look: Look, label: str, thin: bool
) -> None:
    epochs = sorted(by_epoch)
    means = np.array([np.mean(by_epoch[epoch]) for epoch in epochs])
    if thin:
        axes.plot(epochs, means, linewidth=0.8, alpha=0.6, color=look.colour, label=label)
        return
    spread = np.array([_deviation(by_epoch[epoch]) for epoch in epochs])
    axes.fill_between(
        epochs, means - spread, means + spread, color=look.colour, alpha=0.22, linewidth=0
    )
    axes.plot(
        epochs,
        means,
        marker=look.marker,
        markevery=max(1, len(epochs) // 5),
        markersize=4.5,
        zorder=3,
        color=look.colour,
        label=label,
    )


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


# -- accuracy against cost -------------------------------------------------------------------------


def draw_accuracy_size(results: RunResults) -> Figure | None:
    """Mean test accuracy against the size in memory, logarithmic."""
    sizes = {name: arm.size.size_mb for name, arm in results.arms.items() if arm.size}
    return _scatter(results, sizes, lambda row: row.size_mb, "size in memory, MB")


def draw_accuracy_latency(results: RunResults) -> Figure | None:
    """Mean test accuracy against the latency of a batch of 128, logarithmic."""
    measured = {name: latency_ms(arm, PUBLISHED_BATCH) for name, arm in results.arms.items()}
    known = {name: value for name, value in measured.items() if value is not None}
    return _scatter(results, known, lambda row: row.latency_ms, "latency of a batch of 128, ms")


def _scatter(
    results: RunResults,
    costs: Mapping[str, float],
    published_cost: Callable[[Published], float | None],
    label: str,
) -> Figure | None:
    shown = [name for name in results.arms if costs.get(name, 0) > 0]
    if not shown:
        return None
    looks, labels = arm_looks(results), legend_labels(results)
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for name in shown:
        look = looks[name]
        found = estimate([100 * accuracy for accuracy in results.arms[name].accuracies])
        style: dict[str, Any] = {"markersize": 7, "capsize": 3, "elinewidth": 1.3}
        if look.colour == CROWD and crowded(results):
            style = {"markersize": 4, "alpha": 0.6, "elinewidth": 0.8, "capsize": 0}
        style |= {"color": look.colour, "label": labels[name]}
        axes.errorbar(costs[name], found.mean, yerr=found.half, fmt=look.marker, **style)
        published = results.published(name)
        cost = published_cost(published)
        if cost and published.accuracy is not None:
            style = HOLLOW | {"markeredgecolor": look.colour, "markeredgewidth": 1.4}
            axes.plot(cost, 100 * published.accuracy, "D", **style)
    axes.margins(0.12)
    plain_log_ticks(axes)
    axes.grid()
    axes.set(xlabel=label, ylabel="top-1 accuracy, %")
    legend_below(figure, axes)
    return figure


# -- classes and calibration -----------------------------------------------------------------------


def draw_per_class(results: RunResults) -> Figure | None:
    """Change of each class's accuracy from baseline to distilled: mean and 95 % interval."""
    distilled, baseline = results.arm_of_role("distilled"), results.arm_of_role("baseline")
    if distilled is None or baseline is None:
        return None
    changes = paired_per_class(results, distilled, baseline)
    means = [(float(np.mean(seeds)), index) for index, seeds in enumerate(changes) if seeds]
    rows = [index for _, index in sorted(means, reverse=True)]
    if not rows:
        return None
    if len(rows) > MAX_CLASSES:
        rows = rows[: MAX_CLASSES // 2] + rows[-MAX_CLASSES // 2 :]
    figure, axes = bars_figure(len(rows), row_height=0.24)
    axes.axvline(0, color=INK, linewidth=1)
    for row, index in enumerate(rows):
        _class_row(axes, row, [100 * change for change in changes[index]])
    names = results.data.class_names
    if len(rows) < len(names):
        half = len(rows) // 2
        axes.set_xlabel(f"points; the {half} best and {half} worst classes")
    else:
        axes.set_xlabel("points of top-1 accuracy")
    return name_rows(figure, axes, [short(names[index], 18) for index in rows])


def _class_row(axes: Axes, row: int, changes: Sequence[float]) -> None:
    found = estimate(changes)
    colour = ROLE_COLOURS["distilled"] if found.mean >= 0 else EXTRA_COLOURS[2]
    line = ([0, found.mean], [row, row])
    axes.plot(*line, color=colour, alpha=0.35, linewidth=5, solid_capstyle="butt")
    if found.half is not None:
        axes.errorbar(
            found.mean, row, xerr=found.half, color=INK, linewidth=1, capsize=2.5, alpha=0.8
        )
    axes.plot(found.mean, row, "o", color=colour, markersize=5, zorder=5)


def draw_reliability(results: RunResults) -> Figure | None:
    """Accuracy against confidence in 15 bins, pooled over seeds (Guo et al. 2017).

    For teacher, baseline and distilled student.
    """
    looks = arm_looks(results)
    tables: dict[str, list[Reliability]] = {}
    for role in ROLE_COLOURS:
        name = results.arm_of_role(role)
        if name is not None:
            found = [run.test.reliability for run in results.arms[name].runs]
            tables[name] = [table for table in found if table is not None]
    if not any(tables.values()):
        return None
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", alpha=0.6)
    for name, seeds in tables.items():
        if seeds:
            _reliability_line(axes, seeds, looks[name])
    axes.set(
        xlim=(0, 103),
        ylim=(0, 103),
        xlabel="confidence, %",
        ylabel="classified right, %",
        aspect="equal",
    )
    axes.grid()
    legend_below(figure, axes)
    return figure


def _reliability_line(axes: Axes, tables: Sequence[Reliability], look: Look) -> None:
    """Bins of several seeds, weighted by their counts."""
    count = np.array([table.count for table in tables], float)
    confidence = _filled([table.confidence for table in tables])
    accuracy = _filled([table.accuracy for table in tables])
    total = count.sum(0)
    full = total > 0
    x = 100 * (count * confidence).sum(0)[full] / total[full]
    y = 100 * (count * accuracy).sum(0)[full] / total[full]
    axes.plot(x, y, color=look.colour, marker=look.marker, markersize=2.5, label=look.label)
    axes.scatter(
        x,
        y,
        s=90 * total[full] / total.max() + 6,
        color=look.colour,
        marker=look.marker,
        linewidth=0,
        alpha=0.85,
    )


def _filled(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """fp64 ``[seeds, bins]``; empty bins are 0, which their count of 0 leaves out."""
    return np.array([[value or 0 for value in row] for row in rows], float)


_DRAW: dict[str, Callable[[RunResults], Figure | None]] = {
    "accuracy": draw_accuracy,
    "gain": draw_gain,
    "size": draw_size,
    "parameters": draw_parameters,
    "latency": draw_latency,
    "accuracy_size": draw_accuracy_size,
    "accuracy_latency": draw_accuracy_latency,
    "per_class": draw_per_class,
    "confusion": draw_confusion,
    "reliability": draw_reliability,
}
