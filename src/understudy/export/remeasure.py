"""Measure an exported file again on the test images, so that one from last year can be trusted."""

from pathlib import Path

import numpy as np
import torch

from understudy.data import load_dataset
from understudy.data.dataset import Split
from understudy.data.folds import folded
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import metrics
from understudy.evaluation.results import Metrics
from understudy.events import SILENT, Observer
from understudy.export.artefact import open_artefact
from understudy.export.gate import probabilities
from understudy.export.runtime import Runtime


def evaluate_artefact(
    path: Path, *, data: str | None = None, threads: int = 1, observer: Observer = SILENT
) -> tuple[Metrics, tuple[str, ...]]:
    """Accuracy and calibration of an exported file on the test images.

    Args:
        path: the file, or the folder of a format that is one.
        data: a local copy of the images that the network was trained for.
        threads: CPU threads of its runtime.
        observer: follows the images.

    Returns:
        The metrics, and the names of the file's classes.

    Raises:
        UnderstudyError: if it cannot be run, or its classes are not those of the data.
    """
    runtime = open_artefact(path, threads)
    split = _test_images(runtime, data, path)
    found = probabilities(runtime, split, observer, path.name)
    # The softmax of a probability's logarithm is that probability.
    logits = torch.from_numpy(np.log(np.clip(found, 1e-38, None)))
    return metrics(logits, split.labels), runtime.card.classes


def _test_images(runtime: Runtime, data: str | None, path: Path) -> Split:
    """The test images of the run, preprocessed and labelled as the file's card has it.

    They are read as the run read them: with other groups another fifth would be cut off as test
    images, and most of it would have been trained on.
    """
    card = runtime.card
    if not card.origin.source:
        raise UnderstudyError(
            f"the card of {path} names no data source: export the network from a run's folder"
        )
    rule = card.preprocessing
    dataset = load_dataset(
        card.origin.source,
        data,
        image_size=rule.image.size,
        resize=rule.resize,
        max_pixels=rule.max_pixels,
        options=card.origin.reading,
    )
    fold = card.origin.fold
    if fold is not None:  # the other folds are what the network was trained on
        dataset = folded(dataset, fold.folds, fold.fold, fold.seed)
    split = dataset.test.open_for_final_evaluation()
    return Split(split.images, _labels(split, dataset.class_names, card.classes, path), split.rows)


def _labels(
    split: Split, names: tuple[str, ...], classes: tuple[str, ...], path: Path
) -> torch.Tensor:
    """The split's labels in the order of the file's classes; matched by name, never by position.

    Raises:
        UnderstudyError: naming classes that only one of the two has.
    """
    if len(set(names)) != len(names) or set(names) != set(classes):
        missing = sorted(set(names) - set(classes))[:3]
        unknown = sorted(set(classes) - set(names))[:3]
        raise UnderstudyError(
            f"{path} has {len(classes)} classes, the data {len(names)}: "
            f"{', '.join(missing) or 'none'} missing in the file, "
            f"{', '.join(unknown) or 'none'} missing in the data"
        )
    order = torch.tensor([classes.index(name) for name in names])
    return order[split.labels]
