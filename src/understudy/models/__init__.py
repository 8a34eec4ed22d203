"""The model zoo: networks by name. Importing this loads no torch; building a network does.

A network of ours is a :class:`~understudy.models.base.Classifier`; anything else is reached as ``timm:NAME``,
``torchvision:NAME``, ``hf:NAME`` or ``package.module:callable`` (see :mod:`understudy.models.foreign`).
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from torch import nn

    from understudy.models.base import Classifier

MODELS: dict[str, tuple[str, str]] = {
    "founding_teacher": (
        "understudy.models.legacy:founding_teacher",
        "the founding teacher: seven convolutions, no shortcut",
    ),
    "founding_student": (
        "understudy.models.legacy:founding_student",
        "the founding student: four convolutions",
    ),
    "fast_teacher": (
        "understudy.models.fast:fast_teacher",
        "fast plain CNN in the manner of the CIFAR-10 speed records",
    ),
    "tiny_wide": (
        "understudy.models.tiny:tiny_wide",
        "founding student's layout and size, the head's parameters spent on width",
    ),
    "tiny_res": (
        "understudy.models.tiny:tiny_res",
        "founding student's size and cost, seven convolutions, residual",
    ),
    "tiny_dw": (
        "understudy.models.tiny:tiny_dw",
        "founding student's size, depthwise-separable convolutions",
    ),
    "tiny_large": (
        "understudy.models.tiny:tiny_large",
        "tiny_wide with half as many parameters again",
    ),
    "resnet8": ("understudy.models.resnet:resnet8", "CIFAR ResNet, 8 layers"),
    "resnet14": ("understudy.models.resnet:resnet14", "CIFAR ResNet, 14 layers"),
    "resnet20": ("understudy.models.resnet:resnet20", "CIFAR ResNet, 20 layers"),
    "resnet32": ("understudy.models.resnet:resnet32", "CIFAR ResNet, 32 layers"),
    "resnet44": ("understudy.models.resnet:resnet44", "CIFAR ResNet, 44 layers"),
    "resnet56": ("understudy.models.resnet:resnet56", "CIFAR ResNet, 56 layers"),
    "resnet110": ("understudy.models.resnet:resnet110", "CIFAR ResNet, 110 layers"),
    "resnet8x4": (
        "understudy.models.resnet:resnet8x4",
        "CIFAR ResNet, 8 layers, four times as wide",
    ),
    "resnet32x4": (
        "understudy.models.resnet:resnet32x4",
        "CIFAR ResNet, 32 layers, four times as wide",
    ),
    "resnet18": ("understudy.models.resnet:resnet18", "ResNet-18 with a stem for 32x32 images"),
    "wrn_16_1": ("understudy.models.wrn:wrn_16_1", "Wide ResNet, 16 layers, width 1"),
    "wrn_16_2": ("understudy.models.wrn:wrn_16_2", "Wide ResNet, 16 layers, width 2"),
    "wrn_16_4": ("understudy.models.wrn:wrn_16_4", "Wide ResNet, 16 layers, width 4"),
    "wrn_28_10": ("understudy.models.wrn:wrn_28_10", "Wide ResNet, 28 layers, width 10"),
    "wrn_40_1": ("understudy.models.wrn:wrn_40_1", "Wide ResNet, 40 layers, width 1"),
    "wrn_40_2": ("understudy.models.wrn:wrn_40_2", "Wide ResNet, 40 layers, width 2"),
}
"""Name -> (where the constructor is, what it is in one line)."""

MIN_IMAGE_SIZE = 16
"""Pixels. The networks shrink an image eight to sixteen times; below this nothing is left to pool."""

_GIVEN = ("num_classes", "in_channels")


def build_model(
    name: str,
    num_classes: int,
    *,
    in_channels: int = 3,
    image_size: int = 32,
    stages: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> "Classifier":
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        name: a key of :data:`MODELS`, or ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``, ``package.module:callable``.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, at least 16. Our own networks pool globally and take any.
        stages: module paths of a foreign network's stages, shallow to deep; ours have their own.
        options: further keyword arguments of the constructor.

    Raises:
        UnderstudyError: for an unknown name or option, a value that does not fit, or a foreign network that cannot be built.
    """
    options = dict(options or {})
    if num_classes < 2:
        raise UnderstudyError(
            f"model {name}: {num_classes} class is nothing to choose from; at least 2 are needed"
        )
    if image_size < MIN_IMAGE_SIZE:
        raise UnderstudyError(
            f"model {name}: {image_size}-pixel images are too small; set data.image_size={MIN_IMAGE_SIZE} or more"
        )
    if name not in MODELS and (":" in name or "." in name):
        from understudy.models.foreign import build_foreign

        return build_foreign(
            name,
            num_classes,
            in_channels=in_channels,
            image_size=image_size,
            stages=stages,
            options=options,
        )
    constructor = _constructor(name)
    if stages:
        raise UnderstudyError(
            f"model {name} has its own stages: remove `stages`, which is for foreign models"
        )
    checked = _check_options(name, constructor, options)
    try:
        model: Classifier = constructor(num_classes, in_channels=in_channels, **checked)
    except ValueError as error:
        raise UnderstudyError(f"model {name}: {error}") from error
    return model


def deployed(model: "nn.Module") -> "nn.Module":
    """The network as it is shipped: a foreign model without our wrapper, one of ours as it is.

    Its ``state_dict`` has the network's own keys, so that a saved student loads with no toolkit.
    """
    from understudy.models.foreign import ForeignClassifier

    return model.model if isinstance(model, ForeignClassifier) else model


def model_options(name: str) -> dict[str, Any]:
    """The options of a network of the zoo, with their defaults.

    Raises:
        UnderstudyError: for an unknown name.
    """
    return _defaults(_constructor(name))


def describe_model(name: str, num_classes: int = 10) -> dict[str, Any]:
    """One row of ``understudy models``: name, description, parameters (nothing is allocated to count them), options, doc.

    Raises:
        UnderstudyError: for an unknown name.
    """
    import torch

    constructor = _constructor(name)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in constructor(num_classes).parameters())
    return {
        "name": name,
        "description": MODELS[name][1],
        "parameters": parameters,
        "options": _defaults(constructor),
        "doc": inspect.getdoc(constructor) or "",
    }


def describe_models() -> list[dict[str, Any]]:
    """:func:`describe_model` of every network of the zoo, at 10 classes."""
    return [describe_model(name) for name in MODELS]


def _constructor(name: str) -> Callable[..., "Classifier"]:
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(MODELS)}"
        others = "timm:NAME, torchvision:NAME, hf:NAME and package.module:callable reach others"
        raise UnderstudyError(f"unknown model {name!r}: {hint} ({others})")
    module, _, attribute = MODELS[name][0].partition(":")
    constructor: Callable[..., Classifier] = getattr(importlib.import_module(module), attribute)
    return constructor


def _defaults(constructor: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(constructor).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key not in _GIVEN}


def _check_options(
    name: str, constructor: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    known = _defaults(constructor)
    checked = {}
    for key, value in options.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            guess = f"did you mean {close[0]}? " if close else ""
            raise UnderstudyError(
                f"model {name} has no option {key!r}: {guess}known: {', '.join(known) or 'none'}"
            )
        checked[key] = _check_value(f"model {name}: option {key}", value, known[key])
    return checked


def _check_value(where: str, value: Any, default: Any) -> Any:
    """``value`` in the kind of ``default``: YAML gives lists for tuples, and ``false`` is a fair way to write "no dropout"."""
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, float):
        fits = value is False or (isinstance(value, (int, float)) and not isinstance(value, bool))
        value = float(value) if fits else value
    elif isinstance(default, tuple):
        fits = (
            isinstance(value, Sequence)
            and len(value) == len(default)
            and all(type(item) is int and item > 0 for item in value)
        )
        value = tuple(value) if fits else value
    elif isinstance(default, int):
        fits = type(value) is int and value > 0
    else:
        fits = isinstance(value, type(default))
    if not fits:
        kind = (
            f"{len(default)} positive whole numbers"
            if isinstance(default, tuple)
            else f"like {default!r}"
        )
        raise UnderstudyError(f"{where} must be {kind}, not {value!r}")
    return value
