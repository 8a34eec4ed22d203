"""A sweep in the form that its tables and figures are made of: settings, ranked trials, means."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from understudy.evaluation.correctness import differences
from understudy.evaluation.gain import PairedGain, gain_of_differences, gain_over_seeds
from understudy.evaluation.statistics import Estimate, estimate
from understudy.report.format import is_number
from understudy.sweep.results import SweepResults, Trial, TrialRun, baseline_key
from understudy.sweep.space import Choice, Dimension

if TYPE_CHECKING:
    import numpy as np

MAX_LEVELS = 12
"""More values of one range are a range, not a list."""

Measured = Estimate | PairedGain
"""What tables and figures show of accuracies, respectively gains: mean, low, high, half, sign."""


@dataclass(frozen=True)
class Setting:
    """One swept setting.

    Attributes:
        key: dotted key of the recipe.
        label: the shortest name that tells it from the others.
        levels: its values in order; ``None`` for a range of which many values were tried.
        log: whether its range is logarithmic.
    """

    key: str
    label: str
    levels: tuple[Any, ...] | None
    log: bool

    @property
    def numeric(self) -> bool:
        """Whether its values lie on a number line."""
        return self.levels is None or all(is_number(level) for level in self.levels)

    def place(self, value: Any) -> int:
        """Which of its levels a value is."""
        assert self.levels is not None
        return next(index for index, level in enumerate(self.levels) if same(level, value))


@dataclass(frozen=True)
class TestedSeed:
    """Test accuracies of one fresh seed, in [0, 1]."""

    __test__ = False  # no class of tests

    seed: int
    baseline: float
    winner: float

    @property
    def gain(self) -> float:
        """Of the winner over the baseline."""
        return self.winner - self.baseline


@dataclass(frozen=True)
class SweepView:
    """A sweep with its settings and its ranked trials.

    Attributes:
        results: everything that the sweep recorded.
        settings: what was swept, in the order of the command.
    """

    results: SweepResults
    settings: tuple[Setting, ...]

    @classmethod
    def of(cls, results: SweepResults) -> "SweepView":
        """The view of a sweep's results."""
        keys = [dimension.key for dimension in results.space]
        settings = [_setting(dimension, keys, results.trials) for dimension in results.space]
        return cls(results, tuple(settings))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials that have ended, by number."""
        return self.results.trials

    @cached_property
    def complete(self) -> list[Trial]:
        """Complete trials, the best first; of equals the earlier."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        return sorted(done, key=lambda trial: (-accuracy(trial).mean, trial.number))

    @cached_property
    def best(self) -> Trial | None:
        """The trial that the sweep chose."""
        chosen = self.results.best
        if chosen is None:
            return None
        return next((trial for trial in self.complete if trial.number == chosen.number), None)

    @cached_property
    def tested(self) -> list[TestedSeed]:
        """Baseline and winner on the fresh seeds of both; empty without a final comparison."""
        final = self.results.final
        if final is None:
            return []
        baseline = {run.seed: run.test for run in final.arms.baseline.runs}
        found = []
        for run in final.arms.best.runs:
            before = baseline.get(run.seed)
            if before is not None and run.test is not None:
                found.append(TestedSeed(run.seed, before.accuracy, run.test.accuracy))
        return found

    @cached_property
    def paired(self) -> bool:
        """Whether every complete trial has a gain over its baseline."""
        return bool(self.complete) and all(trial.gains for trial in self.complete)

    @cached_property
    def covers(self) -> str:
        """What the intervals of gains cover: seeds and images, or seeds alone (older files)."""
        gains = [trial.gain for trial in self.complete if trial.gain is not None]
        if gains and all(gain.images is not None for gain in gains):
            return "over seeds and validation images"
        return "over seeds alone"

    @cached_property
    def baselines(self) -> Mapping[str, tuple[TrialRun, ...]]:
        """The baseline's trainings by :func:`~understudy.sweep.results.baseline_key`."""
        return {baseline_key(each.values): each.runs for each in self.results.baselines}

    def is_best(self, trial: Trial) -> bool:
        """Whether this is the trial that the sweep chose."""
        return self.best is not None and trial.number == self.best.number


def accuracy(trial: Trial) -> Estimate:
    """Validation accuracy of a complete trial: mean and 95 % interval over seeds."""
    return estimate(list(trial.accuracies.values()))


def gain(trial: Trial) -> PairedGain | None:
    """Paired gain of a trial over its baseline; ``None`` without one."""
    return trial.gain if trial.gains else None


def pooled(view: SweepView, trials: Sequence[Trial], paired: bool) -> Measured | None:
    """Gain (accuracy, unless ``paired``) of several complete trials.

    Trials with the same seed share its initial weights, so the seed is the unit: trials are
    averaged first, seed by seed (and image by image), then the interval is taken.
    """
    done = [trial for trial in trials if trial.state == "complete"]
    values = [trial.gains if paired else trial.accuracies for trial in done]
    common = set(values[0]).intersection(*values[1:]) if values else set()
    if not common:
        return None
    seeds = sorted(common)
    means = [sum(by_seed[seed] for by_seed in values) / len(values) for seed in seeds]
    if not paired:
        return estimate(means)
    found = [_differences(view, trial, seeds) for trial in done]
    known = [each for each in found if each is not None]
    if len(known) == len(done) and len({each.shape for each in known}) == 1:
        import numpy as np

        return gain_of_differences(np.mean(known, axis=0))
    return gain_over_seeds(means, [0.0] * len(means))


def _differences(view: SweepView, trial: Trial, seeds: Sequence[int]) -> "np.ndarray | None":
    """Image by image, ``[seeds, N]``; ``None`` if it was not recorded."""
    own = {run.seed: run.val for run in trial.runs}
    plain = {run.seed: run.val for run in view.baselines.get(baseline_key(trial.values), ())}
    if not plain.keys() >= set(seeds):
        return None
    return differences([own[seed] for seed in seeds], [plain[seed] for seed in seeds])


def _setting(dimension: Dimension, keys: Sequence[str], trials: Sequence[Trial]) -> Setting:
    last = dimension.key.rpartition(".")[2]
    alike = [key for key in keys if key.rpartition(".")[2] == last]
    label = last if len(alike) == 1 else dimension.key
    if isinstance(dimension, Choice):
        return Setting(dimension.key, label, _levels(dimension.values), log=False)
    levels = _levels([trial.values[dimension.key] for trial in trials])
    listed = len(levels) <= MAX_LEVELS
    return Setting(dimension.key, label, levels if listed else None, dimension.log)


def _levels(values: Sequence[Any]) -> tuple[Any, ...]:
    """Different values: numbers rise, others keep their order."""
    levels: list[Any] = []
    for value in values:
        if not any(same(value, level) for level in levels):
            levels.append(value)
    if all(is_number(level) for level in levels):
        levels.sort()
    return tuple(levels)


def same(one: Any, other: Any) -> bool:
    """Whether two values of a setting are equal: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def written(value: Any) -> str:
    """A setting's value as text: ``4``, ``0.001``, ``kd``, ``true``, ``name kd, alpha 0.9``."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {written(part)}" for key, part in value.items())
    return json.dumps(value, ensure_ascii=False)


def described(values: Mapping[str, Any], settings: Sequence[Setting]) -> str:
    """``temperature 4, alpha 0.9``: the values of a trial on one line."""
    return ", ".join(f"{setting.label} {written(values[setting.key])}" for setting in settings)
