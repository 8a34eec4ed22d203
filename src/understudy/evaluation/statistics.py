"""Means over seeds with their t intervals, paired gains, and what they allow one to conclude.

Everything in the package that shows an interval takes it from :func:`estimate`: one formula, which
tests compare with ``scipy.stats.ttest_rel``. It stays written out here, because scipy's own
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


@dataclass(frozen=True)
class PairedGain:
    """Differences seed by seed between two arms, as in ``results.json``.

    Attributes:
        gains: one difference for each seed, in the unit of the values.
        mean: of the differences.
        low, high: ends of the t interval of the mean; ``None`` for one seed.
        p: two-sided p value of "no difference"; ``None`` for one seed.
        n: number of seeds.
    """

    gains: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int


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


def paired_gain(
    values: Sequence[float], reference: Sequence[float], confidence: float = 0.95
) -> PairedGain:
    """The mean of the differences seed by seed, its t interval and two-sided p value.

    Args:
        values, reference: one number for each seed, in the same order.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: if the two do not have the same length.
    """
    gains = tuple(a - b for a, b in zip(values, reference, strict=True))
    found = estimate(gains, confidence)
    return PairedGain(gains, found.mean, found.low, found.high, _p_value(gains), len(gains))


def _p_value(gains: Sequence[float]) -> float | None:
    summary = summarise(gains)
    assert summary is not None
    if summary.std is None:
        return None
    if summary.std == 0:
        return float(summary.mean == 0)
    from scipy.special import stdtr

    t = abs(summary.mean) / (summary.std / math.sqrt(summary.n))
    return float(2 * stdtr(summary.n - 1, -t))


def verdict(arm: str, gain: PairedGain) -> str:
    """One sentence on a paired gain in accuracy: helped, hurt, or no evidence of either."""
    subject = "distillation" if arm == "distilled" else arm
    points = f"{100 * gain.mean:+.1f} points"
    seeds = f"over {gain.n} seed{'s' if gain.n > 1 else ''}"
    unclear = f"no evidence that {subject} helped or hurt"
    if gain.low is None or gain.high is None:
        return f"{unclear}: {points} {seeds}, and one seed has no interval"
    interval = f"[{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
    if gain.low > 0:
        return f"{subject} helped by {points} {interval} {seeds}"
    if gain.high < 0:
        return f"{subject} hurt by {points} {interval} {seeds}"
    return f"{unclear}: {points} {interval} {seeds}"
