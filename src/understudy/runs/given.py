"""What the file of a given teacher records about the images and classes that it was trained on."""

import json
from pathlib import Path
from typing import Any

from understudy.config.schema import DataConfig
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import size_of
from understudy.errors import UnderstudyError
from understudy.files import from_json
from understudy.models.expects import Expects
from understudy.models.normalisation import Normalisation
from understudy.runs.folder import RunFolder, load_run, split_training_name
from understudy.runs.plan import resolve_plan
from understudy.runs.results import load_results

KEY = "understudy"
"""Of the metadata in the header of a file of ``Student.save``."""
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
    own = recorded(path).normalisation
    if own is None or is_same(own, Normalisation(inputs.mean, inputs.std)):
        return
    raise UnderstudyError(
        f"{path} was trained with mean {list(own.mean)} and std {list(own.std)}, but is fed images "
        f"with mean {list(inputs.mean)} and std {list(inputs.std)}: set teacher.mean and "
        "teacher.std (of a member: its mean and std) to the former"
    )


def is_same(one: Normalisation, other: Normalisation) -> bool:
    """Whether two normalisations differ by rounding, or by another cut of the same images, only."""
    values, others = (*one.mean, *one.std), (*other.mean, *other.std)
    pairs = zip(values, others, strict=False)
    return len(values) == len(others) and all(abs(a - b) <= _SAME for a, b in pairs)


def recorded(path: Path) -> Expects:
    """What this package wrote down about the network of a weights file: images and classes.

    It is known for a file in the folder of a run, and for one of ``Student.save``; for any other
    nothing is.
    """
    saved = _saved(path)
    if saved:
        return _of_metadata(saved, path)
    run = RunFolder(path.absolute().parent.parent)
    if path.suffix != ".safetensors" or run.models != path.absolute().parent:
        return Expects()
    try:
        name, _ = split_training_name(path.stem)
        arm = resolve_plan(load_run(run.path)).arm(name)
        data = load_results(run.path)["data"] if run.results.exists() else {}
        shape = data.get("image_shape") or (None, None, None)
        names = tuple(map(str, data.get("class_names", ())))
    except (UnderstudyError, KeyError, TypeError, AttributeError):  # it only looks like a run's
        return Expects()
    size = size_of(arm.inputs.image_size)
    if size is None and shape[1] and shape[2]:
        size = int(shape[1]), int(shape[2])
    return Expects(
        size=size,
        interpolation=arm.inputs.interpolation,
        normalisation=Normalisation(arm.inputs.mean, arm.inputs.std),
        source="recorded",
        class_names=arm.classes or names,
    )


def _of_metadata(saved: dict[str, Any], path: Path) -> Expects:
    try:
        rule = saved.get("preprocessing")  # older files have none
        found = rule and from_json(Preprocessing, rule, str(path), "save it again")
        return Expects(
            size=(int(saved["image"]["height"]), int(saved["image"]["width"])),
            interpolation=found.filter if found else None,
            normalisation=Normalisation(tuple(saved["mean"]), tuple(saved["std"])),
            source="recorded",
            class_names=tuple(map(str, saved.get("class_names", ()))),
        )
    except (ValueError, KeyError, TypeError, UnderstudyError):
        return Expects()  # the weights themselves are checked when they are loaded


def _saved(path: Path) -> dict[str, Any]:
    """What ``Student.save`` wrote next to the weights; empty for any other file."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            saved = json.loads((file.metadata() or {})[KEY])
    except (SafetensorError, OSError, ValueError, KeyError):
        return {}
    return saved if isinstance(saved, dict) else {}
