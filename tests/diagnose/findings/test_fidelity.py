"""Findings about the student and its teacher."""

import pytest
from tests.diagnose.example_evidence import arms, fits_of, healthy, recorded
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.fidelity import check_agreement, check_capacity, check_slow_fit
from understudy.diagnose.findings.finding import Check, Severity

PLANTED: list[Planted] = [
    (check_slow_fit, "slow", "cause", fits_of(distilled={"train_accuracy": 0.77})),
    (check_slow_fit, "slow", "contributing", fits_of(distilled={"train_accuracy": 0.81})),
    (check_capacity, "behind", "contributing", fits_of(teacher={"train_accuracy": 0.97})),
    (
        check_agreement,
        "little",
        "contributing",
        healthy(recorded_=recorded(arms=arms(distilled={"teacher_kl": 0.39}))),
    ),
    (
        check_agreement,
        "lower",
        "contributing",
        healthy(recorded_=recorded(arms=arms(distilled={"agreement": 0.70}))),
    ),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


@pytest.mark.parametrize(
    ("parameters", "ratio"), [(4_000_000, "40 to 1"), (150_000, "1.5 to 1"), (70_000, "0.70 to 1")]
)
def test_parameter_ratio_has_two_digits(parameters: int, ratio: str):
    sizes = arms(teacher={"parameters": parameters})
    found = check_capacity(healthy(recorded_=recorded(arms=sizes)))
    assert found is not None and found.evidence.endswith(ratio)
