"""Confusion matrices of teacher, baseline and distilled student."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.report.colours import RISING, ROLE_COLOURS, text_on
from understudy.report.drawing import WIDTH, short
from understudy.runs.results import ArmSummary, RunResults

MAX_CLASSES = 24
"""More cells cannot be read on a page; the counts are in ``results.json``."""
_MAX_WITH_NUMBERS = 12
"""Classes up to which the cells hold their percentages."""


def draw_confusion(results: RunResults) -> Figure | None:
    """Share of each class's test images that are predicted as each class, mean over seeds."""
    names = [name for role in ROLE_COLOURS if (name := results.arm_of_role(role)) is not None]
    shares = {name: _shares(results.arms[name]) for name in names}
    shown = {name: matrix for name, matrix in shares.items() if matrix is not None}
    classes = results.data.class_names
    if not shown or len(classes) > MAX_CLASSES:
        return None
    figure = Figure(figsize=(WIDTH, 3.7 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (name, matrix) in zip(panels, shown.items(), strict=True):
        _panel(axes, matrix, classes)
        axes.set_title(short(name, 40), loc="left")
    return figure


def _shares(arm: ArmSummary) -> np.ndarray | None:
    """fp64 ``[K, K]`` in percent, a row for each class; a class without images has NaN."""
    matrices = [run.test.confusion for run in arm.runs]
    if not all(matrices):
        return None
    counts = np.array(matrices, float).mean(0)
    total = counts.sum(1, keepdims=True)
    shares: np.ndarray = np.divide(100 * counts, total, where=total > 0, out=counts * np.nan)
    return shares


def _panel(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> None:
    positions = range(len(classes))
    axes.pcolormesh(matrix, cmap=RISING, vmin=0, vmax=100, edgecolor="white", linewidth=0.4)
    if len(classes) <= _MAX_WITH_NUMBERS:
        for (row, column), share in np.ndenumerate(matrix):
            if np.isfinite(share):
                place = (column + 0.5, row + 0.5)
                colour = text_on(RISING(share / 100))
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5}
                axes.text(*place, f"{share:.0f}", color=colour, **style)
    names = [short(name, 14) for name in classes]
    centres = [position + 0.5 for position in positions]
    axes.set_xticks(centres, names, rotation=90)
    axes.set_yticks(centres, names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="label", aspect="equal")
    axes.invert_yaxis()
