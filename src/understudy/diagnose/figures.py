"""The figures of a diagnosis: who fits what, what the student is told, who pulls at it, and how the training ended.

Each ``draw_*`` function takes a part of the evidence and gives a Figure. How all figures look is in
:mod:`understudy.report.drawing`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from understudy.diagnose.evidence import Curve, Evidence, Fit, Gradients, Targets
from understudy.report.colours import MUTED
from understudy.report.colours import ROLE_COLOURS as COLOURS
from understudy.report.colours import ROLE_MARKERS as MARKERS
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

RANKS = 10
"""Classes shown of the teacher's answer: of a thousand the rest is too small to see."""


def draw_diagnosis(evidence: Evidence, folder: Path) -> list[Drawing]:
    """Draw every figure there is evidence for and write ``folder/diagnosis_<name>.png`` and ``.svg``."""
    with styled():
        return [
            save(figure, f"diagnosis_{name}", title, caption, folder)
            for name, figure, title, caption in _figures(evidence)
        ]


def _figures(evidence: Evidence) -> Iterator[tuple[str, Figure, str, str]]:
    """Name, figure, title and one line on how to read it, in the order of the page."""
    measured, recorded = evidence.measured, evidence.recorded
    if measured is not None:
        yield (
            "fits",
            draw_fits(measured.fits),
            "Who fits what",
            (
                f"Accuracy on {measured.num_train:,} training images as they are and on validation (fainter), kept weights, mean "
                "over seeds. Training far above validation: over-fitting. Both low and alike: under-fitting."
            ),
        )
        yield (
            "targets",
            draw_targets(measured.targets, recorded.temperature),
            "What the student is told",
            (
                f"The teacher's mean probability of its first, second, ... class on {measured.targets.num_images:,} training views, "
                "as it is (T = 1) and as the student is told. All near the dashed line: washed out. One bar only: it repeats the "
                "labels."
            ),
        )
    if measured is not None and measured.gradients is not None:
        pulls = measured.gradients
        yield (
            "gradients",
            draw_gradients(pulls),
            "Who pulls at the student",
            (
                "Share of each weighted term in the gradient's norm on the distilled student's weights, over "
                f"{pulls.num_batches} training batches.{f' Not measured: {pulls.left_out}.' if pulls.left_out else ''}"
            ),
        )
    if recorded.curves:
        yield (
            "end",
            draw_end(recorded.curves),
            "How the training ended",
            (
                "Mean over seeds; the number beside a name is its last accuracy. An accuracy that still rises at the right edge was "
                "cut off if the learning rate is still high there; if the rate has come down, it is the schedule at work."
            ),
        )


def draw_fits(fits: Mapping[str, Fit]) -> Figure:
    """Horizontal bars of each network's accuracy on training images, on them with its dropout if it has some, on validation."""
    bars = []
    for role, fit in fits.items():
        bars.append(Bar(f"{role}, training", fit.train_accuracy, COLOURS[role]))
        if fit.dropout_accuracy != fit.train_accuracy:
            bars.append(Bar(f"{role}, dropout on", fit.dropout_accuracy, COLOURS[role]))
        bars.append(Bar(f"{role}, validation", fit.val_accuracy, COLOURS[role], faint=True))
    return _share_bars(bars, "images classified right, %")


def draw_gradients(gradients: Gradients) -> Figure:
    """Horizontal bars of each term's share of the gradient; the labels' term in the plain student's colour."""
    shares = gradients.shares.items()
    bars = [
        Bar(short(name, 18), share, COLOURS["baseline" if name == "ce" else "teacher"])
        for name, share in shares
    ]
    return _share_bars(bars, "share of the gradient's norm, %")


def draw_targets(targets: Targets, temperature: float) -> Figure:
    """Upright bars of the teacher's sorted probabilities at T = 1 and at the student's temperature, and where all are alike."""
    shown = min(len(targets.profile), RANKS)
    series = [("T = 1", targets.profile_at_1, MUTED)] if temperature != 1 else []
    series.append((f"T = {temperature:g}", targets.profile, COLOURS["teacher"]))
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (label, profile, colour) in enumerate(series):
        left = [rank - 0.4 + (number + 0.5) * width for rank in range(1, shown + 1)]
        axes.bar(left, [100 * p for p in profile[:shown]], width=width, color=colour, label=label)
    uniform = 100 / len(targets.profile)
    axes.axhline(
        uniform, color=INK, linewidth=1, linestyle="--", alpha=0.7, label="all classes alike"
    )
    axes.set_xticks(range(1, shown + 1))
    axes.set_xlabel("classes, the teacher's most probable first")
    axes.set_ylabel("mean probability, %")
    axes.grid(axis="y")
    legend_below(figure, axes)
    return figure


def draw_end(curves: Mapping[str, Curve]) -> Figure:
    """Lines of the validation accuracy and of the learning rate by epoch, the last accuracy behind the name."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    accuracy, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    # Networks often share one schedule: of lines that lie on each other the later one is thinner, so that all are seen.
    for (role, curve), width in zip(curves.items(), (6.6, 4.0, 1.4), strict=False):
        epochs = range(1, len(curve.lr) + 1)
        accuracy.plot(
            epochs,
            [100 * value for value in curve.val_accuracy],
            color=COLOURS[role],
            marker=MARKERS[role],
            markersize=4.5,
            markevery=max(1, len(epochs) // 5),
            label=f"{role} {100 * curve.val_accuracy[-1]:.1f}",
        )
        rate.plot(
            epochs,
            [100 * value / max(curve.lr) for value in curve.lr],
            color=COLOURS[role],
            linewidth=width,
        )
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
    """A row of :func:`_share_bars`: its name, a share in [0, 1], its colour, and whether it is fainter than others of it."""

    name: str
    share: float
    colour: str
    faint: bool = False


def _share_bars(bars: Sequence[Bar], label: str) -> Figure:
    """Horizontal bars from zero, the percent behind each."""
    figure, axes = bars_figure(len(bars), row_height=0.28)
    for row, bar in enumerate(bars):
        end = 100 * bar.share
        if bar.faint:  # the grid must not show through
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
