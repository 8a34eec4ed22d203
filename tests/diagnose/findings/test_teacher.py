"""Findings about the teacher."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    arms,
    config,
    fitted,
    healthy,
    recorded,
    told,
    without_weights,
)
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.teacher import teacher_confidence, teacher_lead, teacher_quality

PLANTED: list[Planted] = [
    (teacher_lead, "cause", healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.74})))),
    (
        teacher_lead,
        "contributing",
        healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.758}))),
    ),
    (teacher_quality, "cause", told(accuracy=0.85)),
    (
        teacher_confidence,
        "contributing",
        fitted(teacher={"train_accuracy": 1.0, "val_accuracy": 0.88, "val_confidence": 0.9}),
    ),
    (teacher_confidence, "contributing", fitted(teacher={"val_confidence": 0.75})),
    (teacher_confidence, "cause", fitted(teacher={"val_confidence": 0.55})),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)


def test_batches_of_mixed_images_do_not_say_how_often_the_teacher_is_wrong():
    half_right = recorded(curves={"teacher": replace(CURVE, train_accuracy=(0.4, 0.5))})
    found = teacher_quality(without_weights(recorded_=half_right))
    assert found is not None and found.severity == "cause"
    assert (
        teacher_quality(without_weights(config(data={"augment": {"mix": "cutmix"}}), half_right))
        is None
    )
