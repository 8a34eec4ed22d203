"""The gain by repeated cross-validation: for sets too small to leave out one test set for good.

The folds of a repeat share most of their training images, and repeats share all of them, so their
gains are not independent: a plain t interval over them is far too narrow. Nadeau and Bengio,
"Inference for the generalization error" (Machine Learning 52, 2003), put ``1/J + n_test/n_train``
for ``1/J`` in the variance of a mean of ``J`` gains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from understudy.errors import UnderstudyError
from understudy.evaluation.gain import SAME, Verdict, t_interval, verdict_of
from understudy.evaluation.statistics import summarise
from understudy.files import LEFT_OUT_IF_NONE


@dataclass(frozen=True)
class CrossValidatedGain:
    """The gain in accuracy of one arm over another, over all folds of all repeats.

    Attributes:
        gains: ``gains[repeat][fold]``, in [-1, 1].
        mean: of all of them.
        low, high: ends of the corrected t interval; ``None`` for one gain or for equal ones.
        p: two-sided p value of "no difference"; ``None`` without interval.
        df: degrees of freedom, the number of gains less one.
        test_share: images of a test fold per image, in (0, 1).
        confidence: of the interval.
        p_holm: p value corrected for the number of comparisons that were made together (Holm
            1979); ``None`` for a single comparison.
        num_compared: how many comparisons were made together.
    """

    gains: tuple[tuple[float, ...], ...]
    mean: float
    low: float | None
    high: float | None
    p: float | None
    df: int
    test_share: float
    confidence: float = 0.95
    p_holm: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    num_compared: int = 1

    @property
    def verdict(self) -> Verdict:
        """``helped`` or ``hurt`` if the whole interval is on one side of zero, and the corrected
        p value, if there is one, is small enough."""
        return verdict_of(self.low, self.high, self.p_holm, self.confidence)


def cross_validated_gain(
    gains: Sequence[Sequence[float]], test_share: float, confidence: float = 0.95
) -> CrossValidatedGain:
    """Mean gain of repeated cross-validation with the corrected resampled t interval.

    Args:
        gains: ``gains[repeat][fold]``, the difference in accuracy on the fold's test images.
        test_share: share of the images that a test fold holds, in (0, 1): 0.2 for five folds.
        confidence: of the interval, in (0, 1).

    Raises:
        UnderstudyError: without gains, or if the share is not in (0, 1).
    """
    flat = [float(gain) for repeat in gains for gain in repeat]
    if not flat:
        raise UnderstudyError("a cross-validated gain needs the gain of at least one fold")
    if not 0 < test_share < 1:
        raise UnderstudyError(
            f"the share of a test fold is {test_share:g}: give a number between 0 and 1, such as "
            "0.2 for five folds"
        )
    summary = summarise(flat)
    assert summary is not None
    low = high = p = None
    if summary.std is not None and max(flat) - min(flat) > SAME:
        error = summary.std * math.sqrt(1 / summary.n + test_share / (1 - test_share))
        interval, p = t_interval(summary.mean, error, summary.n - 1, confidence)
        low, high = interval.low, interval.high
    return CrossValidatedGain(
        gains=tuple(tuple(float(gain) for gain in repeat) for repeat in gains),
        mean=summary.mean,
        low=low,
        high=high,
        p=p,
        df=summary.n - 1,
        test_share=test_share,
        confidence=confidence,
    )
