"""What a network by name is made of: layers, stages, images, classes, and what it costs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import LatencySettings, count_macs, measure_latency, model_size
from understudy.models import MODELS, build_model, deployed
from understudy.models.base import Classifier
from understudy.models.checkpoints import read_checkpoint
from understudy.models.expects import Expects, expects
from understudy.models.fitting import classes_in_file
from understudy.models.foreign import ForeignClassifier
from understudy.models.modes import evaluating
from understudy.models.onnx_network import OnnxNetwork
from understudy.models.stages import propose_stages
from understudy.runs.given import recorded
from understudy.training.weights import load_weights

_CLASSES = 10
"""Of a network that has no number of its own, as ``understudy models`` lists them."""
_SIZE = 32
"""Pixels of the images of the networks of this package, unless another size is recorded."""
_FEW = 2
"""Modules at the top of which the inner ones are listed instead."""

StagesFrom = Literal["its own", "timm", "proposed", "none"]


@dataclass(frozen=True)
class Layer:
    """A module at the top of a network.

    Attributes:
        name: its path.
        kind: its class.
        output: shape of its output for one image, without the batch; empty if it is no tensor.
        parameters: number of trained elements.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Anatomy:
    """A network, looked at.

    Attributes:
        name: as given.
        weights: what was unwrapped to load the file; empty without a file.
        layers: the modules at its top, in their order.
        stages: modules to name for feature-based methods; of a network of this package its maps.
        stages_from: how they are known: its own, by timm, or proposed by one run.
        image: (channels, height, width) of the images that it was run on.
        expects: what it records about its images and classes.
        num_classes: number of logits.
        parameters: number of trained elements.
        macs: multiply-accumulates of one image; ``None`` for an ONNX file.
        latency_ms: median time of one image on one thread of this machine.
    """

    name: str
    weights: str
    layers: tuple[Layer, ...]
    stages: tuple[str, ...]
    stages_from: StagesFrom
    image: tuple[int, int, int]
    expects: Expects
    num_classes: int
    parameters: int
    macs: int | None
    latency_ms: float


def look_at_network(
    name: str,
    *,
    weights: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
) -> Anatomy:
    """Build a network, load its weights, run it, and time it.

    Args:
        name: as for :func:`understudy.models.build_model`.
        weights: a file for it.
        num_classes: by default the file's, or else its own number.
        image_size: pixels of a side; by default what the file or the network records.
        channels: of the images.

    Raises:
        UnderstudyError: if it cannot be built, the file does not fit, or it does not run.
    """
    known = Expects() if weights is None else recorded(weights)
    size = (image_size, image_size) if image_size is not None else known.size
    count = num_classes or len(known.class_names) or None
    network = _build(name, count, size, channels)
    line = ""
    if weights is not None and not _is_its_file(network, weights):
        if num_classes is None:
            found = classes_in_file(read_checkpoint(weights), deployed(network))
            network = _build(name, found, size, channels) if found else network
        line = load_weights(weights, deployed(network))
    own = expects(network, channels)
    image = _image(network, size or own.size, channels)
    bare = deployed(network)
    stages, stages_from = _stages(network, image)
    is_file = isinstance(network, OnnxNetwork)
    layers, logits = _layers(bare, image)
    settings = LatencySettings(batch_sizes=(1,), threads=1)
    timed = measure_latency({name: bare}, image.shape, settings)[name]["1"]
    return Anatomy(
        name=name,
        weights=line,
        layers=layers,
        stages=stages,
        stages_from=stages_from,
        image=image.shape,
        expects=_joined(known, own),
        num_classes=logits,
        parameters=model_size(bare).parameters,
        macs=None if is_file else count_macs(bare, image.shape),
        latency_ms=timed.median_ms,
    )


def _build(
    name: str, num_classes: int | None, size: tuple[int, int] | None, channels: int
) -> Classifier:
    if name in MODELS:
        num_classes, size = num_classes or _CLASSES, size or (_SIZE, _SIZE)
    with torch.random.fork_rng(devices=[]):
        try:
            return build_model(name, num_classes, in_channels=channels, image_size=size).eval()
        except UnderstudyError as error:
            is_missing = num_classes is None and "missing" in str(error)
            hint = "; if that is the number of classes, give --classes" if is_missing else ""
            raise UnderstudyError(f"{error}{hint}") from error


def _is_its_file(network: Classifier, weights: Path) -> bool:
    return isinstance(network, OnnxNetwork) and network.is_file(weights)


def _image(network: Classifier, size: tuple[int, int] | None, channels: int) -> ImageSpec:
    if isinstance(network, ForeignClassifier):
        return network.image
    return ImageSpec(channels, *(size or (_SIZE, _SIZE)))


def _joined(file: Expects, own: Expects) -> Expects:
    """What the file records, else what the network does."""
    return file if file.normalisation is not None else own


def _stages(network: Classifier, image: ImageSpec) -> tuple[tuple[str, ...], StagesFrom]:
    if not isinstance(network, ForeignClassifier):
        maps = tuple(f"{channels} channels" for channels in network.feature_channels)
        return maps, "its own" if maps else "none"
    if network.stages:
        return network.stages, "timm"
    found = propose_stages(network.model, image)
    return found, "proposed" if found else "none"


def _top(network: nn.Module) -> dict[str, nn.Module]:
    """The modules at the top by their paths; a list of modules stands for its members."""
    modules = dict(network.named_children())
    while modules:
        few = len(modules) <= _FEW
        opened = [path for path, module in modules.items() if few or _is_list(module)]
        if not any(list(modules[path].children()) for path in opened):
            break
        found: dict[str, nn.Module] = {}
        for path, module in modules.items():
            inner = list(module.named_children()) if path in opened else []
            found |= {f"{path}.{name}": child for name, child in inner} or {path: module}
        modules = found
    return modules


def _is_list(module: nn.Module) -> bool:
    """Whether it only holds others, without a ``forward`` of its own."""
    return isinstance(module, nn.ModuleList | nn.ModuleDict)


def _layers(network: nn.Module, image: ImageSpec) -> tuple[tuple[Layer, ...], int]:
    """The modules at the top, and how many logits one run gives."""
    modules = _top(network)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str, output: Any) -> None:
        output = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(output, Tensor):
            shapes[path] = tuple(output.shape[1:])

    handles = [
        module.register_forward_hook(lambda _, __, output, path=path: note(path, output))
        for path, module in modules.items()
    ]
    parameter = next(network.parameters(), torch.empty(0))
    try:
        with evaluating(network), torch.no_grad():
            result = network(torch.zeros(1, *image.shape).to(parameter))
    finally:
        for handle in handles:
            handle.remove()
    logits = getattr(result, "logits", result)
    layers = tuple(
        Layer(path, type(module).__name__, shapes.get(path, ()), model_size(module).parameters)
        for path, module in modules.items()
    )
    return layers, int(logits.shape[1])
