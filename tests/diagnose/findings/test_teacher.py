"""Findings about the teacher."""

import pytest
from tests.diagnose.example_evidence import arms, fitted, healthy, recorded, told
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.teacher import teacher_confidence, teacher_lead, teacher_quality

PLANTED: list[Planted] = [
    (teacher_lead, "cause", healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.74})))),
    (teacher_lead, "contributing", healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.758})))),
    (teacher_quality, "contributing", told(accuracy=0.85)),
    (teacher_quality, "cause", told(accuracy=0.5)),
    (teacher_confidence, "contributing", fitted(teacher={"train_accuracy": 1.0, "val_accuracy": 0.88, "val_confidence": 0.9})),
    (teacher_confidence, "contributing", fitted(teacher={"val_confidence": 0.75})),
    (teacher_confidence, "cause", fitted(teacher={"val_confidence": 0.55})),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)
