"""The finding about the noise of seeds, and how many of them would do."""

import numpy as np
import pytest
from tests.diagnose.example_evidence import healthy, recorded
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.noise import check_noise, seeds_needed
from understudy.evaluation import paired_gain
from understudy.evaluation.gain import PairedGain, gain_over_seeds


def few_images() -> PairedGain:
    """Six seeds that agree on two images of thirty, and win one more now and then."""
    student = np.zeros((6, 30), bool)
    student[:, :2] = student[::2, 2] = True
    return paired_gain(student, np.zeros_like(student))


PLANTED: list[Planted] = [
    (check_noise, "few_images", "contributing", healthy(recorded_=recorded(gain=few_images()))),
    (
        check_noise,
        "one_seed",
        "cause",
        healthy(recorded_=recorded(gain=gain_over_seeds([0.78], [0.75]))),
    ),
    (
        check_noise,
        "small_gain",
        "cause",
        healthy(recorded_=recorded(gain=gain_over_seeds([0.77, 0.76, 0.75], [0.75, 0.75, 0.75]))),
    ),
    (
        check_noise,
        "small_effect",
        "contributing",
        healthy(recorded_=recorded(gain=gain_over_seeds([0.73, 0.74, 0.75], [0.75, 0.75, 0.75]))),
    ),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


def test_seeds_needed_fall_with_the_gain_and_are_limited():
    few, many = seeds_needed(0.02, 0.01, largest=100), seeds_needed(0.005, 0.01, largest=100)
    assert few is not None and many is not None and 2 < few < many
    # The normal approximation: ((1.96 + 0.84) * std / gain)^2 = 31.4; t needs a little more.
    assert 31 <= many <= 35
    assert (
        seeds_needed(0.005, 0.01, largest=many) == many
        and seeds_needed(0.005, 0.01, largest=many - 1) is None
    )
    assert seeds_needed(0.02, 0.0) == 2
    assert seeds_needed(0.0, 0.01) is None
