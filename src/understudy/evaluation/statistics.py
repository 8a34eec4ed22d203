"""Means over seeds with their t intervals.

Every interval over seeds comes from :func:`estimate`: one formula, which tests compare with
``scipy.stats.ttest_rel``. Gains, over seeds and test images, are in
:mod:`understudy.evaluation.gain`. The formula stays written out here, because scipy's own
intervals differ in the last bit from those in result files of earlier versions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Several values of one quantity, usually one for each seed.

    Attributes:
        mean: arithmetic mean.
        std: sample standard deviation (n - 1); ``None`` for one value.
        n: how many values.
    """

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its 95 % t interval, in the unit of the values.

    Attributes:
        mean: arithmetic mean.
        half: half-width of the interval; ``None`` for one value, which has no interval.
    """

    mean: float
    half: float | None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half

    @property
    def sign(self) -> int:
        """1 if the whole interval is above zero, -1 if it is below, 0 otherwise."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def summarise(values: Sequence[float | None]) -> Summary | None:
    """Mean, sample standard deviation and count; ``None`` without values or if one is missing."""
    numbers = [float(value) for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return None
    n = len(numbers)
    mean = math.fsum(numbers) / n
    if n == 1:
        return Summary(mean, None, n)
    return Summary(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / (n - 1)), n)


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean and half-width of its interval (Student's t) of at least one value.

    Args:
        values: one for each seed.
        confidence: share of repetitions in which such an interval holds the true mean, in (0, 1).
    """
    summary = summarise(values)
    assert summary is not None, "an interval needs at least one value"
    if summary.std is None:
        return Estimate(summary.mean, None)
    from scipy.special import stdtrit

    quantile = float(stdtrit(summary.n - 1, 0.5 + confidence / 2))
    return Estimate(summary.mean, quantile * summary.std / math.sqrt(summary.n))
