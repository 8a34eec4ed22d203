"""Intervals that hold for few images, and the comparison of two networks image by image."""

import numpy as np
import pytest
from scipy.stats import binomtest

from understudy.evaluation.deployment import PairedChange, Proportion, compare

CLASSES = ("cat", "dog", "owl")


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 7), (80, 100), (2000, 2500)])
def test_interval_of_a_share_is_wilsons(hits: int, count: int) -> None:
    found = Proportion.of(hits, count)
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.value == hits / count


def test_change_counts_what_was_lost_and_won() -> None:
    before = np.array([True, True, True, False, False])
    after = np.array([True, False, False, True, False])
    change = PairedChange.of(before, after)
    assert (change.lost, change.won, change.count) == (2, 1, 5)
    assert change.mean == pytest.approx(-1 / 5)
    assert change.low < change.mean < change.high


def test_three_hundred_equal_images_prove_little() -> None:
    same = np.ones(300, bool)
    change = PairedChange.of(same, same)
    assert change.mean == 0
    assert change.low == pytest.approx(-0.0092, abs=1e-4)
    assert change.high == -change.low


@pytest.mark.parametrize("count", [30, 300, 2500])
@pytest.mark.parametrize(("lost", "won"), [(0.0, 0.0), (0.01, 0.002), (0.05, 0.05), (0.2, 0.1)])
def test_interval_of_a_change_covers_the_truth(count: int, lost: float, won: float) -> None:
    """At least 94 % of 4,000 simulated comparisons."""
    rng = np.random.default_rng(count)
    draws = rng.multinomial(count, [lost, won, 1 - lost - won], size=4000)
    covered = 0
    for num_lost, num_won, _ in draws:
        before = np.zeros(count, bool)
        after = np.zeros(count, bool)
        before[:num_lost] = True
        after[num_lost : num_lost + num_won] = True
        change = PairedChange.of(before, after)
        covered += change.low <= won - lost <= change.high
    assert covered / len(draws) >= 0.94


def test_disagreements_are_listed_by_margin() -> None:
    expected = np.array([[0.5, 0.4, 0.1], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]], np.float32)
    found = np.array([[0.4, 0.5, 0.1], [0.05, 0.9, 0.05], [0.2, 0.2, 0.6]], np.float32)
    parity = compare(expected, found, np.array([1, 0, 2]), CLASSES)
    assert [(d.row, d.label, d.expected, d.found) for d in parity.disagreements] == [
        (1, "cat", "cat", "dog"),
        (0, "dog", "cat", "dog"),
    ]
    assert parity.largest_margin == pytest.approx(0.85)
    assert parity.disagreements[1].margin == pytest.approx(0.1)
    assert parity.largest_difference == pytest.approx(0.85)
    assert parity.agreement.value == pytest.approx(1 / 3)
    assert (parity.before.value, parity.after.value) == (pytest.approx(2 / 3),) * 2
    assert (parity.change.lost, parity.change.won) == (1, 1)


def test_equal_networks_have_no_disagreement() -> None:
    same = np.array([[0.7, 0.2, 0.1]], np.float32)
    parity = compare(same, same, np.array([0]), CLASSES)
    assert parity.num_disagreements == 0
    assert parity.largest_margin == 0
    assert parity.largest_difference == 0
