"""Means and intervals over seeds, against closed forms and scipy."""

import math

import pytest
from scipy import stats

from understudy.evaluation.statistics import (
    Estimate,
    Summary,
    estimate,
    summarise,
)


def test_summarise_gives_mean_and_sample_deviation() -> None:
    assert summarise([1.0, 2.0, 3.0]) == Summary(mean=2.0, std=1.0, n=3)
    assert summarise([5]) == Summary(mean=5.0, std=None, n=1)
    assert summarise([]) is None and summarise([1.0, None]) is None


def test_the_interval_is_students() -> None:
    values = [0.71, 0.74, 0.72]
    found = estimate(values)
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
