"""Typed results of a sweep: its ``results.json``.

Trials are compared on validation images; only the winner and its baseline are tested. Field names
are the keys in the file, accuracies are in [0, 1].
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from understudy.evaluation.correctness import gain_between
from understudy.evaluation.environment import Machine
from understudy.evaluation.gain import PairedGain, corrected
from understudy.evaluation.results import Metrics
from understudy.evaluation.statistics import Summary, estimate, summarise
from understudy.evaluation.verdict import sentence
from understudy.files import LEFT_OUT_IF_NONE, from_json
from understudy.runs.results import ArmResult, DataFacts, load_results
from understudy.sweep.search import Record
from understudy.sweep.space import Choice, Range, baseline_values

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class AccuracySummary(Summary):
    """Accuracy over seeds with the ends of its 95 % t interval; ``None`` for one seed."""

    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """One training of a sweep; the final comparison has test metrics instead of a duration.

    Attributes:
        seed: of the training.
        val: metrics on the validation split.
        test: metrics on the test split, in the final comparison only.
        seconds: wall time.
        images_per_second: median over epochs.
        epochs: that were trained.
    """

    seed: int
    val: Metrics
    test: Metrics | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    seconds: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    images_per_second: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    epochs: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)

    @classmethod
    def of(cls, result: ArmResult, final: bool = False) -> "TrialRun":
        """What is recorded of a finished training."""
        if final:
            return cls(seed=result.seed, val=result.val, test=result.test)
        return cls(
            seed=result.seed,
            val=result.val,
            seconds=result.seconds,
            images_per_second=result.images_per_second,
            epochs=result.epochs,
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration over all seeds.

    Attributes:
        number: in the sweep.
        values: swept key -> value.
        state: how it ended.
        reason: why it is not complete.
        runs: one entry for each finished training.
        summary: validation accuracy; ``None`` unless complete.
        gain: paired gain over the baseline on the validation images, its p value corrected for the
            number of trials; ``None`` unless both are complete.
    """

    number: int
    values: Mapping[str, Any]
    state: State
    reason: str | None = None
    runs: tuple[TrialRun, ...] = ()
    summary: AccuracySummary | None = None
    gain: PairedGain | None = None

    def __post_init__(self) -> None:
        if self.state != "complete":
            return
        if not self.runs:
            raise ValueError(f"trial {self.number} is complete, but has no runs")
        if self.gain is not None and len(self.gain.gains) != len(self.runs):
            raise ValueError(f"trial {self.number} has another number of gains than of runs")

    @cached_property
    def accuracies(self) -> dict[int, float]:
        """Seed -> validation accuracy; empty unless complete."""
        if self.state != "complete":
            return {}
        return {run.seed: run.val.accuracy for run in self.runs}

    @cached_property
    def gains(self) -> dict[int, float]:
        """Seed -> gain over the baseline; empty if there is no complete baseline."""
        if self.state != "complete" or self.gain is None:
            return {}
        return dict(zip(self.accuracies, self.gain.gains, strict=True))

    @cached_property
    def seconds(self) -> float | None:
        """Wall time of all its trainings, summed; ``None`` if none was recorded."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        return sum(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The student trained on labels alone, with those swept values that change it, too."""

    values: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[TrialRun, ...]
    summary: AccuracySummary | None = None


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The trial with the highest mean validation accuracy."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FinalArm:
    """One side of the final comparison: its trainings on fresh seeds and its test accuracy."""

    runs: tuple[TrialRun, ...]
    summary: AccuracySummary | None = None


@dataclass(frozen=True, kw_only=True)
class FinalArms:
    """Both sides of the final comparison."""

    baseline: FinalArm
    best: FinalArm


@dataclass(frozen=True, kw_only=True)
class Final:
    """Winner and baseline on fresh seeds, on the test images."""

    seeds: tuple[int, ...]
    arms: FinalArms
    gain: PairedGain
    verdict: str


@dataclass(frozen=True, kw_only=True)
class SearchFacts:
    """How trials were chosen: search, pruner, and a database address without password."""

    name: str
    pruner: str
    storage: str


@dataclass(frozen=True, kw_only=True)
class BackendChoice:
    """What carried out the trainings.

    Attributes:
        name: of the backend.
        capacity: trainings at the same time; ``None`` before it was opened.
        chosen: ``given`` or ``measured``.
        measured: backend -> images per second, if they were measured.
    """

    name: str
    capacity: int | None = None
    chosen: Literal["given", "measured"]
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """Everything that a sweep found, as in its ``results.json``.

    Attributes:
        schema: version of the file's layout.
        kind: ``sweep``; results of a run have no kind.
        name: of the recipe.
        command: as typed, without passwords.
        created: time in UTC, ISO 8601.
        seconds: phase -> wall time over all sessions.
        environment: the machine.
        data: the images.
        config: the resolved configuration.
        space: what was swept.
        search: how trials were chosen.
        backend: what carried out the trainings.
        objective: what trials are compared by.
        seeds: of every trial.
        baselines: trained on labels alone.
        trials: that have ended.
        best: the winner; ``None`` if no trial is complete.
        final: winner against baseline on fresh seeds; ``None`` before it was made.
        importance: swept key -> share of the spread between trials that it explains (fANOVA).
    """

    schema: int
    kind: Literal["sweep"]
    name: str
    command: str
    created: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    environment: Machine = field(default_factory=Machine)
    data: DataFacts
    config: Mapping[str, Any] = field(default_factory=dict)
    space: tuple[Choice | Range, ...]
    search: SearchFacts
    backend: BackendChoice | None = None
    objective: str = "val.accuracy"
    seeds: tuple[int, ...]
    baselines: tuple[Baseline, ...] = ()
    trials: tuple[Trial, ...]
    best: BestTrial | None = None
    final: Final | None = None
    importance: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        keys = [dimension.key for dimension in self.space]
        if not keys:
            raise ValueError("nothing was swept")
        for trial in self.trials:
            missing = [key for key in keys if key not in trial.values]
            if missing:
                raise ValueError(f"trial {trial.number} has no value of {missing[0]}")
        for dimension in self.space:
            if isinstance(dimension, Choice):
                self._check_values(dimension)

    def _check_values(self, dimension: Choice) -> None:
        for trial in self.trials:
            value = trial.values[dimension.key]
            if value not in dimension.values:
                raise ValueError(
                    f"trial {trial.number} has {dimension.key} {value!r}, which was not swept"
                )


def read_sweep(folder: Path) -> SweepResults:
    """The contents of a sweep's ``results.json``.

    Raises:
        UnderstudyError: if the file is missing, damaged or of another schema.
    """
    advice = "sweep again with --resume to write it again"
    where = str(Path(folder) / "results.json")
    return from_json(SweepResults, load_results(folder), where, advice)


def read_runs(entries: Iterable[Mapping[str, Any]]) -> tuple[TrialRun, ...]:
    """Trainings as the study's database holds them."""
    advice = "sweep in another folder"
    return tuple(from_json(TrialRun, entry, "the study's database", advice) for entry in entries)


def accuracy_of(runs: Sequence[TrialRun], split: str = "val") -> AccuracySummary | None:
    """Accuracy of the runs on a split (``val`` or ``test``) over seeds; ``None`` without runs."""
    values = [metrics.accuracy for metrics in _by_seed(runs, split).values()]
    summary = summarise(values)
    if summary is None:
        return None
    interval = estimate(values)
    return AccuracySummary(
        mean=summary.mean, std=summary.std, n=summary.n, low=interval.low, high=interval.high
    )


def gain_over(
    runs: Sequence[TrialRun], baseline: Sequence[TrialRun], split: str = "val"
) -> PairedGain | None:
    """Paired gain in accuracy over the baseline; ``None`` unless both have the same seeds."""
    own, reference = _by_seed(runs, split), _by_seed(baseline, split)
    if not own or own.keys() != reference.keys():
        return None
    seeds = sorted(own)
    return gain_between([own[seed] for seed in seeds], [reference[seed] for seed in seeds])


def _by_seed(runs: Sequence[TrialRun], split: str) -> dict[int, Metrics]:
    found = {}
    for run in runs:
        metrics = run.val if split == "val" else run.test
        assert metrics is not None, "only final trainings are tested"
        found[run.seed] = metrics
    return found


def best_of(records: Sequence[Record]) -> Record | None:
    """The complete trial with the highest mean validation accuracy; of equals the first."""
    complete = [record for record in records if record.value is not None]
    return min(
        complete, key=lambda record: (-float(record.value or 0), record.number), default=None
    )


def baseline_key(values: Mapping[str, Any]) -> str:
    """Names the baseline that belongs to a trial: the swept values that change it, too."""
    return json.dumps(baseline_values(values), sort_keys=True)


def baseline_name(values: Mapping[str, Any]) -> str:
    """``plain``, or ``plain-DIGEST`` if swept values change the baseline: its trainings' name."""
    digest = hashlib.sha256(baseline_key(values).encode()).hexdigest()[:8]
    return f"plain-{digest}" if baseline_values(values) else "plain"


def trial_entries(
    records: Sequence[Record], plain: Mapping[str, Sequence[TrialRun]], seeds: Sequence[int]
) -> tuple[Trial, ...]:
    """The trials that have ended, each with its gain over its baseline."""
    order = list(seeds)
    trials = []
    for record in records:
        if record.state == "running":
            continue
        runs = tuple(sorted(read_runs(record.runs), key=lambda run: order.index(run.seed)))
        done = record.state == "complete"
        baseline = plain.get(baseline_key(record.values), ())
        trial = Trial(
            number=record.number,
            values=record.values,
            state=record.state,  # type: ignore[arg-type]
            reason=record.reason,
            runs=runs,
            summary=accuracy_of(runs) if done else None,
            gain=gain_over(runs, baseline) if done else None,
        )
        trials.append(trial)
    return with_holm(trials)


def with_holm(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials, their gains corrected for how many there are."""
    gains = corrected([trial.gain for trial in trials if trial.gain is not None])
    rest = iter(gains)
    return tuple(
        trial if trial.gain is None else replace(trial, gain=next(rest)) for trial in trials
    )


def baseline_entries(
    records: Sequence[Record], plain: Mapping[str, Sequence[TrialRun]]
) -> tuple[Baseline, ...]:
    """The baselines, in the order of the trials they belong to."""
    keys = dict.fromkeys(baseline_key(record.values) for record in records)
    return tuple(
        Baseline(values=json.loads(key), runs=tuple(plain[key]), summary=accuracy_of(plain[key]))
        for key in keys
        if key in plain
    )


def final_entry(
    seeds: Sequence[int], baseline: Sequence[TrialRun], best: Sequence[TrialRun]
) -> Final:
    """Winner and baseline on fresh seeds, on the test images."""
    gain = gain_over(best, baseline, "test")
    assert gain is not None, "both were trained on all final seeds"
    return Final(
        seeds=tuple(seeds),
        arms=FinalArms(baseline=_final_arm(baseline), best=_final_arm(best)),
        gain=gain,
        verdict=sentence("distilled", gain),
    )


def _final_arm(runs: Sequence[TrialRun]) -> FinalArm:
    return FinalArm(runs=tuple(runs), summary=accuracy_of(runs, "test"))
