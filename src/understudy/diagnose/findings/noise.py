"""Seed noise: could this run have shown a gain at all?"""

import math

from understudy.diagnose.evidence import Evidence, RunRecord
from understudy.diagnose.findings.finding import Finding, Outcome, Rule
from understudy.diagnose.findings.format import plain_points, points
from understudy.evaluation.statistics import summarise
from understudy.evaluation.verdict import over

MANY_SEEDS = 30
"""A gain that needs more seeds than this is too small to look for by more seeds."""

NOISE = Rule(
    key="noise",
    question="Could this run have shown a gain at all?",
    looks_at="the paired gains of the seeds; their interval, over seeds and test images",
    contributing="the interval includes zero, or that over seeds and images does",
    cause="one seed; or a positive gain that up to 30 seeds would show",
    threshold="a gain that needs more than 30 seeds is too small to look for by more seeds",
    outcomes={
        "one_seed": Outcome(
            title="One seed is not enough",
            severity="cause",
            why="seeds differ by about as much as distillation gains, and one seed has no interval",
        ),
        "small_gain": Outcome(
            title="The gain is smaller than the seed noise",
            severity="cause",
            why="there may be a gain, but this run cannot distinguish it from chance",
        ),
        "small_effect": Outcome(
            title="The effect is smaller than the seed noise",
            severity="contributing",
            why="this run shows neither help nor harm; more seeds would at best confirm that "
            "distillation did not help",
        ),
        "few_images": Outcome(
            title="The test set is too small for this gain",
            severity="contributing",
            why="the seeds agree on these images, but as many other images might show nothing",
        ),
        "fine": Outcome(
            title="Seed noise",
            severity="fine",
            why="the effect is larger than the noise of the seeds",
        ),
    },
)


def check_noise(evidence: Evidence) -> Finding:
    """Apply :data:`NOISE`."""
    gain, recorded = evidence.recorded.gain, evidence.recorded
    spread = summarise(gain.gains)
    assert spread is not None
    if spread.std is None:
        seen = f"gain {points(gain.mean)} points on one seed{_test_noise(recorded)}"
        return NOISE.finding("one_seed", seen, "--seeds 0,1,2")
    interval = ""
    if gain.low is not None and gain.high is not None:
        interval = f" [{points(gain.low)}, {points(gain.high)}]"
    seen = (
        f"gain {points(gain.mean)} points{interval} {over(gain)}; the gains of the seeds have a "
        f"standard deviation of {plain_points(spread.std)}{_test_noise(recorded)}"
    )
    if gain.verdict != "no evidence":
        return NOISE.finding("fine", seen)
    seeds = gain.over_seeds
    if gain.images is not None and seeds is not None and (seeds.low > 0 or seeds.high < 0):
        seen += f"; over the seeds alone [{points(seeds.low)}, {points(seeds.high)}]"
        return NOISE.finding("few_images", seen, "more test images")
    needed = seeds_needed(gain.mean, spread.std)
    many = f"more than {MANY_SEEDS}" if needed is None else f"about {needed}"
    seen += f"; to show an effect of this size in four runs of five takes {many} seeds"
    outcome = "small_gain" if gain.mean > 0 else "small_effect"
    if needed is not None:
        return NOISE.finding(outcome, seen, "--seeds " + ",".join(map(str, range(needed))))
    advice = ("the other findings first",) if gain.mean > 0 else ()
    return NOISE.finding(outcome, seen, *advice, severity="contributing")


def _test_noise(recorded: RunRecord) -> str:
    """What the interval leaves out, if it is one over seeds alone."""
    if recorded.gain.images is not None:
        return ""
    error = difference_error(
        recorded.arms["distilled"].test_accuracy,
        recorded.arms["baseline"].test_accuracy,
        recorded.num_test,
    )
    return (
        f"; the {recorded.num_test:,} test images, the same for all seeds, add a standard error of "
        f"at most {plain_points(error)}"
    )


def seeds_needed(gain: float, std: float, largest: int = MANY_SEEDS) -> int | None:
    """Fewest seeds whose 95 % t interval excludes 0 in 80 % of runs with this true gain.

    The usual approximation: ``|gain| >= (t(0.975) + t(0.8)) * std / sqrt(n)`` with n - 1 degrees
    of freedom.

    Returns:
        at least 2; ``None`` if more than ``largest`` are needed.
    """
    from scipy import stats

    for n in range(2, largest + 1):
        quantiles = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
        if abs(gain) >= quantiles * std / math.sqrt(n):
            return n
    return None


def difference_error(one: float, other: float, n: int) -> float:
    """Standard error of the difference of two accuracies, each measured on ``n`` images.

    The errors are taken as independent; on the same images the true value is smaller.
    """
    return math.sqrt((one * (1 - one) + other * (1 - other)) / n)
