"""Findings about the training's end."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import CURVE, healthy, recorded
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.schedule import length

STOPPED = replace(CURVE, lr=(1.0, 0.5, 0.25, 0.25), slope=0.004, slope_error=0.001)
RISING_TO_REST = replace(CURVE, lr=(0.5, 1.0, 0.5, 0.0), slope=0.004, slope_error=0.001)

PLANTED: list[Planted] = [
    (
        length,
        "contributing",
        healthy(recorded_=recorded(curves={"baseline": STOPPED, "distilled": STOPPED})),
    ),
    (
        length,
        "contributing",
        healthy(recorded_=recorded(curves={"distilled": replace(STOPPED, lr=(1.0, 0.1))})),
    ),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)


def test_accuracy_that_rose_while_the_rate_fell_to_zero_is_no_early_stop():
    found = length(healthy(recorded_=recorded(curves={"distilled": RISING_TO_REST})))
    assert found is not None and found.severity == "fine"
