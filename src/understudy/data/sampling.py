"""Which images an epoch draws if not each of them once."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """Decides which images an epoch shows, in which order."""

    def order(self, epoch: int, generator: torch.Generator) -> Tensor:
        """int64 ``[N]``, positions of images: some may repeat, others be missing.

        Args:
            epoch: from 0.
            generator: of this epoch, the only source of chance.
        """
        ...


@dataclass(frozen=True, eq=False)
class CurriculumSampler:
    """Draws each epoch from a share of the images, the easiest ones.

    Attributes:
        ranked_images: int64 ``[N]``, all images, the easiest first.
        shares: for each epoch the share of them that it draws from, in (0, 1].
    """

    ranked_images: Tensor
    shares: tuple[float, ...]

    def order(self, epoch: int, generator: torch.Generator) -> Tensor:
        """The images of an epoch, in order: int64 ``[N]``.

        With a share below 1 they repeat, in a new random order each time. At share 1 it is the
        order of a run without a curriculum, draw for draw.
        """
        num_images = len(self.ranked_images)
        count = max(1, math.ceil(self.shares[epoch] * num_images))
        if count >= num_images:
            return torch.randperm(num_images, generator=generator)
        return self.ranked_images[:count][_repeated(count, num_images, generator)]


@dataclass(frozen=True, eq=False)
class BalancedSampler:
    """Draws as many images of each class, as many in all as there are.

    Images of a small class repeat, each about as often as the others of its class; of a large
    class a part is shown, another one in each epoch.

    Attributes:
        labels: int64 ``[N]`` of all images.
    """

    labels: Tensor

    def order(self, epoch: int, generator: torch.Generator) -> Tensor:
        """The images of an epoch, in order: int64 ``[N]``."""
        num_images = len(self.labels)
        classes = self.labels.unique()
        # What N leaves over goes to other classes each time.
        classes = classes[torch.randperm(len(classes), generator=generator)]
        each, left = divmod(num_images, len(classes))
        drawn = []
        for number, label in enumerate(classes):
            members = (self.labels == label).nonzero()[:, 0]
            chosen = _repeated(len(members), each + (number < left), generator)
            drawn.append(members[chosen])
        return torch.cat(drawn)[torch.randperm(num_images, generator=generator)]


def _repeated(count: int, length: int, generator: torch.Generator) -> Tensor:
    """int64 ``[length]``: all of ``count`` numbers in random order, again and again."""
    rounds = math.ceil(length / count)
    orders = [torch.randperm(count, generator=generator) for _ in range(rounds)]
    return torch.cat(orders)[:length] if orders else torch.zeros(0, dtype=torch.int64)


def balanced_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Weight of each class, ``N / (K * images of the class)``: float32 ``[num_classes]``.

    K counts the classes that have images; others get 0. Over the images the weights have mean 1.

    Args:
        labels: int64 ``[N]``.
        num_classes: of the data set.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    weights = len(labels) / ((counts > 0).sum() * counts.clamp(min=1)).double()
    return torch.where(counts > 0, weights, 0.0).float()
