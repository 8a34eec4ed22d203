"""What a trained network expects of its images, and what its outputs are called.

A teacher that sees pixels of another size or scale than it was trained on teaches less than it
knows, and nothing fails. So whatever a network records about its training is read here, once.
"""

from dataclasses import dataclass

from torch import nn

from understudy.config.images import Interpolation
from understudy.models.normalisation import (
    Normalisation,
    Source,
    known_normalisation,
    pretrained_config,
)


@dataclass(frozen=True)
class Expects:
    """What a network records about the images and classes that it was trained on.

    Attributes:
        size: (height, width) in pixels; ``None`` if it is not recorded.
        interpolation: filter of the resizing; ``None`` if it is not recorded, or none of ours.
        crop: share of the sides that its own evaluation cuts out of the centre, in (0, 1]; ``None``
            if it is not recorded.
        normalisation: of its images; ``None`` if it is not recorded.
        source: where the normalisation comes from; ``None`` if it is not recorded.
        class_names: of its outputs, in their order; empty if they are not recorded.
    """

    size: tuple[int, int] | None = None
    interpolation: Interpolation | None = None
    crop: float | None = None
    normalisation: Normalisation | None = None
    source: Source | None = None
    class_names: tuple[str, ...] = ()


def expects(network: nn.Module, channels: int | None = None) -> Expects:
    """What a network records.

    Args:
        network: any network: one of timm has a ``pretrained_cfg``, one that was trained or loaded
            by :mod:`understudy` a note.
        channels: of the images: a normalisation for another number does not count.
    """
    normalisation, source = known_normalisation(network, channels)
    config = pretrained_config(network)
    size = config.get("input_size")
    crop = config.get("crop_pct")
    filters: dict[str, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic"}
    return Expects(
        size=None if size is None else (int(size[1]), int(size[2])),
        interpolation=filters.get(str(config.get("interpolation"))),
        crop=None if crop is None else float(crop),
        normalisation=normalisation,
        source=source,
        class_names=tuple(config.get("label_names") or ()),
    )


def input_channels(network: nn.Module) -> int | None:
    """What the first convolution takes, 1 for grey and 3 for RGB; ``None`` if there is none."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    first = next(convolutions, None)
    return first.in_channels if first is not None else None
