"""How much each swept setting mattered: its share of the spread in validation accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from understudy.report.sweep.view import SweepView, accuracy


@dataclass(frozen=True)
class Importance:
    """Shares in [0, 1] by key.

    Attributes:
        shares: of each setting alone.
        rest: of what settings do together and of the noise of seeds; ``None`` if the method does
            not separate it.
        chance: the share that each setting would have on average if no setting mattered, if that is
            known.
        how: one line on how the shares were found.
    """

    shares: Mapping[str, float]
    rest: float | None
    chance: Mapping[str, float] | None
    how: str


def importance(view: SweepView) -> Importance | None:
    """The shares that the sweep recorded, otherwise the exact ones of a full grid.

    A sweep records Optuna's fANOVA (Hutter, Hoos and Leyton-Brown 2014) with its final comparison:
    a random forest is fitted to the trials and its variance is split. ``None`` if neither is known.
    """
    recorded = view.results.importance
    if not recorded:
        return main_effects(view)
    shares = {s.key: recorded[s.key] for s in view.settings if s.key in recorded}
    return Importance(shares, None, None, "fANOVA over the trials, as recorded by the sweep.")


def main_effects(view: SweepView) -> Importance | None:
    """Sums of squares of a full grid, exactly: for each setting, that of the means of its values.

    ``None`` if a cell has not exactly one complete trial, or all trials are equal. Without any
    effect, a setting of L values in a grid of N cells still has a share of (L-1)/(N-1) on average:
    ``chance``.
    """
    table = _full_table(view)
    if table is None:
        return None
    deviations = table - table.mean()
    total = float((deviations**2).sum())
    if total == 0:
        return None
    shares, chance = {}, {}
    for axis, setting in enumerate(view.settings):
        others = tuple(other for other in range(table.ndim) if other != axis)
        effects = deviations.mean(axis=others) if others else deviations
        shares[setting.key] = float((effects**2).sum()) * table.size / table.shape[axis] / total
        chance[setting.key] = (table.shape[axis] - 1) / (table.size - 1)
    how = "Main effects of the full grid: sums of squares of the mean validation accuracy."
    return Importance(shares, max(0.0, 1 - sum(shares.values())), chance, how)


def _full_table(view: SweepView) -> np.ndarray | None:
    """fp64, one axis per setting: mean accuracies, if each cell has one complete trial."""
    levels = [setting.levels for setting in view.settings]
    if len(view.complete) < 2 or None in levels:
        return None
    table = np.full([len(values or ()) for values in levels], np.nan)
    for trial in view.complete:
        cell = tuple(setting.place(trial.values[setting.key]) for setting in view.settings)
        table[cell] = accuracy(trial).mean
    if np.isnan(table).any() or len(view.complete) != table.size:
        return None
    return table


def by_importance(view: SweepView, found: Importance | None) -> list[str]:
    """The swept keys, the most important first; in the order of the command if nothing is known."""
    keys = [setting.key for setting in view.settings]
    if found is None:
        return keys
    return sorted(keys, key=lambda key: -found.shares.get(key, 0.0))
