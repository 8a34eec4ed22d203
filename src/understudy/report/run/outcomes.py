"""Which test images distillation fixed and broke, split by whether the teacher is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.errors import UnderstudyError
from understudy.runs.folder import RunFolder, training_name
from understudy.runs.recompute import correct_in
from understudy.runs.results import RunResults


@dataclass(frozen=True)
class Outcomes:
    """Numbers of test images, means over the seeds.

    Attributes:
        images: of this group.
        baseline: that the baseline classifies right.
        distilled: that the distilled student classifies right.
        fixed: wrong in the baseline, right in the distilled student of the same seed.
        broken: the reverse.
    """

    images: float
    baseline: float
    distilled: float
    fixed: float
    broken: float


def outcomes(run: Path, results: RunResults) -> dict[str, Outcomes] | None:
    """Outcomes on the images that the teacher classifies ``right`` and ``wrong``.

    Needs ``predictions.npz`` of teacher, baseline and distilled student. The teacher of one seed is
    shared by all seeds.

    Returns:
        ``None`` if an arm or one of its files is missing.

    Raises:
        UnderstudyError: if a file is damaged.
    """
    teacher, baseline, distilled = map(results.arm_of_role, ("teacher", "baseline", "distilled"))
    if teacher is None or baseline is None or distilled is None:
        return None
    folder = RunFolder(run)
    first = folder.predictions(training_name(teacher, results.arms[teacher].runs[0].seed))
    seeds = [{r.seed for r in results.arms[name].runs} for name in (baseline, distilled)]
    counts: dict[str, list[list[int]]] = {"right": [], "wrong": []}
    for seed in sorted(seeds[0] & seeds[1]):
        own, *students = (
            folder.predictions(training_name(name, seed)) for name in (teacher, baseline, distilled)
        )
        files = [own if own.exists() else first, *students]
        if not all(file.exists() for file in files):
            return None
        taught, before, after = _all_correct(files)
        counts["right"].append(_count(taught, before, after))
        counts["wrong"].append(_count(~taught, before, after))
    if not counts["right"]:
        return None
    return {key: _mean(rows) for key, rows in counts.items()}


def _all_correct(files: Sequence[Path]) -> list[np.ndarray]:
    found = [correct_in(file) for file in files]
    if len({correct.shape for correct in found}) > 1:
        names = ", ".join(map(str, files))
        raise UnderstudyError(f"{names} hold different numbers of images; run again")
    return found


def _count(group: np.ndarray, before: np.ndarray, after: np.ndarray) -> list[int]:
    parts = (group, before, after, after & ~before, before & ~after)
    return [int((group & part).sum()) for part in parts]


def _mean(rows: Sequence[Sequence[int]]) -> Outcomes:
    return Outcomes(*(sum(column) / len(column) for column in zip(*rows, strict=True)))
