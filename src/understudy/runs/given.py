"""What the file of a given teacher knows about the images that the teacher was trained on."""

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

_KEY = "understudy"
"""Of the metadata in a file of ``Student.save``."""
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
    if own is None or is_same(own, Normalisation(inputs.mean, inputs.std)):
        return
    raise UnderstudyError(
        f"{path} was trained with mean {list(own.mean)} and std {list(own.std)}, but is fed images "
        f"with mean {list(inputs.mean)} and std {list(inputs.std)}: set teacher.mean and "
        "teacher.std (of a member: its mean and std) to the former"
    )


def recorded_normalisation(path: Path) -> Normalisation | None:
    """With what the network of a weights file was trained; ``None`` if that is not known."""
    recorded = recorded_inputs(path)
    return None if recorded is None else recorded.normalisation


def is_same(one: Normalisation, other: Normalisation) -> bool:
    """Whether two normalisations differ by rounding, or by another cut of the same images, only."""
    values, others = (*one.mean, *one.std), (*other.mean, *other.std)
    pairs = zip(values, others, strict=False)
    return len(values) == len(others) and all(abs(a - b) <= _SAME for a, b in pairs)


def recorded_inputs(path: Path) -> Expects | None:
    """The images that the network of a weights file was trained on; ``None`` if not known.

    They are known for a file in the folder of a run, and for one of ``Student.save``.
    """
    metadata = _metadata(path)
    if metadata is not None:
        return metadata
    run = path.absolute().parent.parent
    if path.suffix != ".safetensors" or RunFolder(run).models != path.absolute().parent:
        return None
    try:
        arm, _ = split_training_name(path.stem)
        inputs = resolve_plan(load_run(run)).arm(arm).inputs
        return Expects(
            size=size_of(inputs.image_size),
            interpolation=inputs.interpolation,
            normalisation=Normalisation(inputs.mean, inputs.std),
            source="recorded",
        )
    except UnderstudyError:  # a folder that only looks like a run's
        return None


def recorded_classes(path: Path) -> tuple[str, ...]:
    """The names of the outputs of a weights file's network, in their order; empty if not known.

    It is known for a file in the folder of a finished run, and for one of ``Student.save``.
    """
    saved = _saved(path)
    if saved:
        return tuple(map(str, saved.get("class_names", ())))
    run = RunFolder(path.absolute().parent.parent)
    if path.suffix != ".safetensors" or run.models != path.absolute().parent:
        return ()
    try:
        arm, _ = split_training_name(path.stem)
        own = resolve_plan(load_run(run.path)).arm(arm).classes
        return own or tuple(map(str, load_results(run.path)["data"]["class_names"]))
    except (UnderstudyError, KeyError, TypeError):  # it has not finished, or looks like a run's
        return ()


def _metadata(path: Path) -> Expects | None:
    saved = _saved(path)
    if not saved:
        return None
    try:
        rule = saved.get("preprocessing")  # older files have none
        found = rule and from_json(Preprocessing, rule, str(path), "save it again")
        return Expects(
            size=(int(saved["image"]["height"]), int(saved["image"]["width"])),
            interpolation=found.filter if found else None,
            normalisation=Normalisation(tuple(saved["mean"]), tuple(saved["std"])),
            source="recorded",
        )
    except (ValueError, KeyError, TypeError, UnderstudyError):
        return None  # the weights themselves are checked when they are loaded


def _saved(path: Path) -> dict[str, Any]:
    """What ``Student.save`` wrote next to the weights; empty for any other file."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            saved = json.loads((file.metadata() or {})[_KEY])
    except (SafetensorError, OSError, ValueError, KeyError):
        return {}
    return saved if isinstance(saved, dict) else {}
