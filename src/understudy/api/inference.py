"""Use and measure a network: any module, or the result of a training with its normalisation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.api.images import logits_of, spec_of
from understudy.api.inputs import checked_module, default_config, image_channels
from understudy.api.measured import split_of
from understudy.api.student import Student
from understudy.api.teacher import Teacher
from understudy.config.schema import DataConfig
from understudy.data.dataset import Split
from understudy.errors import UnderstudyError, one_line
from understudy.evaluation.metrics import evaluate as measure
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier
from understudy.models.modes import evaluating
from understudy.models.normalisation import Normalisation, known_normalisation
from understudy.models.registry import build_model, deployed
from understudy.teachers.frozen import renormalisation
from understudy.training.device import resolve_device
from understudy.training.weights import load_weights

if TYPE_CHECKING:
    from understudy.evaluation.results import Metrics


def create_model(
    name: str | nn.Module,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    *,
    stages: Sequence[str] = (),
    weights: str | Path | None = None,
    **options: Any,
) -> Classifier:
    """Build a network by name, with fresh weights or those of a file.

    Args:
        name: one of :func:`understudy.list_models`, or ``timm:NAME``, ``torchvision:NAME``,
            ``hf:NAME``, ``package.module:callable``; or a module of your own, which shows the maps
            of ``stages`` to methods that compare them (its weights are shared).
        num_classes: number of logits, at least 2.
        in_channels: channels of the images.
        image_size: pixels, one number for square images or (height, width); at least 16.
        stages: module paths of a foreign network's stages, shallow to deep.
        weights: a file of trained weights, of whatever training code; none of its code is run.
        options: of the constructor (``dropout1=0.0``); ``pretrained=True`` loads trained weights of
            a foreign network.

    Raises:
        UnderstudyError: for an unknown name or option, a value that does not fit, a network that
            cannot be built, or a file that is missing, damaged or of another network.
    """
    model: Classifier
    if isinstance(name, nn.Module):
        model = _staged(name, num_classes, in_channels, image_size, tuple(stages), options)
    else:
        model = build_model(
            name,
            num_classes,
            in_channels=in_channels,
            image_size=image_size,
            stages=tuple(stages),
            options=options,
        )
    if weights is not None:
        load_weights(Path(weights), deployed(model))
    return model


def _staged(
    network: nn.Module,
    num_classes: int,
    in_channels: int,
    image_size: int | tuple[int, int],
    stages: tuple[str, ...],
    options: Mapping[str, Any],
) -> Classifier:
    """A module that is built already, with stages."""
    module = checked_module("network", network)
    kind = type(module).__name__
    if options:
        raise UnderstudyError(f"{kind} is built already: remove {', '.join(options)}")
    if isinstance(module, Classifier):
        if not isinstance(module, ForeignClassifier):
            raise UnderstudyError(f"{kind} has its own stages: use it as it is")
        module = module.model
    return ForeignClassifier(
        module,
        num_classes,
        name=kind,
        in_channels=in_channels,
        image_size=image_size,
        stages=stages,
    )


def predict(
    network: Student | nn.Module,
    images: Split | Tensor | np.ndarray,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    probabilities: bool = False,
    device: str = "cpu",
    batch_size: int = 512,
) -> Tensor:
    """Classes of images, as :meth:`understudy.Student.predict`, by any network.

    Args:
        network: the result of a training, or a module.
        images: a split, or ``[N, C, H, W]`` or ``[N, H, W, C]``: uint8 in 0..255, floats in [0, 1].
        mean, std: normalisation of the [0, 1] images, one number per channel. By default what the
            network was trained with, if that is known.
        probabilities: return each class's probability instead.
        device: where to run: ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: images in a forward pass.

    Returns:
        int64 ``[N]``, the class of each image; with ``probabilities`` fp32 ``[N, K]``. On the CPU.

    Raises:
        UnderstudyError: for images that do not fit, or a normalisation that is not known.
    """
    if isinstance(network, Student):
        student = network
        if mean is not None or std is not None:
            own = _normalisation(network.network, mean, std)
            assert own is not None
            student = replace(network, mean=own.mean, std=own.std)
        return student.predict(
            images, probabilities=probabilities, device=device, batch_size=batch_size
        )
    module = checked_module("network", network)
    normalisation = _normalisation(module, mean, std)
    if normalisation is None:
        raise UnderstudyError(
            f"the normalisation of {type(module).__name__} is not known: give predict its mean and "
            "std, one number per channel"
        )
    logits = logits_of(
        module,
        images,
        normalisation,
        spec_of(images, len(normalisation.mean)),
        device=device,
        batch_size=batch_size,
    )
    return logits.softmax(1) if probabilities else logits.argmax(1)


def evaluate(
    network: Student | nn.Module,
    data: Any,
    config: DataConfig | None = None,
    *,
    teacher: Student | Teacher | nn.Module | None = None,
    device: str = "cpu",
    **options: Any,
) -> "Metrics":
    """Measure a network on labelled images; a test split is opened for it.

    Args:
        network: the result of a training, or a module, normalised images to logits.
        data: a split such as ``data.test``, or data as for :meth:`understudy.Student.evaluate`.
            Evaluate on test images once, when nothing is chosen any more.
        config: normalisation of the network's images. By default what the network was trained
            with if that is known, else mean 0.5 and std 0.25, as :func:`understudy.train` uses.
        teacher: to compare with; fed images in its own normalisation if that is known, else in the
            network's.
        device: where to run: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        options: fields of :class:`~understudy.data.in_memory.DataOptions`, such as ``image_size``;
            by default images are brought to the size that the result of a training has.

    Raises:
        UnderstudyError: for data that cannot be read, a network of another type, images that the
            network does not take, or labels that it does not know.
    """
    module, own = _with_normalisation("network", network)
    names: tuple[str, ...] = ()
    if isinstance(network, Student):
        rule = {"image_size": network.image.size, "resize": network.preprocessing.resize}
        options, names = rule | options, network.class_names
    channels = image_channels(module) if own is None else len(own.mean)
    opened = split_of(data, options, channels, names)
    if config is None:
        config = default_config(opened.images.shape[1])
        config = config if own is None else replace(config, mean=own.mean, std=own.std)
    _check_classes(module, opened)
    place = resolve_device(str(device))
    compared = None
    if teacher is not None:
        compared, known = _with_normalisation("teacher", teacher)
        _check_classes(compared, opened)
        if known is not None:
            change = renormalisation(config.mean, config.std, known.mean, known.std, place)
            compared = compared if change is None else _Renormalised(compared, *change)
    return measure(module, opened, config, teacher=compared, device=str(place))


class _Renormalised(nn.Module):
    """A network that is fed images in another normalisation than its own."""

    def __init__(self, network: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.network(torch.addcmul(self.shift, images, self.scale))
        return result


def _with_normalisation(
    role: str, network: Student | Teacher | nn.Module
) -> tuple[nn.Module, Normalisation | None]:
    if isinstance(network, Student):
        return network.network, Normalisation(network.mean, network.std)
    if isinstance(network, Teacher):
        module = checked_module(role, network.network)
        return module, _normalisation(module, network.mean, network.std)
    module = checked_module(role, network)
    return module, _normalisation(module, None, None)


def _normalisation(
    module: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Normalisation | None:
    """The given one, or what is known of the module."""
    if (mean is None) != (std is None):
        raise UnderstudyError("mean and std must be given together")
    if mean is not None and std is not None:
        return Normalisation(tuple(mean), tuple(std))
    return known_normalisation(module)[0]


def _check_classes(module: nn.Module, split: Split) -> None:
    """Refuse a network that does not take the images, or has fewer classes than the labels."""
    _, channels, height, width = split.images.shape
    parameter = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, channels, height, width).to(parameter)
    name = type(module).__name__
    try:
        with evaluating(module), torch.no_grad():
            result = module(image)
    except Exception as error:  # of the user's own code
        shape, reason = f"{channels}x{height}x{width}", one_line(error, first_line=True)
        raise UnderstudyError(f"{name} does not run on {shape} images: {reason}") from error
    logits = getattr(result, "logits", result)
    highest = int(split.labels.max())
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise UnderstudyError(f"{name} does not give logits [N, K]")
    if logits.shape[1] <= highest:
        raise UnderstudyError(
            f"{name} gives {logits.shape[1]} logits, but the labels go up to {highest}: "
            "it is a network for other classes"
        )
