"""Paired gains over seeds against scipy, and sentences that claim no more than they may."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from understudy.evaluation.statistics import (
    Estimate,
    PairedGain,
    Summary,
    estimate,
    paired_gain,
    summarise,
    verdict,
)

BASELINE = [0.720, 0.731, 0.715, 0.728]
BETTER = [0.741, 0.745, 0.739, 0.744]


def test_summarise_gives_mean_and_sample_deviation() -> None:
    assert summarise([1.0, 2.0, 3.0]) == Summary(mean=2.0, std=1.0, n=3)
    assert summarise([5]) == Summary(mean=5.0, std=None, n=1)
    assert summarise([]) is None and summarise([1.0, None]) is None


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_gain_is_the_paired_t_test(confidence: float) -> None:
    gain = paired_gain(BETTER, BASELINE, confidence)
    reference = stats.ttest_rel(BETTER, BASELINE)
    interval = reference.confidence_interval(confidence)
    assert gain.p == pytest.approx(reference.pvalue)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))
    assert gain.mean == pytest.approx(sum(BETTER) / 4 - sum(BASELINE) / 4)
    assert gain.gains == tuple(a - b for a, b in zip(BETTER, BASELINE, strict=True)) and gain.n == 4


def test_pairing_by_seed_sees_what_the_spread_between_seeds_hides() -> None:
    spread = [0.60, 0.70, 0.80]
    shifted = [0.611, 0.709, 0.810]
    assert paired_gain(shifted, spread).p < 0.01 < stats.ttest_ind(shifted, spread).pvalue


def test_one_seed_has_no_interval() -> None:
    gain = paired_gain([0.74], [0.72])
    assert gain.low is gain.high is gain.p is None and gain.n == 1
    assert verdict("distilled", gain) == (
        "no evidence that distillation helped or hurt: +2.0 points over 1 seed, "
        "and one seed has no interval"
    )


def test_a_gain_without_spread_has_an_interval_of_one_point() -> None:
    same = paired_gain([0.5, 0.25], [0.5, 0.25])
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1.0)
    assert verdict("distilled", same).startswith("no evidence")
    constant = paired_gain([0.75, 0.5], [0.5, 0.25])
    assert (constant.mean, constant.low, constant.high, constant.p) == (
        0.25,
        0.25,
        0.25,
        0.0,
    )


def test_the_seeds_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_gain([0.7, 0.8], [0.7])


def test_verdict_is_helped_or_hurt_only_by_the_whole_interval() -> None:
    helped = paired_gain(BETTER, BASELINE)
    assert (
        verdict("distilled", helped) == "distillation helped by +1.9 points [1.1, 2.6] over 4 seeds"
    )
    assert (
        verdict("distilled", paired_gain(BASELINE, BETTER))
        == "distillation hurt by -1.9 points [-2.6, -1.1] over 4 seeds"
    )
    unclear = verdict("distilled", paired_gain([0.74, 0.72], [0.72, 0.73]))
    assert unclear.startswith(
        "no evidence that distillation helped or hurt: +0.5 points ["
    ) and unclear.endswith("over 2 seeds")


def test_an_interval_that_touches_0_is_no_evidence() -> None:
    gain = PairedGain(gains=(0.0,), mean=0.01, low=0.0, high=0.02, p=0.05, n=3)
    assert verdict("distilled", gain).startswith(
        "no evidence that distillation helped or hurt: +1.0 points [0.0, 2.0]"
    )
    assert verdict("distilled", replace(gain, low=1e-9)).startswith("distillation helped by")
    assert verdict("distilled", replace(gain, mean=-0.01, low=-0.02, high=0.0)).startswith(
        "no evidence"
    )
    assert verdict("distilled", replace(gain, mean=-0.01, low=-0.02, high=-1e-9)).startswith(
        "distillation hurt by -1.0"
    )


def test_a_loss_is_as_significant_as_the_same_gain() -> None:
    up, down = paired_gain(BETTER, BASELINE), paired_gain(BASELINE, BETTER)
    assert down.p == pytest.approx(up.p) and down.p < 0.05
    assert (down.low, down.high) == pytest.approx((-up.high, -up.low))


def test_the_interval_holds_95_percent_unless_asked_otherwise() -> None:
    # Gains 1, 2 and 3 points: mean 2, standard error 1 / sqrt(3); the t table has 4.3027 for two
    # degrees of freedom.
    gain = paired_gain([0.51, 0.52, 0.53], [0.5, 0.5, 0.5])
    assert gain.mean == pytest.approx(0.02)
    half = 0.01 * 4.302653 / 3**0.5
    assert (gain.low, gain.high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-5)
    assert gain.p == pytest.approx(0.0741799, rel=1e-5)


def test_further_arms_go_by_their_own_name() -> None:
    assert verdict("dkd", paired_gain(BETTER, BASELINE)).startswith("dkd helped by")


def test_an_interval_is_the_one_of_the_paired_gain() -> None:
    values = [0.71, 0.74, 0.72]
    gain = paired_gain(values, [0.0, 0.0, 0.0])
    found = estimate(values)
    assert (found.mean, found.low, found.high) == (gain.mean, gain.low, gain.high)
    reference = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


def test_interval_over_two_values_is_known_in_closed_form() -> None:
    # n = 2: std / sqrt(n) is half the distance; t with one degree of freedom is tan(0.95 pi / 2)
    found = estimate([1.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(math.tan(0.95 * math.pi / 2))
    assert estimate([0.7]) == Estimate(0.7, None), "one seed has no interval"


def test_sign_needs_an_interval_apart_from_zero() -> None:
    assert Estimate(0.02, 0.01).sign == 1
    assert Estimate(0.02, 0.03).sign == 0
    assert Estimate(-0.02, 0.01).sign == -1
    assert estimate([0.5]).sign == 0, "one seed is no evidence"
