"""Networks of other libraries by name: timm, torchvision, Hugging Face, ONNX, or any callable.

Nothing is downloaded unless ``pretrained: true`` is among the options.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, one_line, suggest
from understudy.models.base import Classifier
from understudy.models.expects import expects, record_expects
from understudy.models.factories import build_dotted
from understudy.models.foreign import ForeignClassifier, probe
from understudy.models.library_configs import hugging_face_expects, torchvision_expects
from understudy.models.onnx_network import OnnxNetwork
from understudy.models.stages import library_stages

_USUAL_SIZE = (224, 224)
"""Pixels of the images that most networks of other libraries are made for."""


def build_foreign(
    name: str,
    num_classes: int | None,
    *,
    in_channels: int = 3,
    image_size: tuple[int, int] | None = (32, 32),
    stages: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Classifier:
    """Build a network of another library, and run it once to see that it is a classifier.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME`` (a hub name or a local folder with a
            ``config.json``), ``onnx:FILE``, or ``package.module:callable`` (see
            :mod:`understudy.models.factories`); a :class:`Classifier` that a callable returns is
            not wrapped.
        num_classes: number of logits; ``None`` for the network's own number: that of its pretrained
            weights or its configuration, else the library's default.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; ``None`` for the network's own, where
            it is recorded, else 224.
        stages: module paths of the stages, shallow to deep. Those of timm are found by themselves.
        options: passed on; ``pretrained: true`` loads trained weights.

    Raises:
        UnderstudyError: if the library, the network or a stage is missing, or the network refuses
            its arguments.
    """
    model = build_module(
        name, num_classes, in_channels=in_channels, image_size=image_size, options=options
    )
    size = image_size or expects(model).size or _USUAL_SIZE
    image = ImageSpec(in_channels, *size)
    if isinstance(model, Classifier):
        if stages:
            raise UnderstudyError(
                f"model {name} has its own stages: remove `stages` ({', '.join(stages)})"
            )
        if isinstance(model, OnnxNetwork):
            probe(model, num_classes, image, f"model {name}")
        return model
    if not stages and name.startswith("timm:"):
        stages = library_stages(model, image)
    return ForeignClassifier(
        model, num_classes, name=name, in_channels=in_channels, image_size=size, stages=stages
    )


def build_module(
    name: str,
    num_classes: int | None,
    *,
    in_channels: int = 3,
    image_size: tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network alone, as its library gives it: not run, and with the library's own interface.

    What it expects of its images (:func:`~understudy.models.expects.expects`) and its class count
    can be read before they are decided on. Arguments as for :func:`build_foreign`.
    """
    options = dict(options or {})
    source, _, rest = name.partition(":")
    builders: dict[str, Callable[..., nn.Module]] = {
        "timm": _timm,
        "torchvision": _torchvision,
        "hf": _hugging_face,
    }
    if source == "onnx":
        if options:
            raise UnderstudyError(f"model {name} takes no options: remove {', '.join(options)}")
        return OnnxNetwork(Path(rest).expanduser())
    if source not in builders:
        return build_dotted(name, num_classes, in_channels, image_size, options)
    try:
        return builders[source](rest, num_classes, in_channels, options)
    except (TypeError, ValueError, RuntimeError, OSError, AssertionError, ImportError) as error:
        raise UnderstudyError(
            f"model {name} cannot be built: {one_line(error, first_line=True)}"
        ) from error


def _timm(
    name: str, num_classes: int | None, in_channels: int, options: dict[str, Any]
) -> nn.Module:
    timm = _require("timm", f"timm:{name}")
    if not timm.is_model(name.split(".")[0]):
        near = suggest(name, timm.list_models(), matches=5, most=12)
        raise UnderstudyError(f"timm has no model {name!r}: {near}")
    settings = {"pretrained": False, "in_chans": in_channels, **options}
    if num_classes is not None:
        settings["num_classes"] = num_classes
    model: nn.Module = timm.create_model(name, **settings)
    return model


def _torchvision(
    name: str, num_classes: int | None, in_channels: int, options: dict[str, Any]
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
        if num_classes is not None:
            options["num_classes"] = num_classes
        plain: nn.Module = builder(weights=None, **options)
        return plain
    weights = models.get_model_weights(name).DEFAULT
    classes = len(weights.meta["categories"])
    model: nn.Module = builder(weights=None, num_classes=classes, **options)
    model.load_state_dict(
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    )
    own = num_classes in (None, classes)
    if not own:
        _replace_head(model, name, classes, num_classes or classes)
    record_expects(model, torchvision_expects(weights, with_classes=own))
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
    name: str, num_classes: int | None, in_channels: int, options: dict[str, Any]
) -> nn.Module:
    transformers = _require("transformers", f"hf:{name}")
    pretrained = options.pop("pretrained", False)
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UnderstudyError(f"hf:{name}: the folder has no config.json")
    source = str(folder) if folder.is_dir() else name
    if num_classes is not None:
        options["num_labels"] = num_classes
    with _without_reports():
        return _build_hugging_face(transformers, source, name, in_channels, pretrained, options)


def _build_hugging_face(
    transformers: Any,
    source: str,
    name: str,
    in_channels: int,
    pretrained: bool,
    options: dict[str, Any],
) -> nn.Module:
    config = transformers.AutoConfig.from_pretrained(source, **options)
    if getattr(config, "num_channels", in_channels) != in_channels:
        if pretrained:
            raise UnderstudyError(
                f"hf:{name} was trained on {config.num_channels}-channel images, not {in_channels}"
            )
        config.num_channels = in_channels
    auto = transformers.AutoModelForImageClassification
    model: nn.Module
    if pretrained:
        model = auto.from_pretrained(
            source, config=config, ignore_mismatched_sizes=True, use_safetensors=True
        )
    else:
        model = auto.from_config(config)
    record_expects(model, hugging_face_expects(source, config, download=pretrained))
    return model


@contextlib.contextmanager
def _without_reports() -> Iterator[None]:
    """Silence the bars and tables that transformers prints while it loads; errors stay errors."""
    try:
        from transformers.utils import logging
    except ImportError:
        yield
        return
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


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
