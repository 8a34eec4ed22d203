"""The corrected resampled t test of Nadeau and Bengio."""

import math

import numpy as np
import pytest
from scipy import stats

from understudy.errors import UnderstudyError
from understudy.evaluation import cross_validated_gain
from understudy.evaluation.gain import corrected
from understudy.evaluation.verdict import fold_sentence

GAINS = [[0.02, 0.01, 0.03, 0.00, 0.02], [0.01, 0.02, 0.02, 0.01, 0.03]]


def test_the_interval_is_the_papers():
    """Ten gains of five folds: variance times ``1/10 + (1/5)/(4/5)``, nine degrees of freedom."""
    found = cross_validated_gain(GAINS, test_share=0.2)
    flat = np.ravel(GAINS)
    error = math.sqrt((0.1 + 0.25) * flat.var(ddof=1))
    half = stats.t.ppf(0.975, 9) * error
    assert found.mean == pytest.approx(0.017) and found.df == 9
    assert (found.low, found.high) == pytest.approx((0.017 - half, 0.017 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(0.017 / error, 9))


def test_it_is_wider_than_folds_taken_as_independent():
    found = cross_validated_gain(GAINS, test_share=0.2)
    naive = stats.ttest_1samp(np.ravel(GAINS), 0).confidence_interval()
    widths = [each.high - each.low for each in (found, naive)]
    assert widths[0] == pytest.approx(widths[1] * math.sqrt(3.5)), "0.35 instead of 0.1"


def test_verdicts():
    assert cross_validated_gain([[0.2, 0.21, 0.19, 0.2, 0.22]], 0.2).verdict == "helped"
    assert cross_validated_gain([[-0.2, -0.21, -0.19]], 1 / 3).verdict == "hurt"
    assert cross_validated_gain([[0.1, -0.1, 0.05]], 1 / 3).verdict == "no evidence"


@pytest.mark.parametrize("gains", [[[0.1]], [[0.0] * 5] * 3, [[0.3 - 0.2, 0.4 - 0.3]]])
def test_one_fold_and_equal_gains_are_no_evidence(gains):
    found = cross_validated_gain(gains, 0.5)
    assert found.low is found.high is found.p is None
    assert found.verdict == "no evidence"


@pytest.mark.parametrize(("gains", "share"), [([], 0.2), ([[]], 0.2), (GAINS, 0.0), (GAINS, 1.0)])
def test_mistakes_are_one_line(gains, share):
    with pytest.raises(UnderstudyError, match="fold"):
        cross_validated_gain(gains, share)


def test_gains_looked_at_together_need_smaller_p_values():
    """One arm of p 0.03 is evidence; one of four is none."""
    gain = cross_validated_gain([[0.03, 0.05, 0.01, 0.04, 0.02, 0.02, 0.06]], 0.2)
    none = cross_validated_gain([[0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01]], 0.2)
    assert gain.verdict == "helped" and 0.0125 < gain.p < 0.05
    assert corrected([gain]) == [gain]
    first, *others = corrected([gain, none, none, none])
    assert first.p_holm == pytest.approx(4 * gain.p) and first.num_compared == 4
    assert first.verdict == "no evidence" and {each.verdict for each in others} == {"no evidence"}
    assert "not enough for one of 4 comparisons (Holm)" in fold_sentence("a", first, 7, 1)


def test_the_sentence_of_folds():
    gain = cross_validated_gain([[0.03, 0.05, 0.01, 0.04, 0.02, 0.02, 0.06]] * 2, 1 / 7)
    found = fold_sentence("distilled", gain, 7, 2)
    assert found.startswith("distillation helped by +3.3 points [")
    assert found.endswith("] over 7 folds × 2 seeds")
    equal = fold_sentence("b", cross_validated_gain([[0.1, 0.1]], 0.5), 2, 1)
    assert equal == (
        "no evidence that b helped or hurt: +10.0 points over 2 folds, and equal gains have no "
        "interval"
    )
