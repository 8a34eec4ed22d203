"""Shares of images and their intervals."""

import pytest
from scipy.stats import binomtest

from understudy.evaluation.proportions import Proportion


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 98), (3, 10), (98, 98), (523, 1000)])
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    found = Proportion.of(hits, count)
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert (found.value, found.count) == (hits / count, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_with_no_hit_or_all_the_interval_ends_there_exactly() -> None:
    for count in range(1, 400):
        assert Proportion.of(0, count).low == 0
        assert Proportion.of(count, count).high == 1


def test_a_mean_over_seeds_need_not_be_a_whole_number_of_images() -> None:
    below, mean, above = (Proportion.of(hits, 20) for hits in (7, 7.5, 8))
    assert below.low < mean.low < above.low and below.high < mean.high < above.high
