"""A run on every fold of a small data set: the gain, cross-validated."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.config.schema import LARGEST_SEED, RunConfig
from understudy.data.dataset import Dataset
from understudy.data.prepare import open_dataset, split_dataset
from understudy.errors import UnderstudyError
from understudy.events import SILENT, EpochResult, Observer, Progress
from understudy.experiment import ExperimentOptions, run_experiment
from understudy.files import write_json
from understudy.runs.folder import (
    RunFolder,
    earlier_config,
    require_same_config,
    require_same_images,
)
from understudy.runs.folds import FoldsFolder, FoldsResults, assemble_folds
from understudy.runs.given_inputs import resolved_plan
from understudy.runs.inspected import headline
from understudy.runs.plan import resolve_plan
from understudy.runs.results import RunResults, read_results
from understudy.runs.student import with_student
from understudy.training.device import ranks


def run_folds(
    config: RunConfig, out: Path, folds: int, *, observer: Observer = SILENT, **options: Any
) -> FoldsResults | None:
    """Run all arms on every fold, once for each seed, and write ``folds.json``.

    Each fold is a run of its own in ``out/folds/foldN``: its teacher, baseline and students see
    nothing of the fold: validation is cut from the other images. Each seed is a repeat, with a
    shuffle of the folds of its own.

    Args:
        config: what to do; its seeds are the repeats.
        out: the directory of all folds.
        folds: how many, at least 2.
        observer: follows the trainings.
        options: fields of :class:`~understudy.experiment.ExperimentOptions`.

    Returns:
        the contents of ``folds.json``; ``None`` on any but the first rank of a distributed run.

    Raises:
        UnderstudyError: if a fold cannot be cut, before any trains, or a training fails; what has
            finished stays, and ``resume`` goes on from it to the same numbers.
    """
    given = ExperimentOptions(**options)
    if folds < 2:
        raise UnderstudyError(f"--folds must be at least 2, not {folds}")
    observer = observer if ranks().is_first else SILENT
    folder = FoldsFolder(out)
    if RunFolder(out).config.exists():
        raise UnderstudyError(f"{out} holds a run without --folds: give another --out")
    dataset = open_dataset(config.data, observer=observer)
    if dataset.inspection is not None:
        for line in headline(dataset.inspection):
            observer.message(line)
    earlier = earlier_config(folder.run(1)) if given.resume else None
    config = with_student(config, dataset, earlier, observer)
    begun = folder if given.resume else None
    configs = list(_fold_configs(config, folds, dataset, begun, observer))
    if any(arm.path for arm in resolve_plan(configs[0][0]).arms.values()):
        observer.message(
            "the given teacher may have been trained on images of the folds: then the accuracies "
            "are too high, and the gain may be"
        )
    results: list[RunResults] = []
    for number, (own, fingerprint) in enumerate(configs, start=1):
        run = folder.run(number)
        if given.resume and run.results.exists():
            require_same_config(own, run)
            require_same_images(fingerprint, run, "cannot resume", "give another --out")
            results.append(read_results(run.path))
            continue
        observer.message(f"fold {own.data.fold} of {folds}, seed {own.seeds[0]}: {run.path}")
        options["go_on"] = True  # a fold has few images, and all of them count together
        found = run_experiment(own, run.path, observer=_OfFold(number, observer), **options)
        if found is not None:
            results.append(found)
    if not ranks().is_first:
        return None
    skipped = 0 if dataset.inspection is None else len(dataset.inspection.unreadable)
    record = assemble_folds(config.name, given.command, folds, results, skipped or None)
    write_json(folder.record, record)
    return record


def _fold_configs(
    config: RunConfig, folds: int, dataset: Dataset, begun: FoldsFolder | None, observer: Observer
) -> Iterator[tuple[RunConfig, str]]:
    """The complete configuration of every fold's run, and the digest of its images; each is cut
    once, to see that it can be. The observer gets the lines of the first, which go for all."""
    pairs = itertools.product(config.seeds, range(1, folds + 1))
    for number, (seed, fold) in enumerate(pairs, start=1):
        own = replace(config.data, split_seed=(config.data.split_seed + seed) % LARGEST_SEED)
        data, _ = split_dataset(dataset, replace(own, folds=folds, fold=fold))
        earlier = None if begun is None else earlier_config(begun.run(number))
        plan = resolved_plan(replace(config, seeds=(seed,)), data, observer, earlier)
        yield plan.config, data.fingerprint
        observer = SILENT


class _OfFold:
    """Gives the trainings of a fold names of their own: ``fold3/teacher-seed0``."""

    def __init__(self, number: int, observer: Observer) -> None:
        self.prefix, self.observer = f"fold{number}/", observer

    def expect(self, epochs: int, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.observer.expect(epochs, training and self.prefix + training)

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.observer.progress(progress, training and self.prefix + training)

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.observer.epoch(result, training and self.prefix + training)

    def message(self, line: str) -> None:
        """See :class:`~understudy.events.Observer`."""
        self.observer.message(line)
