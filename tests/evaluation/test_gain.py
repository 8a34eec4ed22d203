"""Gains over seeds and images: against a plain analysis of variance, its limits, and no false
claims."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from understudy.errors import UnderstudyError
from understudy.evaluation import paired_gain
from understudy.evaluation.gain import (
    UNSEEN,
    Interval,
    PairedGain,
    corrected,
    gain_of_differences,
    gain_over_seeds,
    holm,
)
from understudy.evaluation.statistics import estimate

BASELINE = [0.720, 0.731, 0.715, 0.728]
BETTER = [0.741, 0.745, 0.739, 0.744]


def trainings(
    num_seeds: int, num_images: int, *, gain: float = 0.0, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two arms on the same images of unequal difficulty; each training is a little different."""
    images = rng.normal(size=num_images)
    arms = []
    for shift in (gain, 0.0):
        taste = images + 0.25 * rng.normal(size=num_images)
        ability = 0.05 * rng.normal(size=(num_seeds, 1))
        noise = 0.35 * rng.normal(size=(num_seeds, num_images))
        arms.append(taste + ability + noise + shift > -0.9)
    return arms[0], arms[1]


# -- against slow and plain arithmetic -------------------------------------------------------------


def plain_interval(differences: np.ndarray) -> tuple[float, float]:
    """Variance and degrees of freedom of the mean: the textbook's two-way table, cell by cell."""
    num_seeds, num_images = differences.shape
    cells = list(itertools.product(range(num_seeds), range(num_images)))
    mean = sum(differences[s, i] for s, i in cells) / len(cells)
    row = [sum(differences[s]) / num_images for s in range(num_seeds)]
    column = [sum(differences[:, i]) / num_seeds for i in range(num_images)]
    of_seeds = num_images * sum((r - mean) ** 2 for r in row) / (num_seeds - 1)
    of_images = num_seeds * (sum((c - mean) ** 2 for c in column) + UNSEEN) / num_images
    rest = sum((differences[s, i] - row[s] - column[i] + mean) ** 2 for s, i in cells)
    rest_df = (num_seeds - 1) * (num_images - 1)
    rest /= rest_df
    var_seed = max((of_seeds - rest) / num_images, 0)
    var_image = max((of_images - rest) / num_seeds, 0)
    variance = var_seed / num_seeds + var_image / num_images + rest / (num_seeds * num_images)
    first, first_df = (of_seeds, num_seeds - 1) if of_seeds > rest else (rest, rest_df)
    pieces = [(first, first_df), (max(of_images, rest), num_images)]
    df = (variance * num_seeds * num_images) ** 2 / sum(ms**2 / d for ms, d in pieces)
    return variance, df


@pytest.mark.parametrize(("num_seeds", "num_images"), [(2, 30), (3, 7), (5, 40)])
@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_the_interval_is_that_of_the_textbooks_table(num_seeds, num_images, gain):
    rng = np.random.default_rng(num_seeds)
    student, baseline = trainings(num_seeds, num_images, gain=gain, rng=rng)
    found = paired_gain(student, baseline)
    variance, df = plain_interval(student.astype(float) - baseline)
    half = stats.t.ppf(0.975, max(df, 1)) * math.sqrt(variance)
    crossed = found.over_seeds_and_images
    assert found.df == pytest.approx(max(df, 1))
    assert (crossed.low, crossed.high) == pytest.approx((found.mean - half, found.mean + half))


def test_equal_seeds_leave_the_spread_over_images():
    """All seeds alike: no seed component and no rest, only ``var_image / N``."""
    student = np.array([[1, 1, 1, 0, 1, 0, 0, 0]] * 3, bool)
    found = paired_gain(student, np.zeros_like(student))
    error = math.sqrt((8 * 0.25 + UNSEEN) / 8 / 8)
    half = stats.t.ppf(0.975, 8) * error
    crossed = found.over_seeds_and_images
    assert (crossed.low, crossed.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_many_images_leave_the_t_interval_over_seeds():
    """With enough images all that varies is the seed: both intervals are Student's t."""
    rng = np.random.default_rng(0)
    rates = np.array([0.52, 0.58, 0.55, 0.50])
    found = paired_gain(rng.random((4, 400_000)) < rates[:, None], np.zeros((4, 400_000), bool))
    plain, crossed = found.over_seeds, found.over_seeds_and_images
    assert found.df == pytest.approx(3, rel=1e-2)
    assert (crossed.low, crossed.high) == pytest.approx((plain.low, plain.high), rel=1e-2)
    expected = stats.ttest_1samp(found.gains, 0).confidence_interval()
    assert (plain.low, plain.high) == pytest.approx((expected.low, expected.high))


def test_swapping_the_arms_changes_the_sign_and_nothing_else():
    student, baseline = trainings(4, 200, gain=0.3, rng=np.random.default_rng(1))
    up, down = paired_gain(student, baseline), paired_gain(baseline, student)
    assert (down.mean, down.low, down.high) == pytest.approx((-up.mean, -up.high, -up.low))
    assert down.p == pytest.approx(up.p) and (up.verdict, down.verdict) == ("helped", "hurt")


def test_the_order_of_seeds_and_images_does_not_matter():
    rng = np.random.default_rng(2)
    student, baseline = trainings(3, 50, rng=rng)
    rows, columns = rng.permutation(3), rng.permutation(50)
    mixed = paired_gain(student[rows][:, columns], baseline[rows][:, columns])
    found = paired_gain(student, baseline)
    assert (mixed.low, mixed.high, mixed.p) == pytest.approx((found.low, found.high, found.p))


@pytest.mark.parametrize("seed", range(20))
def test_the_wider_interval_decides(seed):
    student, baseline = trainings(3, 97, gain=0.4, rng=np.random.default_rng(seed + 100))
    found = paired_gain(student, baseline)
    both = (found.over_seeds, found.over_seeds_and_images)
    assert found.low == min(each.low for each in both)
    assert found.high == max(each.high for each in both)
    assert (found.verdict == "helped") == all(each.low > 0 for each in both)
    assert (found.p <= 0.05) == (found.verdict != "no evidence"), "p and interval agree"


# -- what is no evidence ---------------------------------------------------------------------------


def test_one_image_won_twice_is_no_claim():
    student, baseline = np.zeros((2, 153), bool), np.zeros((2, 153), bool)
    student[:, 7] = True
    found = paired_gain(student, baseline)
    assert found.mean == pytest.approx(1 / 153) and found.verdict == "no evidence"
    assert (found.low, found.high, found.p, found.over_seeds) == (None, None, None, None)
    assert found.over_seeds_and_images.low < 0 < found.over_seeds_and_images.high


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("shape", [(1, 50), (3, 50), (3, 1)])
def test_arms_that_never_differ_are_no_evidence_and_never_of_width_0(right, shape):
    found = paired_gain(np.full(shape, right), np.full(shape, right))
    assert found.mean == 0 and found.verdict == "no evidence" and found.low is None
    crossed = found.over_seeds_and_images
    assert crossed is None if shape[1] == 1 else crossed.low < 0 < crossed.high


def test_equal_gains_on_other_images_are_no_evidence():
    student = np.zeros((2, 20), bool)
    student[0, :8] = student[1, 8:16] = True
    assert paired_gain(student, np.zeros_like(student)).verdict == "no evidence"


def test_one_seed_has_an_interval_over_images_and_no_verdict():
    student = np.arange(100)[None] < 60
    found = paired_gain(student, np.zeros_like(student))
    assert found.over_seeds_and_images.low > 0.4, "60 of 100 images are no accident"
    assert found.low is found.high is found.p is found.over_seeds is None
    assert found.verdict == "no evidence" and (found.n, found.images) == (1, 100)


@pytest.mark.parametrize(
    ("student", "baseline", "problem"),
    [
        ([0.75, 0.5], [0.5, 0.25], "bool"),
        ([[0.75, 0.5]], [[0.5, 0.25]], "bool"),
        ([True, False], [True, False], r"\[2\]"),
        (np.zeros((2, 0), bool), np.zeros((2, 0), bool), "bool"),
        (np.zeros((2, 3), bool), np.zeros((2, 4), bool), "same seeds and images"),
    ],
)
def test_what_is_no_table_of_images_is_refused_in_one_line(student, baseline, problem):
    with pytest.raises(UnderstudyError, match=problem) as refused:
        paired_gain(student, baseline)
    assert "\n" not in str(refused.value)


# -- how often it is right -------------------------------------------------------------------------


@pytest.mark.parametrize(("num_seeds", "num_images"), [(2, 20), (3, 150), (10, 60)])
def test_claims_without_an_effect_are_rare_and_most_intervals_hold_it(num_seeds, num_images):
    """At most 5 % of 300 comparisons, with three standard errors of the simulation."""
    rng = np.random.default_rng(num_images)
    found = [paired_gain(*trainings(num_seeds, num_images, rng=rng)) for _ in range(300)]
    claims = np.mean([gain.verdict != "no evidence" for gain in found])
    assert claims <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    held = [gain.low <= 0 <= gain.high for gain in found if gain.low is not None]
    assert np.mean(held) >= 0.94 - 3 * math.sqrt(0.06 * 0.94 / len(held))


def test_seeds_alone_claim_far_too_often_where_few_images_are_the_same_for_all():
    rng = np.random.default_rng(3)
    pairs = [trainings(10, 60, rng=rng) for _ in range(300)]
    alone = [gain_over_seeds(a.mean(1), b.mean(1)).verdict != "no evidence" for a, b in pairs]
    both = [paired_gain(a, b).verdict != "no evidence" for a, b in pairs]
    assert np.mean(alone) > 0.2 > 0.1 > np.mean(both)


def test_a_large_gain_is_found():
    rng = np.random.default_rng(4)
    found = [paired_gain(*trainings(5, 400, gain=0.35, rng=rng)).verdict for _ in range(100)]
    assert found.count("helped") > 90


# -- seeds alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_gain_over_seeds_is_the_paired_t_test(confidence: float) -> None:
    gain = gain_over_seeds(BETTER, BASELINE, confidence)
    reference = stats.ttest_rel(BETTER, BASELINE)
    interval = reference.confidence_interval(confidence)
    assert gain.p == pytest.approx(reference.pvalue)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))
    assert gain.gains == tuple(a - b for a, b in zip(BETTER, BASELINE, strict=True)) and gain.n == 4
    assert gain.images is None and gain.over_seeds == Interval(gain.low, gain.high)


def test_pairing_by_seed_sees_what_the_spread_between_seeds_hides() -> None:
    spread = [0.60, 0.70, 0.80]
    shifted = [0.611, 0.709, 0.810]
    assert gain_over_seeds(shifted, spread).p < 0.01 < stats.ttest_ind(shifted, spread).pvalue


@pytest.mark.parametrize("pair", [([0.74], [0.72]), ([0.75, 0.5], [0.5, 0.25]), ([0.5], [0.5])])
def test_one_seed_and_equal_gains_have_no_interval(pair) -> None:
    gain = gain_over_seeds(*pair)
    assert gain.low is gain.high is gain.p is None and gain.verdict == "no evidence"


def test_gains_that_differ_by_rounding_alone_are_equal() -> None:
    assert 0.7 - 0.6 != 0.8 - 0.7
    assert gain_over_seeds([0.7, 0.8], [0.6, 0.7]).low is None


def test_the_seeds_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        gain_over_seeds([0.7, 0.8], [0.7])


def test_an_interval_that_touches_0_is_no_evidence() -> None:
    gain = PairedGain(gains=(0.0,), mean=0.01, low=0.0, high=0.02, p=0.05, n=3)
    assert gain.verdict == "no evidence"
    assert replace(gain, low=1e-9).verdict == "helped"
    assert replace(gain, mean=-0.01, low=-0.02, high=0.0).verdict == "no evidence"
    assert replace(gain, mean=-0.01, low=-0.02, high=-1e-9).verdict == "hurt"
    assert [replace(gain, low=low, high=0.02).sign for low in (1e-9, -0.1)] == [1, 0]


def test_the_interval_holds_95_percent_unless_asked_otherwise() -> None:
    # Gains 1, 2 and 3 points: mean 2, standard error 1 / sqrt(3); the t table has 4.3027 for two
    # degrees of freedom.
    gain = gain_over_seeds([0.51, 0.52, 0.53], [0.5, 0.5, 0.5])
    half = 0.01 * 4.302653 / 3**0.5
    assert (gain.low, gain.high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-5)
    assert gain.p == pytest.approx(0.0741799, rel=1e-5) and gain.half == pytest.approx(half)


def test_an_interval_is_the_one_of_the_gain_over_nothing() -> None:
    values = [0.71, 0.74, 0.72]
    gain, found = gain_over_seeds(values, [0.0] * 3), estimate(values)
    assert (found.mean, found.low, found.high) == (gain.mean, gain.low, gain.high)


def test_a_mean_over_students_is_compared_like_one_student():
    student, baseline = trainings(3, 40, gain=0.2, rng=np.random.default_rng(5))
    differences = student.astype(float) - baseline
    assert gain_of_differences((differences + differences) / 2) == paired_gain(student, baseline)


# -- many comparisons ------------------------------------------------------------------------------


def plain_holm(p_values: list[float], alpha: float) -> set[int]:
    """Holm's recipe in words: reject the smallest while it is below alpha / (number left)."""
    left, rejected = dict(enumerate(p_values)), set()
    while left:
        smallest = min(left, key=lambda index: left[index])
        if left[smallest] > alpha / len(left):
            return rejected
        rejected.add(smallest)
        del left[smallest]
    return rejected


def test_holm_rejects_what_the_recipe_rejects():
    rng = np.random.default_rng(6)
    for _ in range(200):
        p_values = list(rng.random(rng.integers(1, 8)) ** 3)
        adjusted = holm(p_values)
        for alpha in (0.01, 0.05, 0.2):
            below = {index for index, p in enumerate(adjusted) if p <= alpha}
            assert below == plain_holm(p_values, alpha)
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_gain_among_many_needs_more_than_its_interval():
    alone = gain_over_seeds([0.53, 0.54, 0.52], [0.5, 0.5, 0.5])
    assert 0.025 < alone.p < 0.05 and alone.verdict == "helped"
    nothing = gain_over_seeds([0.5, 0.52, 0.49], [0.5, 0.5, 0.5])
    among, other, unknown = corrected([alone, nothing, gain_over_seeds([0.6], [0.5])])
    assert among.p_holm == pytest.approx(3 * alone.p) and among.verdict == "no evidence"
    assert (among.low, among.num_compared) == (alone.low, 3)
    assert other.verdict == unknown.verdict == "no evidence" and unknown.p_holm == 1
    assert corrected([alone]) == [alone] and corrected([]) == []
    assert corrected([among, other, unknown]) == [among, other, unknown], "from p, not from p_holm"
