"""Findings about the training's end."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import CURVE, healthy, recorded
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.schedule import check_length

STOPPED = replace(CURVE, lr=(1.0, 0.5, 0.25, 0.25), slope=0.004, slope_error=0.001)
RISING_TO_REST = replace(CURVE, lr=(0.5, 1.0, 0.5, 0.0), slope=0.004, slope_error=0.001)

PLANTED: list[Planted] = [
    (
        check_length,
        "early",
        "contributing",
        healthy(recorded_=recorded(curves={"baseline": STOPPED, "distilled": STOPPED})),
    ),
    (
        check_length,
        "early",
        "contributing",
        healthy(recorded_=recorded(curves={"distilled": replace(STOPPED, lr=(1.0, 0.1))})),
    ),
    (
        check_length,
        "high",
        "contributing",
        healthy(recorded_=recorded(curves={"distilled": replace(STOPPED, slope=0.0)})),
    ),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


def test_a_rise_as_the_rate_falls_to_zero_is_no_early_stop():
    found = check_length(healthy(recorded_=recorded(curves={"distilled": RISING_TO_REST})))
    assert found is not None and found.severity == "fine"
