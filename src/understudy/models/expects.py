"""What a trained network expects of its images, and what its outputs are called.

A teacher that sees pixels of another size or scale than it was trained on teaches less than it
knows, and nothing fails. So whatever a network records about its training is read here, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from understudy.config.images import Interpolation
from understudy.models.normalisation import (
    Normalisation,
    Source,
    bare,
    known_normalisation,
    pretrained_config,
    record_normalisation,
)

FILTERS: dict[str, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic"}
"""Filters that this package has, by the names that other libraries give them."""

_ATTRIBUTE = "understudy_expects"
_LISTED = {1000: "imagenet-1k", 11821: "imagenet-12k", 21841: "imagenet-22k"}
"""Class count -> name of the subset of ImageNet in timm's tables."""


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
        aliases: further names of each class (its WordNet number, synonyms); empty, or one tuple for
            each of ``class_names``.
    """

    size: tuple[int, int] | None = None
    interpolation: Interpolation | None = None
    crop: float | None = None
    normalisation: Normalisation | None = None
    source: Source | None = None
    class_names: tuple[str, ...] = ()
    aliases: tuple[tuple[str, ...], ...] = ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """Each class with its further names, as a list of synonyms: ``tench, n01440764``."""
        if not self.aliases:
            return self.class_names
        pairs = zip(self.class_names, self.aliases, strict=True)
        return tuple(", ".join((name, *others)) for name, others in pairs)


def expects(network: nn.Module, channels: int | None = None) -> Expects:
    """What a network records.

    Args:
        network: any network: one of timm has a ``pretrained_cfg``; one that was trained, loaded, or
            built with its trained weights by :mod:`understudy` a note.
        channels: of the images: a normalisation for another number does not count.
    """
    noted = getattr(bare(network), _ATTRIBUTE, None)
    normalisation, source = known_normalisation(network, channels)
    found = noted if isinstance(noted, Expects) else _of_timm(network)
    return Expects(
        size=found.size,
        interpolation=found.interpolation,
        crop=found.crop,
        normalisation=normalisation,
        source=source,
        class_names=found.class_names,
        aliases=found.aliases,
    )


def record_expects(network: nn.Module, found: Expects) -> None:
    """Note on a network what came with its weights; a copy of the network has the note, too."""
    setattr(bare(network), _ATTRIBUTE, found)
    if found.normalisation is not None:
        record_normalisation(network, found.normalisation, found.source or "weights")


def named(descriptions: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """A name for each class, and the others, from lists of synonyms (``tench, Tinca tinca``).

    The name is the first synonym. Where several classes share it, it is the whole list.

    Returns:
        (names, further names of each).
    """
    synonyms = [tuple(part.strip() for part in text.split(",")) for text in descriptions]
    firsts = [parts[0] for parts in synonyms]
    names = tuple(
        text if firsts.count(first) > 1 else first
        for text, first in zip(descriptions, firsts, strict=True)
    )
    aliases = tuple(
        tuple(part for part in parts if part != name)
        for parts, name in zip(synonyms, names, strict=True)
    )
    return names, aliases if any(aliases) else ()


def _of_timm(network: nn.Module) -> Expects:
    """From a ``pretrained_cfg``: size, filter, crop and classes."""
    config = pretrained_config(network)
    size = config.get("input_size")
    crop = config.get("crop_pct")
    names, aliases = _timm_classes(network, config)
    return Expects(
        size=None if size is None else (int(size[1]), int(size[2])),
        interpolation=FILTERS.get(str(config.get("interpolation"))),
        crop=None if crop is None else float(crop),
        class_names=names,
        aliases=aliases,
    )


def _timm_classes(
    network: nn.Module, config: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names and aliases; none if the network has another head than the one that they are for."""
    count = getattr(bare(network), "num_classes", None)
    labels = config.get("label_names")
    if labels:
        names = tuple(map(str, labels))
        if count is not None and len(names) != count:
            return (), ()
        texts = config.get("label_descriptions") or {}
        aliases = tuple((str(texts[name]),) if name in texts else () for name in names)
        return names, aliases if any(aliases) else ()
    if count != config.get("num_classes") or count not in _LISTED:
        return (), ()
    from timm.data import ImageNetInfo

    info = ImageNetInfo(_LISTED[count])
    names, synonyms = named(list(info.label_descriptions()))
    numbers = info.label_names()
    return names, tuple((number, *others) for number, others in zip(numbers, synonyms, strict=True))


def input_channels(network: nn.Module) -> int | None:
    """What the first convolution or the ONNX file takes, 1 for grey and 3 for RGB; ``None`` if
    neither shows it."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    count = getattr(next(convolutions, network), "in_channels", None)
    return count if isinstance(count, int) else None
