"""Which mean and standard deviation a network was trained with, if that is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from understudy.errors import UnderstudyError
from understudy.models.base import Classifier

Source = Literal["given", "recorded", "pretrained_cfg", "weights", "assumed"]
"""Where a normalisation comes from: the caller; the training in this package; timm's
``pretrained_cfg``; what torchvision, Hugging Face or an ONNX file have with the weights; or
nowhere, so that the normalisation of the data is used."""

_ATTRIBUTE = "understudy_normalisation"
_SOURCE = "understudy_normalisation_source"


@dataclass(frozen=True)
class Normalisation:
    """Images in [0, 1] become ``(x - mean) / std``.

    Attributes:
        mean, std: one number per channel; std above 0.

    Raises:
        UnderstudyError: if the lengths differ, or a std is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if len(self.mean) != len(self.std):
            raise UnderstudyError(
                f"mean has {len(self.mean)} values and std {len(self.std)}: give one per channel"
            )
        if not all(value > 0 for value in self.std):
            raise UnderstudyError(f"std must be above 0 in every channel, not {self.std}")


def record_normalisation(
    network: nn.Module, normalisation: Normalisation, source: Source = "recorded"
) -> None:
    """Note on a network what it was trained with; a copy of the network has the note, too."""
    for module in {network, bare(network)}:
        setattr(module, _ATTRIBUTE, normalisation)
        setattr(module, _SOURCE, source)


def known_normalisation(
    network: nn.Module, channels: int | None = None
) -> tuple[Normalisation, Source] | tuple[None, None]:
    """What a network was trained with and how that is known; ``None`` twice if it is not.

    Args:
        network: any network. One that was trained or loaded with :mod:`understudy` has a note; one
            of timm has a ``pretrained_cfg``.
        channels: of the images: a ``pretrained_cfg`` for another number does not count.
    """
    for module in (network, bare(network)):
        noted = getattr(module, _ATTRIBUTE, None)
        if isinstance(noted, Normalisation):
            source: Source = getattr(module, _SOURCE, "recorded")
            return noted, source
    config = pretrained_config(network)
    mean, std = config.get("mean"), config.get("std")
    if mean is None or std is None or channels not in (None, len(mean)):
        return None, None
    return Normalisation(tuple(mean), tuple(std)), "pretrained_cfg"


def pretrained_config(network: nn.Module) -> Mapping[str, Any]:
    """The ``pretrained_cfg`` of a timm network; empty for any other."""
    config = getattr(bare(network), "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}


def bare(network: nn.Module) -> nn.Module:
    """A network without the wrapper of this package."""
    return network.bare if isinstance(network, Classifier) else network
