"""Gains of runs by earlier versions, again from their stored predictions.

Their ``results.json`` does not record which images were right, so its intervals are over seeds
alone. Where a run still has its predictions, the interval over seeds and images follows from them;
where it has not, the verdict is one over "seeds alone".
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from understudy.errors import UnderstudyError
from understudy.evaluation.correctness import gain_between, pack
from understudy.evaluation.gain import corrected
from understudy.evaluation.results import Metrics
from understudy.runs.comparison import Comparison
from understudy.runs.folder import RunFolder, training_name
from understudy.runs.results import ArmSummary, RunResults, SeedResult


def recomputed(run: Path, results: RunResults) -> RunResults:
    """The results with which images were right, and the gains that follow from it.

    Results of this version are returned unchanged.

    Raises:
        UnderstudyError: if a file of predictions is damaged.
    """
    if all(comparison.images is not None for comparison in results.comparisons):
        return results
    folder = RunFolder(run)
    arms = {
        name: replace(arm, runs=tuple(_with_correct(folder, name, seed) for seed in arm.runs))
        for name, arm in results.arms.items()
    }
    return replace(results, arms=arms, comparisons=_compared(arms, results.comparisons))


def _compared(
    arms: Mapping[str, ArmSummary], earlier: tuple[Comparison, ...]
) -> tuple[Comparison, ...]:
    """The same comparisons again; unchanged if arms or seeds do not match."""
    gains = []
    for comparison in earlier:
        if not {comparison.arm, comparison.reference} <= arms.keys():
            return earlier
        own = {seed.seed: seed.test for seed in arms[comparison.arm].runs}
        reference = {seed.seed: seed.test for seed in arms[comparison.reference].runs}
        if own.keys() != reference.keys():
            return earlier
        gains.append(gain_between(list(own.values()), [reference[seed] for seed in own]))
    return tuple(
        Comparison.of(comparison.arm, comparison.reference, gain)
        for comparison, gain in zip(earlier, corrected(gains), strict=True)
    )


def _with_correct(folder: RunFolder, arm: str, result: SeedResult) -> SeedResult:
    path = folder.predictions(training_name(arm, result.seed), "test")
    return replace(result, test=with_correct(result.test, path))


def with_correct(metrics: Metrics, predictions: Path) -> Metrics:
    """Metrics with which images were right, if the predictions are there and agree with them.

    Args:
        metrics: of one training on one split.
        predictions: the file of the same training and split; it may be missing.
    """
    if metrics.correct is not None or not predictions.exists():
        return metrics
    correct = correct_in(predictions)
    # Logits are stored in half precision: a tie may hide the class that was predicted.
    if float(correct.mean()) != metrics.accuracy:
        return metrics
    return replace(metrics, correct=pack(correct))


def correct_in(path: Path) -> np.ndarray:
    """Bool ``[N]``: whether each prediction in a ``predictions.npz`` is the label.

    Raises:
        UnderstudyError: if the file is damaged.
    """
    try:
        # Opened here: of a damaged file numpy leaves its own open.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            correct: np.ndarray = file["logits"].argmax(1) == file["labels"]
            return correct
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UnderstudyError(
            f"{path} cannot be read ({type(error).__name__}); delete it to go on without it"
        ) from None
