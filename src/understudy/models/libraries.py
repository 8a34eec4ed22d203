"""Networks of other libraries by name: timm, torchvision, Hugging Face, or any callable.

Nothing is downloaded unless ``pretrained: true`` is among the options.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from understudy.errors import UnderstudyError, one_line, suggest
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import Normalisation, record_normalisation


def build_foreign(
    name: str,
    num_classes: int,
    *,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
    stages: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Classifier:
    """Build a network of another library.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME`` (a hub name or a local folder with a
            ``config.json``), or ``package.module:callable``. The callable is given ``num_classes``,
            and ``in_channels`` and ``image_size`` (an int for square images, else height and width)
            if its signature names them; a :class:`Classifier` that it returns is not wrapped.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, for probing the stages.
        stages: module paths of the stages, shallow to deep.
        options: passed on; ``pretrained: true`` loads trained weights.

    Raises:
        UnderstudyError: if the library, the network or a stage is missing, or the network refuses
            its arguments.
    """
    model = build_bare(name, num_classes, in_channels, image_size, options)
    if isinstance(model, Classifier):
        if stages:
            raise UnderstudyError(
                f"model {name} has its own stages: remove `stages` ({', '.join(stages)})"
            )
        return model
    return ForeignClassifier(
        model, num_classes, name=name, in_channels=in_channels, image_size=image_size, stages=stages
    )


def build_bare(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network as its library has it, run on no image; arguments and errors as for
    :func:`build_foreign`."""
    options = dict(options or {})
    source, _, rest = name.partition(":")
    builders: dict[str, Callable[..., nn.Module]] = {
        "timm": _timm,
        "torchvision": _torchvision,
        "hf": _hugging_face,
    }
    try:
        if source in builders:
            model = builders[source](rest, num_classes, in_channels, options)
        else:
            model = _dotted(name, num_classes, in_channels, image_size, options)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise UnderstudyError(
            f"model {name} cannot be built: {one_line(error, first_line=True)}"
        ) from error
    return model


def _timm(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    timm = _require("timm", f"timm:{name}")
    if not timm.is_model(name.split(".")[0]):
        near = suggest(name, timm.list_models(), matches=5, most=12)
        raise UnderstudyError(f"timm has no model {name!r}: {near}")
    model: nn.Module = timm.create_model(
        name, **{"pretrained": False, **options}, num_classes=num_classes, in_chans=in_channels
    )
    return model


def _torchvision(
    name: str, num_classes: int, in_channels: int, options: dict[str, Any]
) -> nn.Module:
    models = _require("torchvision", f"torchvision:{name}").models
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        near = suggest(name, classifiers, matches=5, most=12)
        raise UnderstudyError(f"torchvision has no classifier {name!r}: {near}")
    if in_channels != 3:
        raise UnderstudyError(
            f"torchvision:{name} takes 3-channel images, not {in_channels}: "
            "use a network of `understudy models` or of timm"
        )
    pretrained = options.pop("pretrained", False)
    builder = models.get_model_builder(name)
    if name in ("inception_v3", "googlenet"):
        # By default these two add heads that give further logits in training, and warn about their
        # initialisation.
        options = {"init_weights": True, "aux_logits": False, **options}
    if not pretrained:
        plain: nn.Module = builder(weights=None, num_classes=num_classes, **options)
        return plain
    weights = models.get_model_weights(name).DEFAULT
    classes = len(weights.meta["categories"])
    model: nn.Module = builder(weights=None, num_classes=classes, **options)
    model.load_state_dict(
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    )
    if classes != num_classes:
        _replace_head(model, name, classes, num_classes)
    shown = weights.transforms()
    if hasattr(shown, "mean") and hasattr(shown, "std"):
        record_normalisation(model, Normalisation(tuple(shown.mean), tuple(shown.std)))
    return model


def _replace_head(model: nn.Module, name: str, classes: int, num_classes: int) -> None:
    """Put a fresh linear layer for ``num_classes`` in the place of the last one for ``classes``."""
    heads = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not heads:
        raise UnderstudyError(
            f"torchvision:{name} has no linear head to replace: "
            f"its weights are for {classes} classes only"
        )
    old = model.get_submodule(heads[-1])
    assert isinstance(old, nn.Linear)
    parent, _, leaf = heads[-1].rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Linear(old.in_features, num_classes))


def _hugging_face(
    name: str, num_classes: int, in_channels: int, options: dict[str, Any]
) -> nn.Module:
    transformers = _require("transformers", f"hf:{name}")
    pretrained = options.pop("pretrained", False)
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UnderstudyError(f"hf:{name}: the folder has no config.json")
    source = str(folder) if folder.is_dir() else name
    config = transformers.AutoConfig.from_pretrained(source, num_labels=num_classes, **options)
    if getattr(config, "num_channels", in_channels) != in_channels:
        if pretrained:
            raise UnderstudyError(
                f"hf:{name} was trained on {config.num_channels}-channel images, not {in_channels}"
            )
        config.num_channels = in_channels
    auto = transformers.AutoModelForImageClassification
    if pretrained:
        trained: nn.Module = auto.from_pretrained(
            source, config=config, ignore_mismatched_sizes=True, use_safetensors=True
        )
        return trained
    fresh: nn.Module = auto.from_config(config)
    return fresh


def _dotted(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    options: dict[str, Any],
) -> nn.Module:
    module_name, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnderstudyError(
            f"model {name}: there is no module {error.name!r} to import"
        ) from error
    constructor = getattr(module, attribute, None)
    if not callable(constructor):
        callables = [key for key, value in vars(module).items() if callable(value)]
        near = suggest(attribute, callables, matches=5, most=12)
        raise UnderstudyError(f"model {name}: {module_name} has no callable {attribute!r}: {near}")
    height, width = image_size
    known = {
        "in_channels": in_channels,
        "image_size": height if height == width else (height, width),
    }
    accepted = inspect.signature(constructor).parameters
    given = {key: value for key, value in known.items() if key in accepted}
    model = constructor(num_classes=num_classes, **given, **options)
    if not isinstance(model, nn.Module):
        raise UnderstudyError(f"model {name} gives {type(model).__name__}, not a torch module")
    return model


_EXTRAS = {"timm": "timm", "torchvision": "torchvision", "transformers": "hf"}


def _require(library: str, name: str) -> Any:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise UnderstudyError(
            f"model {name} needs {library}: pip install 'understudy[{_EXTRAS[library]}]'"
        ) from error
