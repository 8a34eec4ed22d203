"""The figures of a diagnosis: fit, soft targets, gradients, and the end of training.

Each ``draw_*`` function turns a part of the evidence into a Figure. The style of all figures is in
:mod:`understudy.report.drawing`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from understudy.diagnose.evidence import Curve, Evidence, FitStats, Gradients, SoftTargets
from understudy.report.colours import MUTED, ROLE_COLOURS, ROLE_MARKERS
from understudy.report.drawing import (
    INK,
    PAPER,
    WIDTH,
    Drawing,
    bars_figure,
    legend_below,
    name_rows,
    save,
    short,
    styled,
)

MAX_CLASSES = 10
"""Classes in the figure of the soft targets; of a thousand the rest is too small to see."""


@dataclass(frozen=True)
class Panel:
    """A figure of the page, with its file name, title and one line on how to read it."""

    name: str
    figure: Figure
    title: str
    caption: str


def draw_diagnosis(evidence: Evidence, folder: Path) -> list[Drawing]:
    """Draw every figure that has evidence as ``folder/diagnosis_<name>.png`` and ``.svg``."""
    with styled():
        return [
            save(panel.figure, f"diagnosis_{panel.name}", panel.title, panel.caption, folder)
            for panel in _panels(evidence)
        ]


def _panels(evidence: Evidence) -> Iterator[Panel]:
    """In the order of the page."""
    measured, record = evidence.measured, evidence.recorded
    if measured is not None:
        yield _fits_panel(measured.num_train, measured.fits)
        yield _targets_panel(measured.targets, record.temperature)
    if measured is not None and measured.gradients is not None:
        yield _gradients_panel(measured.gradients)
    if record.curves:
        yield Panel(
            "end",
            draw_end(record.curves),
            "End of training",
            "Mean over seeds, with the last accuracy next to each name. An accuracy that still "
            "rises at the right edge was cut off if the learning rate is high there; if the rate "
            "has come down, the rise is an effect of the schedule.",
        )


def _fits_panel(num_images: int, fits: Mapping[str, FitStats]) -> Panel:
    return Panel(
        "fits",
        draw_fits(fits),
        "Training and validation accuracy",
        f"Accuracy on {num_images:,} unaugmented training images and on validation (fainter), "
        "saved weights, mean over seeds. Training far above validation: over-fitting. Both low "
        "and close: under-fitting.",
    )


def _targets_panel(targets: SoftTargets, temperature: float) -> Panel:
    return Panel(
        "targets",
        draw_targets(targets, temperature),
        "Soft targets",
        "The teacher's mean probability of its first, second, ... class on "
        f"{targets.num_images:,} augmented training images, at T = 1 and at the student's "
        "temperature. All near the dashed line: uniform. Only one bar: one-hot, like a label.",
    )


def _gradients_panel(gradients: Gradients) -> Panel:
    caption = (
        "Share of each weighted loss term in the gradient's norm on the distilled student's "
        f"weights, over {gradients.num_batches} training batches."
    )
    if gradients.left_out:
        caption += f" Not measured: {gradients.left_out}."
    return Panel("gradients", draw_gradients(gradients), "Gradient of each loss term", caption)


def draw_fits(fits: Mapping[str, FitStats]) -> Figure:
    """Bars of each network's accuracy on training images (also with dropout) and on validation."""
    bars = []
    for role, stats in fits.items():
        bars.append(Bar(f"{role}, training", stats.train_accuracy, ROLE_COLOURS[role]))
        if stats.dropout_accuracy != stats.train_accuracy:
            bars.append(Bar(f"{role}, dropout on", stats.dropout_accuracy, ROLE_COLOURS[role]))
        bars.append(Bar(f"{role}, validation", stats.val_accuracy, ROLE_COLOURS[role], faint=True))
    return _share_bars(bars, "accuracy, %")


def draw_gradients(gradients: Gradients) -> Figure:
    """Bars of each loss term's share of the gradient; cross-entropy in the baseline's colour."""
    bars = []
    for name, share in gradients.shares.items():
        colour = ROLE_COLOURS["baseline" if name == "ce" else "teacher"]
        bars.append(Bar(short(name, 18), share, colour))
    return _share_bars(bars, "share of the gradient's norm, %")


def draw_targets(targets: SoftTargets, temperature: float) -> Figure:
    """Upright bars of the teacher's sorted probabilities at T = 1 and at the given temperature.

    A dashed line marks the uniform distribution.
    """
    shown = min(len(targets.profile), MAX_CLASSES)
    series = [("T = 1", targets.profile_at_1, MUTED)] if temperature != 1 else []
    series.append((f"T = {temperature:g}", targets.profile, ROLE_COLOURS["teacher"]))
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (label, profile, colour) in enumerate(series):
        left = [rank - 0.4 + (number + 0.5) * width for rank in range(1, shown + 1)]
        heights = [100 * probability for probability in profile[:shown]]
        axes.bar(left, heights, width=width, color=colour, label=label)
    uniform = 100 / len(targets.profile)
    axes.axhline(uniform, color=INK, linewidth=1, linestyle="--", alpha=0.7, label="uniform")
    axes.set_xticks(range(1, shown + 1))
    axes.set_xlabel("classes, the teacher's most probable first")
    axes.set_ylabel("mean probability, %")
    axes.grid(axis="y")
    legend_below(figure, axes)
    return figure


def draw_end(curves: Mapping[str, Curve]) -> Figure:
    """Lines of the validation accuracy (with its last value) and of the learning rate by epoch."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    accuracy, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    # Networks often have the same schedule: later lines are thinner, so that all can be seen.
    for (role, curve), width in zip(curves.items(), (6.6, 4.0, 1.4), strict=False):
        epochs = range(1, len(curve.lr) + 1)
        accuracy.plot(
            epochs,
            [100 * value for value in curve.val_accuracy],
            color=ROLE_COLOURS[role],
            marker=ROLE_MARKERS[role],
            markersize=4.5,
            markevery=max(1, len(epochs) // 5),
            label=f"{role} {100 * curve.val_accuracy[-1]:.1f}",
        )
        peak = max(curve.lr)
        relative = [100 * value / peak for value in curve.lr]
        rate.plot(epochs, relative, color=ROLE_COLOURS[role], linewidth=width)
    accuracy.set_title("validation accuracy, %")
    rate.set_title("learning rate, % of its peak")
    rate.set_ylim(0, 105)
    rate.set_xlabel("epochs trained")
    rate.xaxis.get_major_locator().set_params(integer=True)
    for axes in (accuracy, rate):
        axes.grid()
    legend_below(figure, accuracy)
    return figure


@dataclass(frozen=True)
class Bar:
    """A row of :func:`_share_bars`.

    Attributes:
        name: on the left of the row.
        share: length, in [0, 1].
        colour: of the bar.
        faint: whether the colour is fainter than in other rows.
    """

    name: str
    share: float
    colour: str
    faint: bool = False


def _share_bars(bars: Sequence[Bar], label: str) -> Figure:
    """Horizontal bars from zero, with the percentage next to each."""
    figure, axes = bars_figure(len(bars), row_height=0.28)
    for row, bar in enumerate(bars):
        end = 100 * bar.share
        if bar.faint:  # otherwise the grid is seen through the bar
            axes.barh(row, end, height=0.62, color=PAPER)
        axes.barh(row, end, height=0.62, color=bar.colour, alpha=0.55 if bar.faint else 1)
        axes.annotate(
            f"{end:.1f}",
            (end, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
        )
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(label)
    return name_rows(figure, axes, [bar.name for bar in bars])
