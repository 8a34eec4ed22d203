"""What a sweep's ``results.json`` says, checked and in a form that its tables and figures can be made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from understudy.errors import UnderstudyError
from understudy.report.run.table import mean_interval, present

MAX_LEVELS = 12  # more values of one setting are a range, not a list


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the half-width of its 95 % interval; one seed has none. Shares, not percent."""

    mean: float
    half: float | None

    @property
    def sign(self) -> int:
        """1 where the whole interval is above zero, -1 where it is below, 0 where it holds zero or there is none."""
        if self.half is None:
            return 0
        return int(self.mean - self.half > 0) - int(self.mean + self.half < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval (Student's t) of one figure for each seed."""
    return Estimate(*mean_interval(values))


@dataclass(frozen=True)
class Trial:
    """One configuration over all seeds.

    Attributes:
        number: in the sweep.
        values: swept key -> value.
        state: ``complete``, ``pruned`` or ``failed``.
        reason: of a failure.
        accuracies: validation accuracy in [0, 1] by seed; empty unless complete.
        gains: the same minus that of the plain student with this seed; empty where there is none.
        seconds: of all its trainings together, as far as recorded.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    reason: str | None
    accuracies: Mapping[int, float]
    gains: Mapping[int, float]
    seconds: float | None

    @cached_property
    def accuracy(self) -> Estimate:
        return estimate(list(self.accuracies.values()))

    @cached_property
    def gain(self) -> Estimate | None:
        return estimate(list(self.gains.values())) if self.gains else None


@dataclass(frozen=True)
class Dimension:
    """One swept setting: its key, the shortest name that tells it from the others, its values in order (``None`` for a range
    of which many values were tried), and whether its range is logarithmic."""

    key: str
    label: str
    levels: tuple[Any, ...] | None
    log: bool

    @property
    def numeric(self) -> bool:
        """Whether its values lie on a number line."""
        return self.levels is None or all(present(level) for level in self.levels)

    def place(self, value: Any) -> int:
        """Which of its levels a value is."""
        assert self.levels is not None
        return next(index for index, level in enumerate(self.levels) if same(level, value))


@dataclass(frozen=True)
class Sweep:
    """A sweep, read: ``results`` is the whole mapping, the rest what nearly every part of the report asks for."""

    results: Mapping[str, Any]
    dimensions: tuple[Dimension, ...]
    trials: tuple[Trial, ...]

    @cached_property
    def complete(self) -> list[Trial]:
        """Finished trials, the best first; of equals the earlier."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        return sorted(done, key=lambda trial: (-trial.accuracy.mean, trial.number))

    @cached_property
    def best(self) -> Trial | None:
        """The trial that the sweep chose."""
        chosen = self.results.get("best")
        return next((t for t in self.complete if chosen and t.number == chosen["number"]), None)

    @cached_property
    def tested(self) -> dict[int, tuple[float, float, float]]:
        """Test accuracy of the plain student, of the winner trained anew, and their difference, for each fresh seed of both."""
        arms = (self.results.get("final") or {}).get("arms") or {}
        plain, best = (
            {
                run["seed"]: run["test"]["accuracy"]
                for run in (arms.get(name) or {}).get("runs") or []
            }
            for name in ("baseline", "best")
        )
        return {
            seed: (plain[seed], best[seed], best[seed] - plain[seed])
            for seed in plain
            if seed in best
        }

    @cached_property
    def paired(self) -> bool:
        """Whether every finished trial has a gain over the plain student."""
        return bool(self.complete) and all(trial.gains for trial in self.complete)


def parse_sweep(results: Mapping[str, Any], source: str) -> Sweep:
    """Read the mapping of a sweep's ``results.json``.

    Args:
        results: the mapping.
        source: where it comes from, for the message.

    Raises:
        UnderstudyError: where it lacks what every sweep has.
    """
    try:
        trials = tuple(_trial(entry) for entry in results["trials"])
        keys = [entry["key"] for entry in results["space"]]
        assert keys and all(key in trial.values for trial in trials for key in keys)
        dimensions = tuple(_dimension(entry, keys, trials) for entry in results["space"])
        for trial in trials:
            for dimension in dimensions:
                if dimension.levels is not None:
                    dimension.place(trial.values[dimension.key])
    except (KeyError, TypeError, AttributeError, AssertionError, StopIteration):
        missing = "space, trials, their values or validation accuracies"
        raise UnderstudyError(
            f"{source} is incomplete ({missing}); sweep again with --resume to write it anew"
        ) from None
    return Sweep(results, dimensions, trials)


def _trial(entry: Mapping[str, Any]) -> Trial:
    assert entry["state"] in ("complete", "pruned", "failed")
    runs = entry.get("runs") or []
    seconds = [run["seconds"] for run in runs if present(run.get("seconds"))]
    complete = entry["state"] == "complete"
    accuracies = {run["seed"]: run["val"]["accuracy"] for run in runs} if complete else {}
    assert not complete or (accuracies and all(present(value) for value in accuracies.values()))
    gains = (entry.get("gain") or {}).get("gains") if complete else None
    assert gains is None or len(gains) == len(accuracies)
    return Trial(
        number=int(entry["number"]),
        values=dict(entry["values"]),
        state=entry["state"],
        reason=entry.get("reason"),
        accuracies=accuracies,
        gains=dict(zip(accuracies, gains, strict=True)) if gains else {},
        seconds=sum(seconds) if seconds else None,
    )


def _dimension(entry: Mapping[str, Any], keys: Sequence[str], trials: Sequence[Trial]) -> Dimension:
    key = entry["key"]
    last = key.rpartition(".")[2]
    label = last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key
    values = (
        entry["values"] if entry["kind"] == "choice" else [trial.values[key] for trial in trials]
    )
    levels: list[Any] = []
    for value in values:
        if not any(same(value, level) for level in levels):
            levels.append(value)
    if all(present(level) for level in levels):
        levels.sort()
    listed = entry["kind"] == "choice" or len(levels) <= MAX_LEVELS
    return Dimension(key, label, tuple(levels) if listed else None, bool(entry.get("log")))


def same(one: Any, other: Any) -> bool:
    """Whether two values of a setting are one: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def written(value: Any) -> str:
    """A setting's value as people write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {written(part)}" for key, part in value.items())
    return json.dumps(value, ensure_ascii=False)


def described(values: Mapping[str, Any], dimensions: Sequence[Dimension]) -> str:
    """``temperature 4, alpha 0.9``: the values of a trial on one line."""
    return ", ".join(f"{d.label} {written(values[d.key])}" for d in dimensions)


def pooled(trials: Sequence[Trial], paired: bool) -> Estimate | None:
    """Gain (or accuracy, where not ``paired``) of several finished trials: their mean seed by seed, then its interval over seeds.

    Trials of one seed share its luck, so the seed is the unit: averaging the trials first keeps the interval honest.
    """
    done = [
        trial.gains if paired else trial.accuracies for trial in trials if trial.state == "complete"
    ]
    seeds = set(done[0]).intersection(*done[1:]) if done else set()
    return (
        estimate([sum(figures[seed] for figures in done) / len(done) for seed in sorted(seeds)])
        if seeds
        else None
    )
