"""Which images an epoch draws from, when not all at once: the easiest share of them, growing."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pace:
    """How a training is paced.

    Attributes:
        easy_first: int64 ``[N]``, all images, the easiest first.
        shares: for each epoch the share of them that it draws from, in (0, 1].
    """

    easy_first: Tensor
    shares: tuple[float, ...]

    def order(self, epoch: int, generator: torch.Generator) -> Tensor:
        """int64 ``[N]``: the images of an epoch in order; with a share below 1 again and again, in a new order each time.

        At share 1 it is the order of a run without a pace, draw for draw.
        """
        num_images = len(self.easy_first)
        count = max(1, math.ceil(self.shares[epoch] * num_images))
        if count >= num_images:
            return torch.randperm(num_images, generator=generator)
        rounds = [
            torch.randperm(count, generator=generator) for _ in range(math.ceil(num_images / count))
        ]
        return self.easy_first[:count][torch.cat(rounds)[:num_images]]
