"""Horizontal bars, one row per arm: accuracy, paired gain, size, latency."""

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.evaluation.statistics import estimate
from understudy.report.drawing import HOLLOW, INK, WIDTH, bars_figure, name_rows, short
from understudy.report.format import counted, significant
from understudy.report.run.looks import Look, arm_looks, crowded
from understudy.runs.comparison import Comparison
from understudy.runs.results import ArmSummary, RunResults

PUBLISHED_BATCH = 128
"""Batch size of published latencies."""


def draw_accuracy(results: RunResults) -> Figure:
    """Mean test accuracy from zero, with seeds, 95 % intervals and published numbers."""
    looks, names = arm_looks(results), list(results.arms)
    if crowded(results):
        names.sort(key=lambda name: -estimate(results.arms[name].accuracies).mean)
    figure, axes = bars_figure(len(names))
    for row, name in enumerate(names):
        accuracies = [100 * accuracy for accuracy in results.arms[name].accuracies]
        end = _accuracy_bar(axes, row, accuracies, looks[name].colour)
        published = results.published(name).accuracy
        if published is not None:
            axes.plot(100 * published, row, "D", **HOLLOW)
            end = max(end, 100 * published + 1.5)
        _label(axes, f"{estimate(accuracies).mean:.2f}", end, row)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("test images classified right, %")
    return name_rows(figure, axes, [looks[name].label for name in names])


def _accuracy_bar(axes: Axes, row: int, accuracies: Sequence[float], colour: str) -> float:
    """Bar, seeds and interval; returns where they end."""
    found = estimate(accuracies)
    axes.barh(row, found.mean, height=0.62, color=colour)
    end = max(found.mean, *accuracies)
    if found.half is None:
        return end
    axes.errorbar(found.mean, row, xerr=found.half, color=INK, linewidth=1.2, capsize=3, zorder=4)
    axes.plot(
        accuracies,
        [row + 0.2] * len(accuracies),
        "o",
        markersize=2.8,
        color=INK,
        alpha=0.7,
        markeredgewidth=0,
        zorder=3,
    )
    return max(end, found.mean + found.half)


def draw_gain(results: RunResults) -> Figure | None:
    """For each comparison of accuracies: the gain of every seed, the mean and its interval."""
    known = [c for c in results.comparisons if c.metric == "accuracy" and c.gains]
    rows = [comparison for comparison in known if comparison.arm in results.arms]
    if not rows:
        return None
    looks = arm_looks(results)
    if crowded(results):
        rows.sort(key=lambda comparison: -comparison.mean)
    figure, axes = bars_figure(len(rows), row_height=0.5)
    axes.axvline(0, color=INK, linewidth=1)
    for row, comparison in enumerate(rows):
        _gain_row(axes, row, comparison, looks[comparison.arm].colour)
    axes.margins(x=0.12)
    references = {comparison.reference for comparison in rows}
    if len(rows) > 1 and len(references) == 1:
        axes.set_xlabel(f"gain in top-1 accuracy over {short(references.pop(), 16)}, points")
        return name_rows(figure, axes, [short(comparison.arm, 16) for comparison in rows])
    axes.set_xlabel("gain in top-1 accuracy, points")
    names = [f"{short(c.arm, 16)}\n− {short(c.reference, 14)}" for c in rows]
    return name_rows(figure, axes, names)


def _gain_row(axes: Axes, row: int, comparison: Comparison, colour: str) -> None:
    gains = [100 * gain for gain in comparison.gains]
    axes.plot(
        gains,
        [row + 0.2] * len(gains),
        "o",
        markersize=5,
        color=colour,
        alpha=0.8,
        markeredgewidth=0,
    )
    mean, height = 100 * comparison.mean, row - 0.1
    if comparison.low is not None and comparison.high is not None:
        ends = [[mean - 100 * comparison.low], [100 * comparison.high - mean]]
        axes.errorbar(mean, height, xerr=ends, color=INK, linewidth=1.4, capsize=3)
    axes.plot(mean, height, "D", markersize=5, color=INK)
    axes.annotate(
        f"{mean:+.2f}",
        (mean, height),
        (0, 5),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
    )


def draw_size(results: RunResults) -> Figure | None:
    """Size in memory, MB of 2^20 bytes."""

    def text(arm: ArmSummary, value: float) -> str:
        if arm.compression is None or arm.role == "teacher":
            return f"{value:.2f}"
        return f"{value:.2f}  ({significant(arm.compression)}×)"

    sizes = {name: arm.size.size_mb for name, arm in results.arms.items() if arm.size}
    return _size_bars(results, sizes, "MB", text)


def draw_parameters(results: RunResults) -> Figure | None:
    """Number of parameters, millions."""
    sizes = {name: 1e-6 * arm.size.parameters for name, arm in results.arms.items() if arm.size}
    return _size_bars(results, sizes, "parameters, millions", lambda _, value: counted(1e6 * value))


def _size_bars(
    results: RunResults,
    values: Mapping[str, float],
    label: str,
    text: Callable[[ArmSummary, float], str],
) -> Figure | None:
    if not values:
        return None
    looks = arm_looks(results)
    rows: dict[tuple[object, ...], list[str]] = {}
    for name, value in values.items():
        # Twenty methods train one student: its size is one row, not twenty.
        key = (results.arms[name].model, value) if crowded(results) else (name,)
        rows.setdefault(key, []).append(name)
    figure, axes = bars_figure(len(rows))
    labels = []
    for row, (name, *others) in enumerate(rows.values()):
        axes.barh(row, values[name], height=0.62, color=looks[name].colour)
        _label(axes, text(results.arms[name], values[name]), values[name], row, offset=4)
        labels.append(looks[name].label + (f"\nand {len(others)} more" if others else ""))
    axes.set_xlim(0, max(values.values()) * 1.25)
    axes.set_xlabel(label)
    return name_rows(figure, axes, labels)


def draw_latency(results: RunResults) -> Figure | None:
    """Median latency for each batch size, with 95th percentiles and published numbers."""
    arms, looks = results.arms, arm_looks(results)
    batch_sizes = sorted({int(size) for arm in arms.values() for size in arm.latency})
    if not batch_sizes:
        return None
    height = len(batch_sizes) * (0.75 + 0.27 * len(arms))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(len(batch_sizes), 1, squeeze=False)[:, 0]
    for batch_size, axes in zip(batch_sizes, panels, strict=True):
        _latency_panel(axes, results, batch_size, looks)
        name_rows(figure, axes, [looks[name].label for name in arms])
    return figure


def _latency_panel(
    axes: Axes, results: RunResults, batch_size: int, looks: Mapping[str, Look]
) -> None:
    for row, (name, arm) in enumerate(results.arms.items()):
        latency = arm.latency_of(batch_size)
        if latency is None:
            continue
        axes.barh(row, latency.median_ms, height=0.62, color=looks[name].colour)
        axes.plot(latency.p95_ms, row, "|", color=INK, markersize=9, markeredgewidth=1.3)
        end = max(latency.median_ms, latency.p95_ms)
        published = results.published(name).latency_ms
        if published is not None and batch_size == PUBLISHED_BATCH:
            axes.plot(published, row, "D", **HOLLOW)
            end = max(end, published)
        _label(axes, significant(latency.median_ms), end, row, offset=7)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.2)
    axes.set_title(f"batch of {batch_size}, ms")
    axes.grid(axis="x")


def _label(axes: Axes, text: str, x: float, row: int, offset: int = 5) -> None:
    """A number to the right of its bar."""
    axes.annotate(
        text, (x, row), (offset, 0), textcoords="offset points", va="center", fontweight="bold"
    )
