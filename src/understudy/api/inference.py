"""Use and measure a network: any module, or the result of a training with its normalisation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.api.images import logits_of
from understudy.api.inputs import checked_module, default_config
from understudy.api.student import Student
from understudy.api.teacher import Teacher
from understudy.config.schema import DataConfig
from understudy.data.dataset import SealedSplit, Split
from understudy.errors import UnderstudyError
from understudy.evaluation import metrics
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import Normalisation, known_normalisation
from understudy.models.registry import build_model, deployed
from understudy.teachers.frozen import renormalisation
from understudy.training.device import resolve_device
from understudy.training.weights import load_weights

if TYPE_CHECKING:
    from understudy.evaluation.results import Metrics


def create_model(
    name: str,
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
            ``hf:NAME``, ``package.module:callable``.
        num_classes: number of logits, at least 2.
        in_channels: channels of the images.
        image_size: pixels, one number for square images or (height, width); at least 16.
        stages: module paths of a foreign network's stages, shallow to deep.
        weights: a safetensors file, or a state dict of ``torch.save``.
        options: of the constructor (``dropout1=0.0``); ``pretrained=True`` loads trained weights of
            a foreign network.

    Raises:
        UnderstudyError: for an unknown name or option, a value that does not fit, a network that
            cannot be built, or a file that is missing, damaged or of another network.
    """
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
    module = network.network if isinstance(network, Student) else network
    checked_module("network", module)
    order = image_order(images)
    known = _normalisation(network, mean, std, order[0] if isinstance(network, Student) else None)
    raise NotImplementedError
