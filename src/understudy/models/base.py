"""The interface of every model in this package: logits, feature maps and embedding."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn


class Outputs(NamedTuple):
    """What a network computes for a batch.

    Attributes:
        logits: ``[B, K]`` scores before softmax.
        features: stage maps, shallow to deep, each ``[B, C, H, W]``, after the stage's last
            non-linearity; empty if only logits are known (a cache, a foreign model without named
            stages).
        embedding: ``[B, D]`` pooled features before the classifier; ``None`` if unknown.
        members: the outputs of each network of an ensemble; empty for one network.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    embedding: Tensor | None = None
    members: tuple["Outputs", ...] = ()

    def float(self) -> "Outputs":
        """The same outputs with logits in fp32, those of the members included."""
        return Outputs(
            self.logits.float(),
            self.features,
            self.embedding,
            tuple(member.float() for member in self.members),
        )


@dataclass(frozen=True)
class Architecture:
    """How a network was built by name: enough to build it again.

    Attributes:
        name: as given to :func:`understudy.models.build_model`.
        options: keyword arguments of the constructor.
        stages: module paths of a foreign network's stages.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()


class Classifier(nn.Module, ABC):
    """An image classifier that returns its features explicitly, so that no hook is needed.

    Subclasses implement :meth:`outputs` and :meth:`classify`; ``forward`` is the plain
    ``images -> logits`` that every runtime expects. A subclass sets ``feature_channels`` (one per
    stage) and ``embedding_dim`` in ``__init__``.
    """

    feature_channels: tuple[int, ...]
    embedding_dim: int
    architecture: Architecture | None = None
    """Set by :func:`understudy.models.build_model`; ``None`` for a network built in other ways."""

    @property
    def bare(self) -> nn.Module:
        """The network that is shipped: this one, or the one that this one wraps."""
        return self

    @abstractmethod
    def outputs(self, images: Tensor) -> Outputs:
        """Logits, stage maps and embedding of normalised ``images``, float ``[B, C, H, W]``."""

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """Logits ``[B, K]`` of pooled features ``[B, D]``: the model's own head."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, K]`` of normalised ``images``, float ``[B, C, H, W]``."""
        return self.outputs(images).logits
