"""The figures of a sweep, in the order of its page."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from understudy.evaluation.gain import PairedGain
from understudy.evaluation.statistics import Estimate, estimate
from understudy.report.colours import BETTER, MUTED, ROLE_COLOURS, WORSE
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
from understudy.report.format import significant
from understudy.report.sweep.importance import Importance, by_importance
from understudy.report.sweep.landscape import draw_landscape
from understudy.report.sweep.table import with_interval
from understudy.report.sweep.view import SweepView


def draw_sweep(view: SweepView, found: Importance | None, folder: Path) -> list[Drawing]:
    """Draw every figure the sweep has numbers for and write ``folder/<name>.png`` and ``.svg``.

    Args:
        view: what to draw.
        found: the importance of its settings, which orders them.
        folder: where the files go.
    """
    ranked = by_importance(view, found)
    # With one baseline for all trials, accuracies are the gains and a constant.
    both = view.paired and len(view.results.baselines) > 1
    gains = "Gain over the settings" if view.paired else "Accuracy over the settings"
    drawings = []
    with styled():
        accuracies = draw_landscape(view, ranked, paired=False) if both else None
        for name, title, drawn in (
            ("landscape", gains, draw_landscape(view, ranked, paired=view.paired)),
            ("landscape_accuracy", "Accuracy over the settings", accuracies),
            ("best", "Winner against the baseline", draw_best(view)),
            ("importance", "Importance of the settings", draw_importance(view, found)),
            ("cost", "Cost", draw_cost(view)),
        ):
            if drawn is not None:
                figure, caption = drawn
                drawings.append(save(figure, name, title, caption, folder))
    return drawings


# -- winner and baseline ---------------------------------------------------------------------------


def draw_best(view: SweepView) -> tuple[Figure, str] | None:
    """The winner next to the baseline, seed by seed: on validation, and on the test images."""
    panels = []
    best = view.best
    if best is not None and best.gains:
        after = [100 * accuracy for accuracy in best.accuracies.values()]
        gains = [100 * gain for gain in best.gains.values()]
        before = [a - gain for a, gain in zip(after, gains, strict=True)]
        panels.append(("validation, the sweep's seeds", before, after, best.gain))
    final = view.results.final
    if final is not None and view.tested:
        before = [100 * each.baseline for each in view.tested]
        after = [100 * each.winner for each in view.tested]
        panels.append(("test, fresh seeds", before, after, final.gain))
    if not panels:
        return None
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, before, after, gain) in zip(places, panels, strict=True):
        _draw_pairs(axes, title, gain, before, after)
    places[0].set_ylabel("top-1 accuracy, %")
    caption = (
        "A grey line is one seed. Diamonds: means with their 95 % intervals; above, the mean "
        "paired gain with its own interval. The winner of many trials was partly lucky on "
        "validation; "
    )
    if view.tested:
        return figure, caption + "the test images were opened once, for fresh seeds."
    return figure, caption + "only a test on fresh seeds is fair."


def _draw_pairs(
    axes: Axes, title: str, gain: PairedGain | None, before: Sequence[float], after: Sequence[float]
) -> None:
    """Baseline and winner, percent, one line for each seed."""
    axes.set_title(f"{title}\n{with_interval(gain)} points", fontsize=8)
    for pair in zip(before, after, strict=True):
        axes.plot([0.13, 0.87], pair, color=MUTED, linewidth=1, marker="o", markersize=3)
    _draw_mean(axes, 0, estimate(before), ROLE_COLOURS["baseline"])
    _draw_mean(axes, 1, estimate(after), ROLE_COLOURS["distilled"])
    axes.set_xlim(-1.0, 1.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xticks([0, 1], ["baseline", "winner"])
    axes.grid(axis="y")


def _draw_mean(axes: Axes, x: int, mean: Estimate, colour: str) -> None:
    axes.errorbar(
        x,
        mean.mean,
        yerr=mean.half,
        fmt="D",
        color=colour,
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


# -- importance ------------------------------------------------------------------------------------


def draw_importance(view: SweepView, found: Importance | None) -> tuple[Figure, str] | None:
    """Bars of each setting's share of the spread; ``None`` for a single setting."""
    if found is None or len(view.settings) < 2:
        return None
    labels = {setting.key: short(setting.label, 18) for setting in view.settings}
    keys = [key for key in by_importance(view, found) if key in found.shares]
    names = [labels[key] for key in keys]
    figure, axes = bars_figure(len(keys) + (found.rest is not None))
    for row, key in enumerate(keys):
        chance = found.chance[key] if found.chance else None
        _share_bar(axes, row, found.shares[key], chance, BETTER)
    if found.rest is not None:
        _share_bar(axes, len(keys), found.rest, None, MUTED)
        names.append("together, noise")
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the spread in validation accuracy, %")
    caption = found.how
    if found.chance:
        caption += " Upright tick: what a setting without any effect would get on average."
    if found.rest is not None:
        caption += " Grey: what the settings do together, and the noise of seeds."
    return name_rows(figure, axes, names), caption


def _share_bar(axes: Axes, row: int, share: float, chance: float | None, colour: str) -> None:
    axes.barh(row, 100 * share, height=0.6, color=colour)
    if chance is not None:
        axes.plot([100 * chance] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=1.6)
    _label(axes, f"{100 * share:.0f} %", 100 * max(share, chance or 0), row)


def _label(axes: Axes, text: str, x: float, row: int) -> None:
    """A number to the right of its bar."""
    axes.annotate(
        text, (x, row), (5, 0), textcoords="offset points", va="center", fontweight="bold"
    )


# -- cost ------------------------------------------------------------------------------------------


def draw_cost(view: SweepView) -> tuple[Figure, str] | None:
    """Seconds of each trial in their order, and the measured rates of the backends, if several."""
    timed = any(trial.seconds is not None for trial in view.trials)
    backend = view.results.backend
    rates = backend.measured if backend else {}
    if not timed and not rates:
        return None
    heights = ([2.2] if timed else []) + ([0.55 + 0.3 * len(rates)] if rates else [])
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.2), layout="constrained")
    panels = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    captions = []
    if timed:
        _draw_seconds(panels[0], view)
        captions.append(
            "Above: time of each trial, its seeds added up; trials that run side by side slow each "
            "other down."
        )
    if backend is not None and rates:
        axes = panels[-1]
        for row, (name, rate) in enumerate(rates.items()):
            axes.barh(row, rate, height=0.6, color=BETTER if name == backend.name else MUTED)
            _label(axes, significant(rate), rate, row)
        axes.set_xlim(0, 1.2 * max(rates.values()))
        axes.set_title("images per second, all trainings together")
        axes.grid(axis="x")
        name_rows(figure, axes, [short(name, 16) for name in rates])
        captions.append(
            "Bars: what each backend was measured to do before the sweep began; blue was chosen."
        )
    return figure, " ".join(captions)


def _draw_seconds(axes: Axes, view: SweepView) -> None:
    looks = {"complete": (BETTER, "o"), "pruned": (MUTED, "v"), "failed": (WORSE, "X")}
    timed = {
        state: [
            (t.number, t.seconds) for t in view.trials if t.state == state and t.seconds is not None
        ]
        for state in looks
    }
    for state, (colour, marker) in looks.items():
        if timed[state]:
            x, y = zip(*timed[state], strict=True)
            axes.plot(x, y, marker, color=colour, markersize=4, markeredgewidth=0, label=state)
    longest = max(seconds for some in timed.values() for _, seconds in some)
    axes.set_ylim(0, 1.12 * longest)
    axes.set_title("seconds per trial")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="best")
