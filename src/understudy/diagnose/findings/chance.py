"""Chance: could this run have shown a gain at all?"""

import math

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.findings.wording import plain_points, points
from understudy.evaluation.statistics import summarise

MANY_SEEDS = 30
"""Beyond as many, the gain is too small to look for by more seeds."""


def noise(evidence: Evidence) -> Finding:
    """Could this run have shown a gain at all?"""
    gain, recorded = evidence.recorded.gain, evidence.recorded
    of_seeds = summarise(gain.gains)
    assert of_seeds is not None
    n, mean, std = of_seeds.n, of_seeds.mean, of_seeds.std
    error = difference_error(
        recorded.arms["distilled"].test_accuracy,
        recorded.arms["baseline"].test_accuracy,
        recorded.num_test,
    )
    about_test = f"the {recorded.num_test:,} test images, the same for all seeds, add a standard error of at most {plain_points(error)}"
    if n == 1:
        return Finding(
            "noise",
            "One seed says nothing",
            "cause",
            f"gain {points(mean)} points on one seed; {about_test}",
            "seeds differ by about as much as distillation gains, and one of them has no interval",
            ("--seeds 0,1,2",),
        )
    low, high = gain.low, gain.high
    assert std is not None and low is not None and high is not None, "of several seeds"
    seen = (
        f"gain {points(mean)} points [{points(low)}, {points(high)}] over {n} seeds, whose gains differ "
        f"by {plain_points(std)} (one standard deviation); {about_test}"
    )
    if low > 0 or high < 0:
        return Finding(
            "noise", "Seed noise", "fine", seen, "the effect is larger than the noise of the seeds"
        )
    needed = seeds_needed(mean, std)
    many = f"more than {MANY_SEEDS}" if needed is None else f"about {needed}"
    seen += f"; to show an effect of this size in four runs of five takes {many} seeds"
    more = () if needed is None else ("--seeds " + ",".join(map(str, range(needed))),)
    if mean > 0:
        return Finding(
            "noise",
            "The gain is smaller than the noise",
            "cause" if more else "contributing",
            seen,
            "there may be a gain, but this run cannot tell it from chance",
            more or ("the other findings first",),
        )
    return Finding(
        "noise",
        "The effect is smaller than the noise",
        "contributing",
        seen,
        "this run can tell neither help nor harm; more seeds would at best confirm that it did not help",
        more,
    )


def seeds_needed(gain: float, std: float, largest: int = MANY_SEEDS) -> int | None:
    """Fewest seeds, at least 2, whose 95 % t interval excludes 0 in 80 % of runs with this true gain; None above ``largest``.

    The usual approximation: ``|gain| >= (t(0.975) + t(0.8)) * std / sqrt(n)`` with n - 1 degrees of freedom.
    """
    from scipy import stats

    for n in range(2, largest + 1):
        if abs(gain) >= (stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) * std / math.sqrt(n):
            return n
    return None


def difference_error(one: float, other: float, n: int) -> float:
    """Standard error of the difference of two accuracies on ``n`` images, as if on separate ones: on the same ones it is less."""
    return math.sqrt((one * (1 - one) + other * (1 - other)) / n)
