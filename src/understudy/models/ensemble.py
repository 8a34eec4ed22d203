"""Several networks as one: it answers with the mean of their probabilities, and hands on what each of them said."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.models.base import Classifier, Outputs

Renormalisation = tuple[Tensor, Tensor]
"""(scale, shift), each ``[1, C, 1, 1]``, from the images' normalisation to a network's own."""


class Ensemble(Classifier):
    """Networks that look at the same images.

    A student is taught by every member (``Outputs.members``), not by the mean: the mean depends on the temperature, the
    members' logits do not. So one cache of them is exact at any temperature, and methods that read features have them.

    Args:
        networks: at least one, all with the same classes.
        weights: one for each, at least 0 and not all 0; equal by default. They are no part of the state dict.
        renormalise: for each network, from the images' normalisation to its own; ``None`` where they are equal.

    Raises:
        UnderstudyError: if there is no network, or the weights do not fit.
    """

    def __init__(
        self,
        networks: Sequence[Classifier],
        weights: Sequence[float] | None = None,
        renormalise: Sequence[Renormalisation | None] | None = None,
    ) -> None:
        super().__init__()
        if not networks:
            raise UnderstudyError("an ensemble needs at least one teacher")
        weights = [1.0] * len(networks) if weights is None else list(weights)
        if len(weights) != len(networks) or min(weights) < 0 or sum(weights) <= 0:
            raise UnderstudyError(
                "an ensemble needs one weight of at least 0 for each teacher, not all 0"
            )
        self.networks = nn.ModuleList(networks)
        self.shares = tuple(weight / sum(weights) for weight in weights)
        """The weights, summing to 1."""
        self.feature_channels, self.embedding_dim = (), 0
        for number, change in enumerate(renormalise or ()):
            for name, values in zip(("scale", "shift"), change or (), strict=False):
                self.register_buffer(f"{name}_{number}", values)

    def outputs(self, images: Tensor) -> Outputs:
        """The mean's logits, ``log(mean of the probabilities)``, and every member's outputs; no features of its own."""
        answers = []
        for number, network in enumerate(self.networks):
            assert isinstance(network, Classifier)
            scale = getattr(self, f"scale_{number}", None)
            seen = (
                images
                if scale is None
                else torch.addcmul(getattr(self, f"shift_{number}"), images, scale)
            )
            answers.append(network.outputs(seen))
        return pooled(answers, self.shares)

    def classify(self, embedding: Tensor) -> Tensor:
        """Refused: an ensemble has no head of its own."""
        raise UnderstudyError("an ensemble of teachers has no classifier of its own")


def pooled(
    answers: Sequence[Outputs], shares: Sequence[float], temperature: float = 1.0
) -> Outputs:
    """Several answers as one: ``T * log(sum of share * softmax(z / T))`` and the answers themselves.

    Args:
        answers: of networks with the same classes, logits ``[B, K]``.
        shares: summing to 1; a member of share 0 is left out of the mean.
        temperature: T above 0.
    """
    logs = [
        (answer.logits.float() / temperature).log_softmax(1) + math.log(share)
        for answer, share in zip(answers, shares, strict=True)
        if share > 0
    ]
    return Outputs(temperature * torch.stack(logs).logsumexp(0), members=tuple(answers))
