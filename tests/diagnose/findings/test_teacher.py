"""Findings about the teacher."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    arms,
    config,
    fits_of,
    healthy,
    recorded,
    targets_of,
    without_weights,
)
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.teacher import (
    check_teacher_confidence,
    check_teacher_lead,
    check_teacher_quality,
)

PLANTED: list[Planted] = [
    (
        check_teacher_lead,
        "none",
        "cause",
        healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.74}))),
    ),
    (
        check_teacher_lead,
        "small",
        "contributing",
        healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.758}))),
    ),
    (check_teacher_quality, "wrong", "cause", targets_of(accuracy=0.85)),
    (
        check_teacher_confidence,
        "memorised",
        "contributing",
        fits_of(teacher={"train_accuracy": 1.0, "val_accuracy": 0.88, "val_confidence": 0.9}),
    ),
    (check_teacher_confidence, "unsure", "contributing", fits_of(teacher={"val_confidence": 0.75})),
    (check_teacher_confidence, "unsure", "cause", fits_of(teacher={"val_confidence": 0.55})),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


def test_accuracy_on_mixed_batches_is_not_a_share_of_wrong_targets():
    half_right = recorded(curves={"teacher": replace(CURVE, train_accuracy=(0.4, 0.5))})
    found = check_teacher_quality(without_weights(recorded_=half_right))
    assert found is not None and found.severity == "cause"
    mixed = config(data={"augment": {"mix": "cutmix"}})
    assert check_teacher_quality(without_weights(mixed, half_right)) is None
