"""Skewed classes, and whether a network does better than one that looks at no image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.evaluation.proportions import Proportion
from understudy.evaluation.results import Metrics

SKEWED = 1.5
"""Classes are skewed if the largest has more than this many times the images of the smallest."""


@dataclass(frozen=True, kw_only=True)
class AgainstChance:
    """A network next to one that predicts the same class for every image.

    It is at chance if neither of two 95 % intervals lies above what can be had without looking:
    that of the accuracy above the share of the largest class (Wilson 1927), nor that of the
    balanced accuracy above 1 / K. Both count: on skewed classes a network that serves the small
    ones may well have less accuracy than the share of the largest.

    Attributes:
        accuracy: of the network, with its interval.
        majority: share of the largest class.
        balanced: mean accuracy over the K classes that have images.
        balanced_low: lower end of its interval, combined from Wilson's intervals of the classes
            (Zou and Donner 2008).
        uniform: 1 / K.
    """

    accuracy: Proportion
    majority: float
    balanced: float
    balanced_low: float
    uniform: float

    @property
    def is_at_chance(self) -> bool:
        """Whether neither interval lies above chance."""
        return self.accuracy.low <= self.majority and self.balanced_low <= self.uniform


def against_chance(runs: Sequence[Metrics]) -> AgainstChance | None:
    """How the seeds of an arm compare with chance on the images that they share.

    Args:
        runs: one for each seed. Accuracies are their means; as the images are the same, more seeds
            do not narrow the interval.

    Returns:
        ``None`` without class counts, which files of earlier versions do not hold.
    """
    counts = runs[0].class_counts if runs else None
    if counts is None or any(run.class_counts != counts for run in runs):
        return None
    found = []
    for index, count in enumerate(counts):
        shares = [share for run in runs if (share := run.per_class[index]) is not None]
        if count and shares:
            found.append(Proportion.of(count * math.fsum(shares) / len(shares), count))
    if not found:
        return None
    total = sum(one.count for one in found)
    balanced = math.fsum(one.value for one in found) / len(found)
    below = math.sqrt(math.fsum((one.value - one.low) ** 2 for one in found))
    return AgainstChance(
        accuracy=Proportion.of(math.fsum(one.value * one.count for one in found), total),
        majority=max(one.count for one in found) / total,
        balanced=balanced,
        balanced_low=balanced - below / len(found),
        uniform=1 / len(found),
    )


def chance_note(arm: str, runs: Sequence[Metrics]) -> str:
    """One sentence if an arm is at chance; empty if it is above, or nothing is known."""
    found = against_chance(runs)
    if found is None or not found.is_at_chance:
        return ""
    return (
        f"the {arm} is at chance: {100 * found.accuracy.value:.1f} % of "
        f"{found.accuracy.count:,} images right, where the largest class for every image gives "
        f"{100 * found.majority:.1f} %"
    )


def is_skewed(class_counts: Sequence[int] | None) -> bool:
    """Whether classes differ in size by more than :data:`SKEWED`; those without images aside.

    ``False`` if the counts are not known.
    """
    present = [count for count in class_counts or () if count]
    return bool(present) and max(present) > SKEWED * min(present)
