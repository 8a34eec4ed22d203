"""A network of which some outputs are used, in another order than its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from understudy.models.base import Classifier, Outputs


class SelectedClasses(Classifier):
    """The chosen logits of a network; features and embedding pass through.

    What is saved and loaded is the network itself (:func:`understudy.models.deployed`), with all
    its outputs. The softmax over the chosen logits is the network's own probability of each class,
    given that the image is of one of them.

    Args:
        network: gives logits ``[B, L]``.
        index: for each class, the number of its logit.
    """

    index: Tensor

    def __init__(self, network: Classifier, index: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("index", torch.tensor(index))
        self.feature_channels = network.feature_channels
        self.embedding_dim = network.embedding_dim
        self.architecture = network.architecture

    @property
    def bare(self) -> nn.Module:
        """The network with all its outputs."""
        return self.network.bare

    def outputs(self, images: Tensor) -> Outputs:
        """The chosen logits ``[B, K]``, features and embedding."""
        found = self.network.outputs(images)
        return found._replace(logits=found.logits[:, self.index])

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits[:, self.index]

    def classify(self, embedding: Tensor) -> Tensor:
        """The chosen logits ``[B, K]`` of pooled features ``[B, D]``."""
        return self.network.classify(embedding)[:, self.index]
