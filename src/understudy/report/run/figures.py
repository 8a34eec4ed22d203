"""The figures of a run.

Each ``draw_*`` function takes the mapping read from ``results.json`` and gives a Figure, or None where the run holds nothing
to draw. How all figures look is in :mod:`understudy.report.drawing`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

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
from understudy.report.run.table import (
    Results,
    arm_of_role,
    counted,
    latency,
    mean_interval,
    paired_per_class,
    present,
    significant,
)
from understudy.runs.results import HistoryRow

COLOURS = {
    "teacher": "#0072B2",
    "baseline": "#D98200",
    "distilled": "#009E73",
}  # Okabe & Ito 2008, orange darkened
EXTRA_COLOURS = ("#CC79A7", "#56B4E9", "#D55E00", "#8A8A8A", "#A6761D", "#7B6FD0")
MARKERS = {"teacher": "s", "baseline": "o", "distilled": "^"}
EXTRA_MARKERS = ("v", "P", "X", "<", ">", "p")
CROWD = "#7B6FD0"
"""Of all further arms where there are more than colours: then rows are ranked and named, and curves share one legend entry."""
MAX_CLASSES = 24  # more do not fit one figure; then half of them the best, half the worst

CAPTIONS = {
    "accuracy": (
        "Top-1 accuracy",
        "Longer is better. Bar: mean over seeds; dots: single seeds; line: 95 % interval.",
    ),
    "gain": (
        "Paired gain",
        "Dot: one seed, its accuracy minus that of the reference arm with the same seed. Diamond: mean, with its 95 % interval. "
        "An interval right of zero is evidence of a gain.",
    ),
    "curves": (
        "Training curves",
        "Line: mean over seeds; band: ± one standard deviation. Methods add up different losses: compare shapes, not heights.",
    ),
    "size": (
        "Size in memory",
        "Shorter is better. Parameters and buffers, MB of 2²⁰ bytes; × says how many times smaller than the teacher.",
    ),
    "parameters": ("Parameters", "Shorter is better. Trained numbers in the network."),
    "latency": (
        "Latency",
        "Shorter is better. Bar: median time of one batch; tick: 95th percentile.",
    ),
    "accuracy_size": (
        "Accuracy against size",
        "Up and left is better. Logarithmic axis; vertical lines are 95 % intervals over seeds.",
    ),
    "accuracy_latency": (
        "Accuracy against latency",
        "Up and left is better. Logarithmic axis; vertical lines are 95 % intervals over seeds.",
    ),
    "per_class": (
        "Change by class",
        "Test accuracy of the distilled student minus the baseline, class by class, paired by seed. Right of zero is better; "
        "lines are 95 % intervals.",
    ),
    "reliability": (
        "Reliability",
        "On the dashed diagonal, a model that is 80 % sure is right 80 % of the time; below it, it is overconfident. "
        "Larger marks hold more images.",
    ),
}
"""File stem: title and one line on how to read the figure, in the order of the page."""

_PUBLISHED_KEYS = {
    "accuracy": ("accuracy",),
    "latency": ("latency_ms",),
    "accuracy_size": ("accuracy", "size_mb"),
    "accuracy_latency": ("accuracy", "latency_ms"),
}


@dataclass(frozen=True)
class Look:
    """How an arm is drawn, the same in all figures."""

    label: str
    colour: str
    marker: str


def draw_all(results: Results, history: Sequence[HistoryRow], folder: Path) -> list[Drawing]:
    """Draw every figure the run has numbers for and write ``folder/<name>.png`` and ``.svg``.

    ``history`` holds one mapping for each arm, seed and epoch, with the columns of ``history.csv``; numbers as float or None.
    """
    drawings = []
    with styled():
        for name, (title, caption) in CAPTIONS.items():
            figure = draw_curves(results, history) if name == "curves" else _DRAW[name](results)
            if figure:
                drawings.append(
                    save(figure, name, title, caption + _published_note(results, name), folder)
                )
    return drawings


# -- one function for each figure ---------------------------------------------------------------------------------------


def draw_accuracy(results: Results) -> Figure | None:
    """Horizontal bars of the mean test accuracy, from zero, with seeds, 95 % intervals and published figures."""
    looks, arms = arm_looks(results), results["arms"]
    if crowded(results):
        arms = dict(
            sorted(
                arms.items(),
                key=lambda pair: (
                    -mean_interval([r["test"]["accuracy"] for r in pair[1]["runs"]])[0]
                ),
            )
        )
    figure, axes = bars_figure(len(arms))
    for row, (name, arm) in enumerate(arms.items()):
        seeds = [100 * run["test"]["accuracy"] for run in arm["runs"]]
        mean, half = mean_interval(seeds)
        axes.barh(row, mean, height=0.62, color=looks[name].colour)
        end = max([mean, *seeds])
        if half is not None:
            axes.errorbar(mean, row, xerr=half, color=INK, linewidth=1.2, capsize=3, zorder=4)
            axes.plot(
                seeds,
                [row + 0.2] * len(seeds),
                "o",
                markersize=2.8,
                color=INK,
                alpha=0.7,
                markeredgewidth=0,
                zorder=3,
            )
            end = max(end, mean + half)
        published = _reference(results, name, "accuracy")
        if published is not None:
            axes.plot(100 * published, row, "D", **HOLLOW)
            end = max(end, 100 * published + 1.5)
        axes.annotate(
            f"{mean:.2f}",
            (end, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
        )
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("test images classified right, %")
    return name_rows(figure, axes, [looks[name].label for name in arms])


def draw_gain(results: Results) -> Figure | None:
    """For each comparison of accuracies: the gain of every seed, the mean and its 95 % interval."""
    of_accuracy = [c for c in results.get("comparisons") or [] if c.get("metric") == "accuracy"]
    rows = [c for c in of_accuracy if c.get("gains") and c.get("arm") in results["arms"]]
    if not rows:
        return None
    looks = arm_looks(results)
    if crowded(results):
        rows = sorted(rows, key=lambda c: -c["mean"])
    figure, axes = bars_figure(len(rows), row_height=0.5)
    axes.axvline(0, color=INK, linewidth=1)
    for row, comparison in enumerate(rows):
        gains, colour = [100 * g for g in comparison["gains"]], looks[comparison["arm"]].colour
        axes.plot(
            gains,
            [row + 0.2] * len(gains),
            "o",
            markersize=5,
            color=colour,
            alpha=0.8,
            markeredgewidth=0,
        )
        mean, low, high = (_percent(comparison.get(key)) for key in ("mean", "low", "high"))
        if mean is None:
            continue
        if low is not None and high is not None:
            axes.errorbar(
                mean,
                row - 0.1,
                xerr=[[mean - low], [high - mean]],
                color=INK,
                linewidth=1.4,
                capsize=3,
            )
        axes.plot(mean, row - 0.1, "D", markersize=5, color=INK)
        axes.annotate(
            f"{mean:+.2f}",
            (mean, row - 0.1),
            (0, 5),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
        )
    axes.margins(x=0.12)
    references = {str(c.get("reference")) for c in rows}
    shared = (
        f" over {short(references.pop(), 16)}" if len(rows) > 1 and len(references) == 1 else ""
    )
    axes.set_xlabel(f"gain in top-1 accuracy{shared}, points")
    names = [
        short(c["arm"], 16) + ("" if shared else f"\n− {short(str(c.get('reference')), 14)}")
        for c in rows
    ]
    return name_rows(figure, axes, names)


def draw_curves(results: Results, history: Sequence[HistoryRow]) -> Figure | None:
    """Validation accuracy and training loss by epoch: mean and ± one standard deviation over seeds."""
    if not history:
        return None
    looks, labels, many = arm_looks(results), legend_labels(results), crowded(results)
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    shown = (("val_accuracy", 100, "validation accuracy, %"), ("train_loss", 1, "training loss"))
    for axes, (column, scale, title) in zip(panels, shown, strict=True):
        for name, look in looks.items():
            by_epoch: dict[int, list[float]] = {}
            for line in history:
                value = (
                    line.epoch.losses.get("loss")
                    if column == "train_loss"
                    else line.epoch.val_accuracy
                )
                if line.arm == name and present(value):
                    by_epoch.setdefault(line.epoch.epoch + 1, []).append(scale * value)
            if not by_epoch:
                continue
            epochs = sorted(by_epoch)
            means = np.array([np.mean(by_epoch[e]) for e in epochs])
            spread = np.array(
                [np.std(by_epoch[e], ddof=1) if len(by_epoch[e]) > 1 else 0.0 for e in epochs]
            )
            every = max(1, len(epochs) // 5)
            style: dict[str, Any] = {"color": look.colour, "label": labels[name]}
            if many and look.colour == CROWD:
                axes.plot(epochs, means, linewidth=0.8, alpha=0.6, **style)
                continue
            axes.fill_between(
                epochs, means - spread, means + spread, color=look.colour, alpha=0.22, linewidth=0
            )
            axes.plot(
                epochs,
                means,
                marker=look.marker,
                markevery=every,
                markersize=4.5,
                zorder=3,
                **style,
            )
        axes.set_title(title)
        axes.grid()
    panels[1].set_xlabel("epochs trained")
    panels[1].xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, panels[0])
    return figure


def draw_size(results: Results) -> Figure | None:
    """Horizontal bars of the size in memory, MB of 2^20 bytes."""

    def text(arm: Mapping[str, Any], value: float) -> str:
        ratio = arm.get("compression")
        return f"{value:.2f}" + (
            f"  ({significant(ratio)}×)" if present(ratio) and arm.get("role") != "teacher" else ""
        )

    return _size_bars(results, "size_mb", "MB", text)


def draw_parameters(results: Results) -> Figure | None:
    """Horizontal bars of the number of parameters, millions."""
    return _size_bars(
        results, "parameters", "parameters, millions", lambda _, value: counted(1e6 * value), 1e-6
    )


def draw_latency(results: Results) -> Figure | None:
    """Horizontal bars of the median latency for each batch size measured, with p95 ticks and published figures (batch 128)."""
    arms, looks = results["arms"], arm_looks(results)
    batches = sorted({int(batch) for arm in arms.values() for batch in arm.get("latency") or {}})
    if not batches:
        return None
    figure = Figure(figsize=(WIDTH, len(batches) * (0.75 + 0.27 * len(arms))), layout="constrained")
    for batch, axes in zip(
        batches, figure.subplots(len(batches), 1, squeeze=False)[:, 0], strict=True
    ):
        for row, (name, arm) in enumerate(arms.items()):
            median, p95 = latency(arm, batch), latency(arm, batch, "p95_ms")
            if median is None:
                continue
            axes.barh(row, median, height=0.62, color=looks[name].colour)
            if p95 is not None:
                axes.plot(p95, row, "|", color=INK, markersize=9, markeredgewidth=1.3)
            published = _reference(results, name, "latency_ms") if batch == 128 else None
            if published is not None:
                axes.plot(published, row, "D", **HOLLOW)
            end = max(v for v in (median, p95, published) if v is not None)
            axes.annotate(
                significant(median),
                (end, row),
                (7, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
        axes.set_xlim(0, axes.get_xlim()[1] * 1.2)
        axes.set_title(f"batch of {batch}, ms")
        axes.grid(axis="x")
        name_rows(figure, axes, [looks[name].label for name in arms])
    return figure


def draw_accuracy_size(results: Results) -> Figure | None:
    """Scatter of the mean test accuracy against the size in memory, logarithmic."""
    sizes = {name: (arm.get("size") or {}).get("size_mb") for name, arm in results["arms"].items()}
    return _scatter(results, sizes, "size_mb", "size in memory, MB")


def draw_accuracy_latency(results: Results) -> Figure | None:
    """Scatter of the mean test accuracy against the latency of a batch of 128, logarithmic."""
    times = {name: latency(arm, 128) for name, arm in results["arms"].items()}
    return _scatter(results, times, "latency_ms", "latency of a batch of 128, ms")


def draw_per_class(results: Results) -> Figure | None:
    """Paired change of each class's accuracy from baseline to distilled: mean and 95 % interval over seeds."""
    distilled, baseline = arm_of_role(results, "distilled"), arm_of_role(results, "baseline")
    if distilled is None or baseline is None:
        return None
    changes = paired_per_class(results, distilled, baseline)
    names = results["data"]["class_names"]
    rows = sorted(
        ((float(np.mean(c)), index) for index, c in enumerate(changes) if c), reverse=True
    )
    if not rows:
        return None
    if len(rows) > MAX_CLASSES:
        rows = rows[: MAX_CLASSES // 2] + rows[-MAX_CLASSES // 2 :]
    figure, axes = bars_figure(len(rows), row_height=0.24)
    axes.axvline(0, color=INK, linewidth=1)
    for row, (_, index) in enumerate(rows):
        mean, half = mean_interval([100 * change for change in changes[index]])
        colour = COLOURS["distilled"] if mean >= 0 else EXTRA_COLOURS[2]
        axes.plot(
            [0, mean], [row, row], color=colour, alpha=0.35, linewidth=5, solid_capstyle="butt"
        )
        if half is not None:
            axes.errorbar(mean, row, xerr=half, color=INK, linewidth=1, capsize=2.5, alpha=0.8)
        axes.plot(mean, row, "o", color=colour, markersize=5, zorder=5)
    part = (
        f"; the {len(rows) // 2} best and {len(rows) // 2} worst classes"
        if len(rows) < len(names)
        else " of top-1 accuracy"
    )
    axes.set_xlabel(f"points{part}")
    return name_rows(figure, axes, [short(str(names[index]), 18) for _, index in rows])


def draw_reliability(results: Results) -> Figure | None:
    """Accuracy against confidence in 15 bins, pooled over seeds, for teacher, baseline and distilled (Guo et al. 2017)."""
    looks = arm_looks(results)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", alpha=0.6)
    drawn = False
    for role in ("teacher", "baseline", "distilled"):
        name = arm_of_role(results, role)
        tables = (
            [t for run in results["arms"][name]["runs"] if (t := run["test"].get("reliability"))]
            if name
            else []
        )
        if name is None or not tables:
            continue
        keys = ("count", "confidence", "accuracy")
        count, confidence, accuracy = (
            np.array([[v or 0 for v in table[key]] for table in tables], float) for key in keys
        )
        total = count.sum(0)
        full = total > 0
        x, y = (
            100 * (count * values).sum(0)[full] / total[full] for values in (confidence, accuracy)
        )
        look = looks[name]
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
        drawn = True
    if not drawn:
        return None
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


# -- what they share ----------------------------------------------------------------------------------------------------


def arm_looks(results: Results) -> dict[str, Look]:
    """Label, colour and marker of every arm: fixed by its role; further arms in their order."""
    looks: dict[str, Look] = {}
    extra = 0
    taken: set[str] = set()
    for name, arm in results["arms"].items():
        role = arm.get("role")
        if role in COLOURS and role not in taken:
            taken.add(role)
            looks[name] = Look(short(name, 16), COLOURS[role], MARKERS[role])
        else:
            many = crowded(results)
            colour, marker = (CROWD, "o") if many else (EXTRA_COLOURS[extra], EXTRA_MARKERS[extra])
            looks[name] = Look(short(name, 16), colour, marker)
            extra += 1
    return looks


def _further(results: Results) -> list[str]:
    """The arms that have no colour by their role."""
    first = {arm_of_role(results, role) for role in COLOURS}
    return [name for name in results["arms"] if name not in first]


def crowded(results: Results) -> bool:
    """Whether there are more arms than colours."""
    return len(_further(results)) > len(EXTRA_COLOURS)


def legend_labels(results: Results) -> dict[str, str]:
    """What the legend calls each arm; further arms of a crowd share one entry (matplotlib leaves out ``_nolegend_``)."""
    labels = {name: look.label for name, look in arm_looks(results).items()}
    further = _further(results)
    if crowded(results):
        labels |= dict.fromkeys(further, "_nolegend_") | {
            further[0]: f"{len(further)} further arms"
        }
    return labels


def _size_bars(
    results: Results, key: str, label: str, text: Any, scale: float = 1.0
) -> Figure | None:
    arms, looks = results["arms"], arm_looks(results)
    known = {name: (arm.get("size") or {}).get(key) for name, arm in arms.items()}
    values = {name: scale * value for name, value in known.items() if present(value)}
    if not values:
        return None
    rows: dict[tuple[Any, ...], list[str]] = {}
    for name, value in values.items():
        # Twenty methods train one student: its size is one row, not twenty.
        rows.setdefault(
            (arms[name].get("model"), value) if crowded(results) else (name,), []
        ).append(name)
    values = {names[0]: values[names[0]] for names in rows.values()}
    figure, axes = bars_figure(len(values))
    for row, (name, value) in enumerate(values.items()):
        axes.barh(row, value, height=0.62, color=looks[name].colour)
        axes.annotate(
            text(arms[name], value),
            (value, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
        )
    axes.set_xlim(0, max(values.values()) * 1.25)
    axes.set_xlabel(label)
    named = [
        looks[names[0]].label + (f"\nand {len(names) - 1} more" if len(names) > 1 else "")
        for names in rows.values()
    ]
    return name_rows(figure, axes, named)


def _scatter(
    results: Results, x: Mapping[str, Any], reference_key: str, label: str
) -> Figure | None:
    if not any(present(value) and value > 0 for value in x.values()):
        return None
    looks, labels = arm_looks(results), legend_labels(results)
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for name, arm in results["arms"].items():
        if present(x[name]) and x[name] > 0:
            mean, half = mean_interval([100 * run["test"]["accuracy"] for run in arm["runs"]])
            look = looks[name]
            style: dict[str, Any] = {
                "color": look.colour,
                "markersize": 7,
                "capsize": 3,
                "elinewidth": 1.3,
                "label": labels[name],
            }
            if look.colour == CROWD and crowded(results):
                style |= {"markersize": 4, "alpha": 0.6, "elinewidth": 0.8, "capsize": 0}
            axes.errorbar(x[name], mean, yerr=half, fmt=look.marker, **style)
            published_x, published_y = (
                _reference(results, name, reference_key),
                _reference(results, name, "accuracy"),
            )
            if published_x and published_y is not None:
                axes.plot(
                    published_x,
                    100 * published_y,
                    "D",
                    **(HOLLOW | {"markeredgecolor": look.colour, "markeredgewidth": 1.4}),
                )
    axes.margins(0.12)
    plain_log_ticks(axes)
    axes.grid()
    axes.set(xlabel=label, ylabel="top-1 accuracy, %")
    legend_below(figure, axes)
    return figure


def _percent(value: Any) -> float | None:
    return 100 * value if present(value) else None


def _reference(results: Results, arm: str, key: str) -> float | None:
    value = ((results.get("reference") or {}).get(arm) or {}).get(key)
    return value if present(value) else None


def _published_note(results: Results, figure: str) -> str:
    """What the hollow diamonds are, in the captions of the figures that have some."""
    keys = _PUBLISHED_KEYS.get(figure)
    if not keys or not any(
        all(_reference(results, name, key) is not None for key in keys) for name in results["arms"]
    ):
        return ""
    return " Hollow diamonds: published figures" + (
        ", from other hardware." if "latency_ms" in keys else "."
    )


_DRAW = {
    "accuracy": draw_accuracy,
    "gain": draw_gain,
    "size": draw_size,
    "parameters": draw_parameters,
    "latency": draw_latency,
    "accuracy_size": draw_accuracy_size,
    "accuracy_latency": draw_accuracy_latency,
    "per_class": draw_per_class,
    "reliability": draw_reliability,
}
