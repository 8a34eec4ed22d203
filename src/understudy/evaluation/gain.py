"""The gain of one arm over another: its interval over seeds, and over seeds and test images.

Two things vary by chance: the seeds of the trainings and the images that happened to become the
test set. An interval over seeds alone takes the images as given, so a gain on one lucky image
looks certain. Here both count: ``D[s, i]``, 1 if on seed ``s`` only the student classifies image
``i`` correctly, -1 if only the baseline does, has crossed random effects,

    Var(mean D) = var_seed / S + var_image / N + var_rest / (S N),

estimated from mean squares (no component below zero), with degrees of freedom by Satterthwaite
(1946). Half an image is added to the spread over images, in the way of Bonett and Price (2012), who
add two: the images that would differ may be missing from a small set. The wider of the two
intervals is the result. ``results/proof`` shows by simulation how often this claims a gain that is
not there, and what it costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from understudy.errors import UnderstudyError
from understudy.evaluation.statistics import estimate, summarise
from understudy.files import LEFT_OUT_IF_NONE

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["helped", "hurt", "no evidence"]


class _Compared(Protocol):
    """A gain, of either kind, that others can be compared with."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def p(self) -> float | None:
        """Two-sided p value of "no difference"."""


Gain = TypeVar("Gain", bound=_Compared)

UNSEEN = 0.5
"""Half an image on which all seeds differ from their baseline, added to the spread over images: of
few images, those that would differ may be missing."""
SAME = 1e-12
"""Gains that differ by less than this are equal: rounding, no spread."""


@dataclass(frozen=True)
class Interval:
    """The two ends of an interval, in the unit of the values."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedGain:
    """Differences in accuracy between two arms, seed by seed, as in ``results.json``.

    Attributes:
        gains: one difference for each seed, in [-1, 1].
        mean: of the differences.
        low, high: ends of the wider of the two intervals; ``None`` if nothing can be concluded:
            one seed, one image, or the same gain on every seed.
        p: two-sided p value of "no difference", the larger of the two; ``None`` without interval.
        n: number of seeds.
        images: number of images; ``None`` if it is not known which images were right. Then the
            interval is over seeds alone.
        over_seeds: the t interval over seeds, on these images.
        over_seeds_and_images: the interval over seeds and images; with one seed over the images
            alone.
        df: degrees of freedom of ``over_seeds_and_images``.
        confidence: of the intervals.
        p_holm: p value corrected for the number of comparisons that were made together (Holm
            1979); ``None`` for a single comparison.
        num_compared: how many comparisons were made together.
    """

    gains: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    images: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    over_seeds: Interval | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    over_seeds_and_images: Interval | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    df: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    confidence: float = 0.95
    p_holm: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    num_compared: int = 1

    @property
    def verdict(self) -> Verdict:
        """``helped`` or ``hurt`` if the whole interval is on one side of zero, and the corrected
        p value, if there is one, is small enough."""
        return verdict_of(self.low, self.high, self.p_holm, self.confidence)

    @property
    def half(self) -> float | None:
        """Half the width of the wider interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def sign(self) -> int:
        """1 if it helped, -1 if it hurt, 0 without evidence."""
        return {"helped": 1, "hurt": -1, "no evidence": 0}[self.verdict]


def verdict_of(
    low: float | None, high: float | None, p_holm: float | None, confidence: float
) -> Verdict:
    """What an interval allows to claim, and a p value corrected for several comparisons.

    Args:
        low, high: ends of the interval; ``None`` without one.
        p_holm: ``None`` for a single comparison.
        confidence: of the interval.
    """
    if low is None or high is None or low <= 0 <= high:
        return "no evidence"
    if p_holm is not None and p_holm > 1 - confidence:
        return "no evidence"
    return "helped" if low > 0 else "hurt"


def paired_gain(
    student_correct: "np.ndarray | Sequence[Sequence[bool]]",
    baseline_correct: "np.ndarray | Sequence[Sequence[bool]]",
    confidence: float = 0.95,
) -> PairedGain:
    """The gain in accuracy of a student over a baseline, with what seeds and images allow to say.

    Args:
        student_correct: which images each seed's student classifies correctly, bool
            ``[seeds, images]``.
        baseline_correct: the same of the baseline, seeds and images in the same order.
        confidence: of the intervals, in (0, 1).

    Raises:
        UnderstudyError: if the arrays are not boolean, or not of one shape ``[seeds, images]``.
    """
    import numpy as np

    student, baseline = np.asarray(student_correct), np.asarray(baseline_correct)
    for array in (student, baseline):
        if array.dtype != bool or array.ndim != 2 or not array.size:
            raise UnderstudyError(
                "paired_gain compares which images are classified correctly, bool [seeds, images]; "
                f"this is {array.dtype} {list(array.shape)}"
            )
    if student.shape != baseline.shape:
        raise UnderstudyError(
            f"paired_gain needs the same seeds and images on both sides, not {student.shape} and "
            f"{baseline.shape}"
        )
    return gain_of_differences(student.astype(np.int8) - baseline.astype(np.int8), confidence)


def gain_of_differences(differences: "np.ndarray", confidence: float = 0.95) -> PairedGain:
    """:func:`paired_gain` of ``student - baseline``, ``[seeds, images]`` in [-1, 1].

    A mean over several students is fine: the seed stays the unit.
    """
    num_images = differences.shape[1]
    gains = tuple(float(gain) for gain in differences.mean(axis=1))
    plain = _over_seeds(gains, confidence)
    if num_images < 2:
        return replace(plain, images=num_images, low=None, high=None, p=None)
    variance, df = _variance(differences)
    crossed, p = t_interval(plain.mean, math.sqrt(variance), df, confidence)
    found = replace(plain, images=num_images, over_seeds_and_images=crossed, df=df)
    if plain.over_seeds is None or plain.p is None:
        return found
    return replace(
        found,
        low=min(plain.over_seeds.low, crossed.low),
        high=max(plain.over_seeds.high, crossed.high),
        p=max(plain.p, p),
    )


def t_interval(mean: float, error: float, df: float, confidence: float) -> tuple[Interval, float]:
    """Student's t interval of a mean, and the two-sided p value of a mean of zero.

    Args:
        mean: as measured.
        error: its standard error, above 0.
        df: degrees of freedom.
        confidence: of the interval, in (0, 1).
    """
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(df, 0.5 + confidence / 2)) * error
    return Interval(mean - half, mean + half), float(2 * stdtr(df, -abs(mean) / error))


def _variance(differences: "np.ndarray") -> tuple[float, float]:
    """Variance of the mean over seeds and images, and its degrees of freedom (Satterthwaite)."""
    num_seeds, num_images = differences.shape
    of_seeds, of_images = differences.mean(axis=1), differences.mean(axis=0)
    mean = float(of_seeds.mean())
    spread = float(((of_images - mean) ** 2).sum())
    images = num_seeds * (spread + UNSEEN) / num_images
    if num_seeds == 1:
        return images / num_images, float(num_images)
    seeds = num_images * float(of_seeds.var(ddof=1))
    squares = float((differences.astype(float) ** 2).sum()) - num_seeds * num_images * mean**2
    squares -= (num_seeds - 1) * seeds + num_seeds * spread
    df_rest = (num_seeds - 1) * (num_images - 1)
    rest = max(squares, 0.0) / df_rest
    # Where seeds differ no more than chance explains, their mean square is that of the rest.
    df_seeds = num_seeds - 1 if seeds > rest else df_rest
    seeds, images = max(seeds, rest), max(images, rest)
    total = seeds + images - rest
    df = total**2 / (seeds**2 / df_seeds + images**2 / num_images)
    return total / (num_seeds * num_images), max(float(df), 1.0)


def gain_over_seeds(
    values: Sequence[float], reference: Sequence[float], confidence: float = 0.95
) -> PairedGain:
    """The gain over seeds alone: all that accuracies without the images behind them allow.

    Args:
        values, reference: one accuracy for each seed, in the same order.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: if the two do not have the same length.
    """
    return _over_seeds(tuple(a - b for a, b in zip(values, reference, strict=True)), confidence)


def _over_seeds(gains: tuple[float, ...], confidence: float) -> PairedGain:
    """Student's t over the seeds; no interval for one seed or for equal gains."""
    summary = summarise(gains)
    assert summary is not None, "a gain needs a seed"
    facts: dict[str, Any] = {"gains": gains, "n": len(gains), "confidence": confidence}
    if summary.std is None or max(gains) - min(gains) <= SAME:
        return PairedGain(mean=summary.mean, low=None, high=None, p=None, **facts)
    from scipy.special import stdtr

    found = estimate(gains, confidence)
    assert found.low is not None and found.high is not None
    t = abs(summary.mean) / (summary.std / math.sqrt(summary.n))
    return PairedGain(
        mean=summary.mean,
        low=found.low,
        high=found.high,
        p=float(2 * stdtr(summary.n - 1, -t)),
        over_seeds=Interval(found.low, found.high),
        **facts,
    )


def corrected(gains: Sequence[Gain]) -> list[Gain]:
    """The same gains, with p values for all of them being looked at together (Holm 1979).

    A gain without a p value counts as a comparison, too.
    """
    if len(gains) < 2:
        return list(gains)
    adjusted = holm([1.0 if gain.p is None else gain.p for gain in gains])
    return [
        replace(gain, p_holm=p, num_compared=len(gains))
        for gain, p in zip(gains, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down method, in the same order.

    Claiming those up to ``alpha`` claims a wrong one with probability ``alpha`` at most, whatever
    the dependence between them.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
