"""The table of models: build one by name, list them, describe them. Importing this loads no torch.

A network of the table is a :class:`~understudy.models.base.Classifier`. Any other is reached as
``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``, ``onnx:FILE`` or ``package.module:callable`` (see
:mod:`understudy.models.libraries`).
"""

import fnmatch
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.config.budget import is_budget
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, suggest
from understudy.models.students import known_students

if TYPE_CHECKING:
    from torch import nn

    from understudy.models.base import Classifier


@dataclass(frozen=True)
class ModelEntry:
    """A line of the table of models.

    Attributes:
        family: the file of the constructor, ``understudy/models/<family>.py``; it has the model's
            name.
        description: what the network is, in one line.
    """

    family: str
    description: str


MODELS: dict[str, ModelEntry] = {
    "founding_teacher": ModelEntry(
        "legacy", "the original project's teacher: seven convolutions, no shortcut"
    ),
    "founding_student": ModelEntry(
        "legacy", "the original project's student: four convolutions, two-layer head"
    ),
    "fast_teacher": ModelEntry("fast", "plain CNN in the manner of the CIFAR-10 speed records"),
    "tiny_wide": ModelEntry(
        "tiny", "founding_student's layout and size, the head's parameters spent on width"
    ),
    "tiny_res": ModelEntry(
        "tiny", "founding_student's size and cost, seven convolutions, residual"
    ),
    "tiny_dw": ModelEntry("tiny", "founding_student's size, depthwise-separable convolutions"),
    "tiny_large": ModelEntry("tiny", "tiny_wide with half as many parameters again"),
    "resnet8": ModelEntry("resnet", "CIFAR ResNet, 8 layers"),
    "resnet14": ModelEntry("resnet", "CIFAR ResNet, 14 layers"),
    "resnet20": ModelEntry("resnet", "CIFAR ResNet, 20 layers"),
    "resnet32": ModelEntry("resnet", "CIFAR ResNet, 32 layers"),
    "resnet44": ModelEntry("resnet", "CIFAR ResNet, 44 layers"),
    "resnet56": ModelEntry("resnet", "CIFAR ResNet, 56 layers"),
    "resnet110": ModelEntry("resnet", "CIFAR ResNet, 110 layers"),
    "resnet8x4": ModelEntry("resnet", "CIFAR ResNet, 8 layers, four times as wide"),
    "resnet32x4": ModelEntry("resnet", "CIFAR ResNet, 32 layers, four times as wide"),
    "resnet18": ModelEntry("resnet", "ResNet-18 with a stem for 32x32 images"),
    "wrn_16_1": ModelEntry("wrn", "Wide ResNet, 16 layers, width 1"),
    "wrn_16_2": ModelEntry("wrn", "Wide ResNet, 16 layers, width 2"),
    "wrn_16_4": ModelEntry("wrn", "Wide ResNet, 16 layers, width 4"),
    "wrn_28_10": ModelEntry("wrn", "Wide ResNet, 28 layers, width 10"),
    "wrn_40_1": ModelEntry("wrn", "Wide ResNet, 40 layers, width 1"),
    "wrn_40_2": ModelEntry("wrn", "Wide ResNet, 40 layers, width 2"),
}
"""Name -> where the network is, and what it is."""

MIN_IMAGE_SIZE = 16
"""Pixels. The networks shrink an image 8 to 16 times; below this nothing is left to pool."""

_NOT_OPTIONS = ("num_classes", "in_channels")


def list_models(pattern: str = "*") -> list[str]:
    """The names that :func:`build_model` knows by itself, in the order of the table.

    Args:
        pattern: only names that match it, with ``*`` and ``?`` (``resnet*``).
    """
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


def build_model(
    name: str,
    num_classes: int | None,
    image: ImageSpec | None = None,
    *,
    in_channels: int = 3,
    image_size: int | tuple[int, int] | None = 32,
    stages: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> "Classifier":
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        name: a key of :data:`MODELS`, or ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``,
            ``onnx:FILE``, ``package.module:callable``.
        num_classes: number of logits, at least 2; ``None`` for a foreign network's own number.
        image: the shape of the images, at least 16 pixels high and wide. The networks of the table
            pool globally and accept every larger size, square or not.
        in_channels: channels of the images, instead of ``image``.
        image_size: pixels, one number for square images or (height, width), instead of ``image``;
            ``None`` for the size that a foreign network records, else 224.
        stages: module paths of a foreign network's stages, shallow to deep. The networks of the
            table define their own.
        options: further keyword arguments of the constructor.

    Raises:
        UnderstudyError: for an unknown name or option, a value that does not fit, or a foreign
            network that cannot be built.
    """
    from understudy.models.base import Architecture

    if is_budget(name):
        raise UnderstudyError(
            f"{name} is a budget, by which a student is chosen: name a network of "
            "`understudy models` here"
        )
    options = dict(options or {})
    size = image.size if image else _pair(image_size)
    channels = image.channels if image else in_channels
    if num_classes is not None and num_classes < 2:
        raise UnderstudyError(
            f"model {name}: a classifier needs at least 2 classes, not {num_classes}"
        )
    if size is not None and min(size) < MIN_IMAGE_SIZE:
        raise UnderstudyError(
            f"model {name}: {min(size)}-pixel images are too small; "
            f"set data.image_size={MIN_IMAGE_SIZE} or more"
        )
    model: Classifier
    if name not in MODELS and (":" in name or "." in name):
        from understudy.models.libraries import build_foreign

        model = build_foreign(
            name,
            num_classes,
            in_channels=channels,
            image_size=size,
            stages=stages,
            options=options,
        )
    elif num_classes is None:
        raise UnderstudyError(f"model {name}: give the number of classes")
    else:
        model = _build_own(name, num_classes, channels, stages, options)
    model.architecture = Architecture(name, options, stages)
    return model


def _pair(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) of one number or both."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def _build_own(
    name: str,
    num_classes: int,
    in_channels: int,
    stages: tuple[str, ...],
    options: Mapping[str, Any],
) -> "Classifier":
    constructor = _constructor(name)
    if stages:
        raise UnderstudyError(
            f"model {name} has its own stages: remove `stages`, which is for foreign models"
        )
    checked = _check_options(name, constructor, options)
    try:
        return constructor(num_classes, in_channels=in_channels, **checked)
    except ValueError as error:
        raise UnderstudyError(f"model {name}: {error}") from error


def deployed(model: "nn.Module") -> "nn.Module":
    """The network that is shipped: a foreign network without the wrapper around it, else ``model``.

    Its ``state_dict`` has the network's own keys, so a saved student loads without this package.
    """
    from understudy.models.base import Classifier

    return model.bare if isinstance(model, Classifier) else model


def model_options(name: str) -> dict[str, Any]:
    """The options of a network of the table, with their defaults.

    Raises:
        UnderstudyError: for an unknown name.
    """
    return _defaults(_constructor(name))


def describe_model(name: str, num_classes: int = 10) -> dict[str, Any]:
    """A row of ``understudy models``: name, description, parameters, options and their meaning, and
    the mean accuracy in the table of students (``None`` if it is not there).

    The network is built on torch's meta device, so counting its parameters allocates nothing.

    Raises:
        UnderstudyError: for an unknown name.
    """
    import torch

    constructor = _constructor(name)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in constructor(num_classes).parameters())
    return {
        "name": name,
        "description": MODELS[name].description,
        "parameters": parameters,
        "accuracy": known_students().accuracy_of(name, {}),
        "options": _defaults(constructor),
        "doc": inspect.getdoc(constructor) or "",
    }


def describe_models() -> list[dict[str, Any]]:
    """:func:`describe_model` of every network of the table, at 10 classes."""
    return [describe_model(name) for name in MODELS]


def _constructor(name: str) -> Callable[..., "Classifier"]:
    if name not in MODELS:
        others = "timm:NAME, torchvision:NAME, hf:NAME, onnx:FILE and package.module:callable"
        raise UnderstudyError(
            f"unknown model {name!r}: {suggest(name, MODELS, matches=3)} ({others} reach others)"
        )
    module = importlib.import_module(f"understudy.models.{MODELS[name].family}")
    constructor: Callable[..., Classifier] = getattr(module, name)
    return constructor


def _defaults(constructor: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(constructor).parameters
    return {
        key: parameter.default for key, parameter in parameters.items() if key not in _NOT_OPTIONS
    }


def _check_options(
    name: str, constructor: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    known = _defaults(constructor)
    checked = {}
    for key, value in options.items():
        if key not in known:
            guess = suggest(key, known, otherwise="known:")
            listed = "" if guess.startswith("known:") else f" known: {', '.join(known)}"
            raise UnderstudyError(f"model {name} has no option {key!r}: {guess}{listed}")
        checked[key] = _check_value(f"model {name}: option {key}", value, known[key])
    return checked


def _check_value(label: str, value: Any, default: Any) -> Any:
    """``value`` in the kind of ``default``.

    YAML has lists and no tuples, and ``false`` is a common way to write "no dropout".
    """
    kind = f"like {default!r}"
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, float):
        fits = value is False or (isinstance(value, (int, float)) and not isinstance(value, bool))
        value = float(value) if fits else value
    elif isinstance(default, tuple):
        kind = f"{len(default)} positive whole numbers"
        fits = isinstance(value, Sequence) and len(value) == len(default)
        fits = fits and all(type(item) is int and item > 0 for item in value)
        value = tuple(value) if fits else value
    elif isinstance(default, int):
        fits = type(value) is int and value > 0
    else:
        fits = isinstance(value, type(default))
    if not fits:
        raise UnderstudyError(f"{label} must be {kind}, not {value!r}")
    return value
