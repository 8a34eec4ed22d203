"""What the file of a given teacher knows about the images that the teacher was trained on."""

import json
from pathlib import Path

from understudy.config.schema import DataConfig
from understudy.errors import UnderstudyError
from understudy.models.expects import Expects, Interpolation
from understudy.models.normalisation import Normalisation
from understudy.runs.folder import RunFolder, load_run, split_training_name
from understudy.runs.plan import resolve_plan
from understudy.runs.results import read_results

_KEY = "understudy"
"""Of the metadata in a file of ``Student.save``."""
_FILTER: Interpolation = "bilinear"
"""Of the preprocessing of this package."""
_SAME = 0.01
"""Difference, in units of the [0, 1] images, up to which two normalisations are the same."""


def require_own_normalisation(path: Path, inputs: DataConfig) -> None:
    """Refuse to feed a given teacher images that are normalised in another way than it learnt from.

    Args:
        path: of its weights.
        inputs: how the images are normalised for it.

    Raises:
        UnderstudyError: with both normalisations, and the keys to set.
    """
    own = recorded_normalisation(path)
    if own is None:
        return
    ours, theirs = (*inputs.mean, *inputs.std), (*own.mean, *own.std)
    pairs = zip(ours, theirs, strict=False)
    if len(ours) == len(theirs) and all(abs(a - b) <= _SAME for a, b in pairs):
        return
    raise UnderstudyError(
        f"{path} was trained with mean {list(own.mean)} and std {list(own.std)}, but is fed images "
        f"with mean {list(inputs.mean)} and std {list(inputs.std)}: set teacher.mean and "
        "teacher.std (of a member: its mean and std) to the former"
    )


def recorded_normalisation(path: Path) -> Normalisation | None:
    """With what the network of a weights file was trained; ``None`` if that is not known."""
    return recorded(path).normalisation


def recorded(path: Path) -> Expects:
    """What this package wrote down about the network of a weights file: images and classes.

    It is known for a file in the folder of a run, and for one of ``Student.save``.
    """
    metadata = _metadata(path)
    if metadata is not None:
        return metadata
    run = RunFolder(path.absolute().parent.parent)
    if path.suffix != ".safetensors" or run.models != path.absolute().parent:
        return Expects()
    try:
        arm, _ = split_training_name(path.stem)
        inputs = resolve_plan(load_run(run.path)).arm(arm).inputs
        results = read_results(run.path).data if run.results.exists() else None
    except UnderstudyError:  # a folder that only looks like a run's
        return Expects()
    return Expects(
        size=None if results is None else (results.image_shape[1], results.image_shape[2]),
        interpolation=_FILTER,
        normalisation=Normalisation(inputs.mean, inputs.std),
        source="recorded",
        class_names=() if results is None else results.class_names,
    )


def _metadata(path: Path) -> Expects | None:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            saved = json.loads((file.metadata() or {})[_KEY])
        return Expects(
            size=(int(saved["image"]["height"]), int(saved["image"]["width"])),
            interpolation=_FILTER,
            normalisation=Normalisation(tuple(saved["mean"]), tuple(saved["std"])),
            source="recorded",
            class_names=tuple(map(str, saved["class_names"])),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, UnderstudyError):
        return None  # the weights themselves are checked when they are loaded
