"""How much each swept setting mattered: the share of the spread in validation accuracy that it accounts for."""

from collections.abc import Mapping
from dataclasses import dataclass

from understudy.report.run.table import present
from understudy.report.sweep.results import Sweep

MIN_TRIALS = 8  # a forest fitted to fewer tells nothing


@dataclass(frozen=True)
class Importance:
    """Shares in [0, 1] by key.

    Attributes:
        shares: of each setting alone.
        rest: of what settings do together and of the noise of seeds; ``None`` where the method does not part it off.
        chance: the share that each setting would have on average if no setting mattered, where that is known.
        how: one line on how the shares were found.
    """

    shares: Mapping[str, float]
    rest: float | None
    chance: Mapping[str, float] | None
    how: str


def importance(sweep: Sweep) -> Importance | None:
    """The shares that the sweep recorded, else the exact ones of a full grid, else those of fANOVA; ``None`` with too few trials.

    fANOVA (Hutter, Hoos and Leyton-Brown 2014) fits a random forest to the trials and splits its variance; it needs optuna.
    """
    recorded = sweep.results.get("importance")
    if recorded and any(present(share) for share in recorded.values()):
        shares = {
            d.key: float(recorded[d.key]) for d in sweep.dimensions if present(recorded.get(d.key))
        }
        return Importance(shares, None, None, "As recorded by the sweep.")
    return main_effects(sweep) or _fanova(sweep)


def main_effects(sweep: Sweep) -> Importance | None:
    """Sums of squares of a full grid, exactly: for each setting, that of the means of its values.

    ``None`` where a cell has not exactly one finished trial, or all trials are equal. With no effect at all, a setting of L
    values in a grid of N cells still has a share of (L-1)/(N-1) on average: ``chance``.
    """
    import numpy as np

    if len(sweep.complete) < 2 or any(dimension.levels is None for dimension in sweep.dimensions):
        return None
    table = np.full([len(dimension.levels or ()) for dimension in sweep.dimensions], np.nan)
    for trial in sweep.complete:
        table[tuple(d.place(trial.values[d.key]) for d in sweep.dimensions)] = trial.accuracy.mean
    if np.isnan(table).any() or len(sweep.complete) != table.size:
        return None
    deviations = table - table.mean()
    total = float((deviations**2).sum())
    if total == 0:
        return None
    shares, chance = {}, {}
    for axis, dimension in enumerate(sweep.dimensions):
        others = tuple(other for other in range(table.ndim) if other != axis)
        effects = deviations.mean(axis=others) if others else deviations
        shares[dimension.key] = float((effects**2).sum()) * table.size / table.shape[axis] / total
        chance[dimension.key] = (table.shape[axis] - 1) / (table.size - 1)
    how = "Main effects of the full grid: sums of squares of the mean validation accuracy."
    return Importance(shares, max(0.0, 1 - sum(shares.values())), chance, how)


def _fanova(sweep: Sweep) -> Importance | None:
    try:
        import optuna
    except ModuleNotFoundError:
        return None
    entries = {entry["key"]: entry for entry in sweep.results["space"]}
    trials = sweep.complete
    if len(trials) < MIN_TRIALS or len({trial.accuracy.mean for trial in trials}) < 2:
        return None
    space: dict[str, optuna.distributions.BaseDistribution] = {}
    for dimension in sweep.dimensions:
        entry = entries[dimension.key]
        if entry["kind"] == "choice":
            # By position: optuna's own choices may not be lists.
            space[dimension.key] = optuna.distributions.CategoricalDistribution(
                range(len(dimension.levels or ()))
            )
        elif entry["kind"] == "int":
            space[dimension.key] = optuna.distributions.IntDistribution(
                entry["low"], entry["high"], log=dimension.log
            )
        else:
            space[dimension.key] = optuna.distributions.FloatDistribution(
                entry["low"], entry["high"], log=dimension.log
            )
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        for trial in trials:
            values = {
                d.key: d.place(trial.values[d.key])
                if entries[d.key]["kind"] == "choice"
                else trial.values[d.key]
                for d in sweep.dimensions
            }
            study.add_trial(
                optuna.trial.create_trial(
                    params=values, distributions=space, value=trial.accuracy.mean
                )
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    how = f"fANOVA: a random forest fitted to {len(trials)} finished trials; an estimate, without interval."
    return Importance({key: float(found[key]) for key in space if key in found}, None, None, how)


def by_importance(sweep: Sweep, found: Importance | None) -> list[str]:
    """The swept keys, the most important first; in the order of the command where nothing is known."""
    keys = [dimension.key for dimension in sweep.dimensions]
    return sorted(keys, key=lambda key: -found.shares.get(key, 0.0)) if found else keys
