"""Networks that are not ours: timm, torchvision, Hugging Face, or any callable, behind the :class:`Classifier` interface.

Nothing is downloaded unless ``pretrained: true`` is among the options.
"""

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.models.base import Classifier, Outputs


def build_foreign(
    name: str,
    num_classes: int,
    *,
    in_channels: int = 3,
    image_size: int = 32,
    stages: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Classifier:
    """Build a network of another library.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME`` (a hub name or a local folder with a ``config.json``), or
            ``package.module:callable``. The callable is given ``num_classes``, and ``in_channels`` and ``image_size`` if it
            names them; a :class:`Classifier` that it returns is used as it is.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, for probing the stages.
        stages: module paths of the stages, shallow to deep.
        options: passed on; ``pretrained: true`` asks for trained weights.

    Raises:
        UnderstudyError: if the library, the network or a stage is missing, or the network refuses its arguments.
    """
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
        raise UnderstudyError(f"model {name} cannot be built: {_first_line(error)}") from error
    if isinstance(model, Classifier):
        if stages:
            raise UnderstudyError(
                f"model {name} has its own stages: remove `stages` ({', '.join(stages)})"
            )
        return model
    return ForeignClassifier(
        model, num_classes, name=name, in_channels=in_channels, image_size=image_size, stages=stages
    )


class ForeignClassifier(Classifier):
    """Another library's network, its logits unpacked and its stages read by hooks.

    The network is run once, in evaluation mode, on a random image, to check its logits and to learn its stages' channels.
    Stage maps are ``[B, C, H, W]``; the tokens ``[B, N, C]`` of a transformer are laid out as the largest square map that
    they fill, without the class and register tokens before it. The embedding is the global average of the last stage. Where
    the network's own linear head turns that embedding into its logits, ``classify`` uses it; the probe checks that it does.

    The wrapped network is :attr:`model`, whose ``state_dict`` has the network's own keys: save and load that
    (:func:`understudy.models.deployed`), and the file opens in the network's own library.

    Args:
        model: the network, ``[B, C, H, W]`` to logits ``[B, K]`` or to an object with ``.logits``.
        num_classes: number of logits.
        name: what to call it in messages.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels.
        stages: module paths inside ``model``, shallow to deep; none gives neither stage maps nor embedding.

    Raises:
        UnderstudyError: if a stage does not exist or gives no map, or the network does not give ``num_classes`` logits.
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        name: str,
        in_channels: int = 3,
        image_size: int = 32,
        stages: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.model = model
        self.stages = tuple(stages)
        self.feature_channels = ()
        self.embedding_dim = 0
        self.head: str | None = None
        modules = dict(model.named_modules())
        self._captures = []
        for stage in self.stages:
            if stage not in modules or not stage:
                raise UnderstudyError(
                    f"model {name} has no stage {stage!r}: {_near(stage, [path for path in modules if path])}"
                )
            capture = _Capture(stage)
            modules[stage].register_forward_hook(capture)
            self._captures.append(capture)
        self._probe(num_classes, in_channels, image_size)

    def forward(self, images: Tensor) -> Tensor:
        return self._logits(images)

    def outputs(self, images: Tensor) -> Outputs:
        for capture in self._captures:
            capture.active, capture.output = True, None
        try:
            logits = self._logits(images)
            features = tuple(
                _as_map(capture.output, capture.stage, self.name) for capture in self._captures
            )
        finally:
            for capture in self._captures:
                capture.active, capture.output = False, None
        return Outputs(logits, features, features[-1].mean((2, 3)) if features else None)

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of pooled features.

        Raises:
            UnderstudyError: if no stages are given, or the last one does not feed the network's linear head directly.
        """
        if not self.stages:
            raise UnderstudyError(
                f"the classifier of model {self.name} cannot be used by itself: give the model's `stages`"
            )
        if self.head is None:
            raise UnderstudyError(
                f"the classifier of model {self.name} cannot be used by itself: its stage {self.stages[-1]!r} does not feed "
                "a linear layer by global average pooling; name the module before the pooling as the last stage"
            )
        logits: Tensor = self.model.get_submodule(self.head)(embedding)
        return logits

    def _logits(self, images: Tensor) -> Tensor:
        result = self.model(images)
        logits = getattr(result, "logits", result)
        if not isinstance(logits, Tensor):
            raise UnderstudyError(
                f"model {self.name} gives {type(logits).__name__}, not a tensor of logits"
            )
        return logits

    def _probe(self, num_classes: int, in_channels: int, image_size: int) -> None:
        parameter = next(self.model.parameters(), torch.empty(0))
        # A generator of its own: probing must not move the random numbers that the weights of later models come from.
        images = torch.rand(
            2, in_channels, image_size, image_size, generator=torch.Generator().manual_seed(0)
        ).to(parameter)
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                outputs = self.outputs(images)
        except (RuntimeError, ValueError, AssertionError) as error:
            shape = f"{in_channels}x{image_size}x{image_size}"
            raise UnderstudyError(
                f"model {self.name} does not run on {shape} images: {_first_line(error)}"
            ) from error
        finally:
            for module, mode in modes.items():
                module.training = mode
        if outputs.logits.shape != (2, num_classes):
            found = list(outputs.logits.shape)
            raise UnderstudyError(
                f"model {self.name} gives logits of shape {found} for 2 images of {num_classes} classes"
            )
        self.feature_channels = tuple(feature.shape[1] for feature in outputs.features)
        self.embedding_dim = self.feature_channels[-1] if self.feature_channels else 0
        if outputs.embedding is not None and not parameter.is_meta:
            self.head = self._find_head(outputs.embedding, outputs.logits)

    def _find_head(self, embedding: Tensor, logits: Tensor) -> str | None:
        fits = (embedding.shape[1], logits.shape[1])
        for path, module in self.model.named_modules():
            if isinstance(module, nn.Linear) and (module.in_features, module.out_features) == fits:
                with torch.no_grad():
                    if torch.allclose(module(embedding), logits, rtol=1e-4, atol=1e-5):
                        return path
        return None


class _Capture:
    """A forward hook that keeps one module's output while :meth:`ForeignClassifier.outputs` runs.

    An object rather than a closure, so that a deep copy of the model (an average of weights, say) has hooks of its own.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.active = False
        self.output: Any = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.active:
            self.output = output


def _as_map(output: Any, stage: str, name: str) -> Tensor:
    output = output[0] if isinstance(output, (tuple, list)) and output else output
    if isinstance(output, Tensor) and output.ndim == 4:
        return output
    if isinstance(output, Tensor) and output.ndim == 3:
        side = math.isqrt(output.shape[1])
        return output[:, output.shape[1] - side * side :].transpose(1, 2).unflatten(2, (side, side))
    found = f"shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    if output is None:
        found = "nothing: it does not run"
    raise UnderstudyError(
        f"stage {stage!r} of model {name} must give a map [B, C, H, W] or tokens [B, N, C], but gives {found}"
    )


def _timm(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    timm = _require("timm", f"timm:{name}")
    if not timm.is_model(name.split(".")[0]):
        raise UnderstudyError(f"timm has no model {name!r}: {_near(name, timm.list_models())}")
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
        raise UnderstudyError(f"torchvision has no classifier {name!r}: {_near(name, classifiers)}")
    if in_channels != 3:
        raise UnderstudyError(
            f"torchvision:{name} takes 3-channel images, not {in_channels}: take a network of ours or of timm"
        )
    pretrained = options.pop("pretrained", False)
    builder = models.get_model_builder(name)
    if name in ("inception_v3", "googlenet"):
        # By default these two add heads that give further logits in training, and warn about their initialisation.
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
        heads = [
            path
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == classes
        ]
        if not heads:
            raise UnderstudyError(
                f"torchvision:{name} has no linear head to replace: its weights know {classes} classes only"
            )
        old = model.get_submodule(heads[-1])
        assert isinstance(old, nn.Linear)
        parent, _, leaf = heads[-1].rpartition(".")
        setattr(model.get_submodule(parent), leaf, nn.Linear(old.in_features, num_classes))
    return model


def _hugging_face(
    name: str, num_classes: int, in_channels: int, options: dict[str, Any]
) -> nn.Module:
    transformers = _require("transformers", f"hf:{name}")
    pretrained = options.pop("pretrained", False)
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UnderstudyError(f"hf:{name}: the folder has no config.json")
    where = str(folder) if folder.is_dir() else name
    config = transformers.AutoConfig.from_pretrained(where, num_labels=num_classes, **options)
    if getattr(config, "num_channels", in_channels) != in_channels:
        if pretrained:
            raise UnderstudyError(
                f"hf:{name} was trained on {config.num_channels}-channel images, not {in_channels}"
            )
        config.num_channels = in_channels
    auto = transformers.AutoModelForImageClassification
    if pretrained:
        trained: nn.Module = auto.from_pretrained(
            where, config=config, ignore_mismatched_sizes=True, use_safetensors=True
        )
        return trained
    fresh: nn.Module = auto.from_config(config)
    return fresh


def _dotted(
    name: str, num_classes: int, in_channels: int, image_size: int, options: dict[str, Any]
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
        raise UnderstudyError(
            f"model {name}: {module_name} has no callable {attribute!r}: {_near(attribute, callables)}"
        )
    named = inspect.signature(constructor).parameters
    given = {
        key: value
        for key, value in (("in_channels", in_channels), ("image_size", image_size))
        if key in named
    }
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


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=5)
    if close:
        return f"near it are {', '.join(close)}"
    return (
        f"there are {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"
        if known
        else "there are none"
    )


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
