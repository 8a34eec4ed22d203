"""A cross-validated run: its folder, and what ``folds.json`` holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.evaluation.cross_validation import (
    CrossValidatedGain,
    cross_validated_gain,
)
from understudy.evaluation.gain import corrected
from understudy.evaluation.verdict import fold_sentence
from understudy.files import LEFT_OUT_IF_NONE, read_record
from understudy.runs.folder import RunFolder
from understudy.runs.results import RunResults

SCHEMA = 1
"""Of ``folds.json``."""


@dataclass(frozen=True)
class FoldsFolder:
    """The directory of a cross-validated run.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def record(self) -> Path:
        """What was found over all folds, JSON."""
        return self.path / "folds.json"

    @property
    def report(self) -> Path:
        """The report, HTML."""
        return self.path / "report.html"

    def run(self, number: int) -> RunFolder:
        """The run directory of a fold, counted from 1 over all repeats: ``folds/fold1``."""
        return RunFolder(RunFolder(self.path).folds / f"fold{number}")


@dataclass(frozen=True)
class FoldResult:
    """One fold: a run with a teacher, a baseline and students of its own.

    Attributes:
        repeat: which shuffle of the folds, from 1.
        fold: from 1.
        seed: of the shuffle's trainings.
        num_train, num_val, num_test: numbers of images.
        accuracies: arm -> accuracy on the fold's images, in [0, 1].
    """

    repeat: int
    fold: int
    seed: int
    num_train: int
    num_val: int
    num_test: int
    accuracies: dict[str, float]

    @classmethod
    def of(cls, repeat: int, fold: int, results: RunResults) -> "FoldResult":
        """What a fold's run has measured on its test images."""
        arms = {name: arm.runs[0].test.accuracy for name, arm in results.arms.items()}
        seed = results.arms["baseline"].runs[0].seed
        data = results.data
        sizes = (data.num_train, data.num_val, data.num_test)
        return cls(repeat, fold, seed, *sizes, accuracies=arms)


@dataclass(frozen=True)
class FoldsComparison:
    """The gain of an arm over another, over all folds.

    Attributes:
        arm, reference: gain of ``arm`` over ``reference``.
        gain: with the corrected interval, and its p value corrected for the number of arms.
        verdict: the gain as one sentence.
    """

    arm: str
    reference: str
    gain: CrossValidatedGain
    verdict: str


@dataclass(frozen=True)
class FoldsResults:
    """The contents of ``folds.json``.

    Attributes:
        schema: of the file.
        name: of the run.
        command: as typed.
        data_name: of the data set.
        class_names: one per class.
        num_images: that take part; each is in one test fold of each repeat.
        num_skipped: that cannot be read and were left out; ``None`` (no key) if none was.
        folds: in a repeat.
        runs: repeat by repeat, fold by fold.
        comparisons: one for each arm that a run compares.
    """

    schema: int
    name: str
    command: str
    data_name: str
    class_names: tuple[str, ...]
    num_images: int
    folds: int
    runs: tuple[FoldResult, ...]
    comparisons: tuple[FoldsComparison, ...]
    num_skipped: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms of every fold."""
        return tuple(self.runs[0].accuracies)


def assemble_folds(
    name: str,
    command: str,
    folds: int,
    results: Sequence[RunResults],
    num_skipped: int | None = None,
) -> FoldsResults:
    """The gains over all folds.

    Args:
        name: of the run.
        command: as typed.
        folds: in a repeat.
        results: of every fold's run, repeat by repeat.
        num_skipped: images that cannot be read and were left out, if any.
    """
    runs = tuple(
        FoldResult.of(1 + number // folds, 1 + number % folds, one)
        for number, one in enumerate(results)
    )
    data = results[0].data
    pairs = [(each.arm, each.reference) for each in results[0].comparisons]
    return FoldsResults(
        schema=SCHEMA,
        name=name,
        command=command,
        data_name=data.name,
        class_names=data.class_names,
        num_images=sum(run.num_test for run in runs[:folds]),
        folds=folds,
        runs=runs,
        comparisons=_comparisons(pairs, runs, folds),
        num_skipped=num_skipped,
    )


def _comparisons(
    pairs: Sequence[tuple[str, str]], runs: Sequence[FoldResult], folds: int
) -> tuple[FoldsComparison, ...]:
    """The gain of each arm over its reference, with Holm's correction for their number."""
    repeats = [runs[start : start + folds] for start in range(0, len(runs), folds)]
    gains = [
        cross_validated_gain(
            [[_gain(run.accuracies, arm, reference) for run in repeat] for repeat in repeats],
            1 / folds,
        )
        for arm, reference in pairs
    ]
    return tuple(
        FoldsComparison(arm, reference, gain, fold_sentence(arm, gain, folds, len(repeats)))
        for (arm, reference), gain in zip(pairs, corrected(gains), strict=True)
    )


def _gain(accuracies: Mapping[str, float], arm: str, reference: str) -> float:
    return accuracies[arm] - accuracies[reference]


def read_folds(folder: Path) -> FoldsResults:
    """The contents of ``folds.json``.

    Raises:
        UnderstudyError: if it is missing or damaged.
    """
    path = FoldsFolder(folder).record
    advice = "run understudy run --folds again, with --resume"
    found = read_record(FoldsResults, path, SCHEMA, advice)
    if found is None:
        raise UnderstudyError(f"there is no {path}: {advice}")
    return found
