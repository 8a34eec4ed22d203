"""Shares of images with their intervals. Importing this loads no torch: a report needs none."""

import math
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """A share of images and its 95 % interval (Wilson 1927), which holds for few images, too.

    Attributes:
        value, low, high: in [0, 1].
        count: number of images.
    """

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, hits: float, count: int) -> "Proportion":
        """``hits`` of ``count`` images, ``count`` above 0; a mean over seeds need not be whole."""
        share, z2 = hits / count, Z95**2
        centre = (share + z2 / (2 * count)) / (1 + z2 / count)
        spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
        half = Z95 * spread / (1 + z2 / count)
        # With no hit, or all, that end is exact; rounding would leave it a little off.
        low = max(0.0, centre - half) if hits > 0 else 0.0
        high = min(1.0, centre + half) if hits < count else 1.0
        return cls(value=share, low=low, high=high, count=count)
