"""Gains of sweeps by earlier versions, again from their stored predictions; as in
:mod:`understudy.runs.recompute`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from understudy.runs.folder import training_name
from understudy.runs.recompute import with_correct
from understudy.sweep.folder import SweepFolder
from understudy.sweep.results import (
    Baseline,
    Final,
    FinalArm,
    SweepResults,
    Trial,
    TrialRun,
    baseline_key,
    baseline_name,
    final_entry,
    gain_over,
    with_holm,
)


def recomputed(path: Path, results: SweepResults) -> SweepResults:
    """The results with which images were right, and the gains that follow from it.

    Results of this version are returned unchanged.

    Raises:
        UnderstudyError: if a file of predictions is damaged.
    """
    gains = [trial.gain for trial in results.trials if trial.gain is not None]
    gains += [results.final.gain] if results.final else []
    if all(gain.images is not None for gain in gains):
        return results
    folder = SweepFolder(path)
    baselines = tuple(_baseline(folder, baseline) for baseline in results.baselines)
    plain = {baseline_key(baseline.values): baseline.runs for baseline in baselines}
    trials = []
    for trial in results.trials:
        reference = plain.get(baseline_key(trial.values))
        trials.append(trial if reference is None else _trial(folder, trial, reference))
    return replace(
        results,
        baselines=baselines,
        trials=with_holm(trials),
        final=results.final and _final(folder, results.final),
    )


def _baseline(folder: SweepFolder, baseline: Baseline) -> Baseline:
    runs = _runs(folder, baseline_name(baseline.values), "baseline", baseline.runs)
    return replace(baseline, runs=runs)


def _trial(folder: SweepFolder, trial: Trial, reference: Sequence[TrialRun]) -> Trial:
    if trial.gain is None:
        return trial
    runs = _runs(folder, f"{trial.number:04d}", "distilled", trial.runs)
    return replace(trial, runs=runs, gain=gain_over(runs, reference))


def _final(folder: SweepFolder, final: Final) -> Final:
    baseline, best = (
        _final_runs(folder, name, arm, side)
        for name, arm, side in (
            ("final-baseline", "baseline", final.arms.baseline),
            ("final-best", "distilled", final.arms.best),
        )
    )
    return final_entry(final.seeds, baseline, best)


def _final_runs(folder: SweepFolder, name: str, arm: str, side: FinalArm) -> tuple[TrialRun, ...]:
    found = []
    for run in _runs(folder, name, arm, side.runs):
        predictions = folder.training(training_name(name, run.seed)).predictions(
            training_name(arm, run.seed), "test"
        )
        tested = None if run.test is None else with_correct(run.test, predictions)
        found.append(replace(run, test=tested))
    return tuple(found)


def _runs(
    folder: SweepFolder, name: str, arm: str, runs: Sequence[TrialRun]
) -> tuple[TrialRun, ...]:
    """Trainings of one group, with which validation images were right."""
    found = []
    for run in runs:
        predictions = folder.training(training_name(name, run.seed)).predictions(
            training_name(arm, run.seed), "val"
        )
        found.append(replace(run, val=with_correct(run.val, predictions)))
    return tuple(found)
