"""Which images an epoch draws from if not from all: the easiest share of them, growing."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


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
        rounds = [
            torch.randperm(count, generator=generator) for _ in range(math.ceil(num_images / count))
        ]
        return self.ranked_images[:count][torch.cat(rounds)[:num_images]]
