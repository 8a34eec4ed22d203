"""Several networks as one: the mean of their probabilities, with the outputs of each."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.models.base import Classifier, Outputs

Renormalisation = tuple[Tensor, Tensor]
"""(scale, shift), each ``[1, C, 1, 1]``: from the images' normalisation to a network's own."""


class Ensemble(Classifier):
    """Networks that are given the same images.

    A student is taught by every member (``Outputs.members``), not by the mean: the mean depends on
    the temperature, the members' logits do not. So one cache of the logits is exact at every
    temperature, and methods that read features have those of each member.

    Args:
        networks: at least one, all with the same classes.
        weights: one for each, at least 0 and not all 0; equal by default. They are no part of the
            state dict.
        renormalise: for each network, from the images' normalisation to its own; ``None`` if they
            are equal.

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
        self.weights = tuple(weight / sum(weights) for weight in weights)
        """One weight per network, normalised to the sum 1."""
        self.feature_channels, self.embedding_dim = (), 0
        for number, change in enumerate(renormalise or ()):
            for name, values in zip(("scale", "shift"), change or (), strict=False):
                self.register_buffer(f"{name}_{number}", values)

    def outputs(self, images: Tensor) -> Outputs:
        """The mean's logits, ``log(mean of the probabilities)``, and every member's outputs."""
        members = []
        for number, network in enumerate(self.networks):
            assert isinstance(network, Classifier)
            scale = getattr(self, f"scale_{number}", None)
            own = images
            if scale is not None:
                own = torch.addcmul(getattr(self, f"shift_{number}"), images, scale)
            members.append(network.outputs(own))
        return mean_outputs(members, self.weights)

    def classify(self, embedding: Tensor) -> Tensor:
        """Refused: an ensemble has no head of its own."""
        raise UnderstudyError("an ensemble of teachers has no classifier of its own")


def mean_outputs(
    members: Sequence[Outputs], weights: Sequence[float], temperature: float = 1.0
) -> Outputs:
    """Outputs of several networks as one: ``T * log(sum of weight * softmax(z / T))``.

    Args:
        members: of networks with the same classes, logits ``[B, K]``; part of the result.
        weights: summing to 1; a member of weight 0 is left out of the mean.
        temperature: T above 0.
    """
    logs = [
        (member.logits.float() / temperature).log_softmax(1) + math.log(weight)
        for member, weight in zip(members, weights, strict=True)
        if weight > 0
    ]
    return Outputs(temperature * torch.stack(logs).logsumexp(0), members=tuple(members))
