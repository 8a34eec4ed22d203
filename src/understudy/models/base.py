"""What every model of ours gives back, and how a method may look inside it."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Outputs(NamedTuple):
    """What a network says about a batch.

    Attributes:
        logits: ``[B, K]`` scores before softmax.
        features: stage maps, shallow to deep, each ``[B, C, H, W]``, after the stage's last non-linearity; empty where
            only logits are known (a cache, a foreign model without named stages).
        embedding: ``[B, D]`` pooled features before the classifier; ``None`` where unknown.
        members: what each network of an ensemble says; empty for one network.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    embedding: Tensor | None = None
    members: tuple["Outputs", ...] = ()

    def float(self) -> "Outputs":
        """The same with logits in fp32, the members' as well."""
        return Outputs(
            self.logits.float(),
            self.features,
            self.embedding,
            tuple(member.float() for member in self.members),
        )


class Classifier(nn.Module, ABC):
    """An image classifier that returns its features explicitly, so that no hook is ever needed.

    Subclasses implement :meth:`outputs`; ``forward`` is the plain ``images -> logits`` that every runtime expects. A
    subclass sets ``feature_channels`` (one per stage) and ``embedding_dim`` in ``__init__``.
    """

    feature_channels: tuple[int, ...]
    embedding_dim: int

    @abstractmethod
    def outputs(self, images: Tensor) -> Outputs:
        """Logits, stage maps and embedding of ``images`` (float ``[B, C, H, W]``, normalised)."""

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """Logits ``[B, K]`` of pooled features ``[B, D]``: the model's own head (SimKD borrows the teacher's)."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, K]`` of ``images`` (float ``[B, C, H, W]``, normalised)."""
        return self.outputs(images).logits
