"""Findings about the student and its teacher."""

import pytest
from tests.diagnose.example_evidence import arms, fitted, healthy, recorded
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.following import agreement, capacity, pace

PLANTED: list[Planted] = [
    (pace, "cause", fitted(distilled={"train_accuracy": 0.77})),
    (pace, "contributing", fitted(distilled={"train_accuracy": 0.81})),
    (capacity, "contributing", fitted(teacher={"train_accuracy": 0.97})),
    (
        agreement,
        "contributing",
        healthy(recorded_=recorded(arms=arms(distilled={"teacher_kl": 0.39}))),
    ),
    (
        agreement,
        "contributing",
        healthy(recorded_=recorded(arms=arms(distilled={"agreement": 0.70}))),
    ),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)


@pytest.mark.parametrize(
    ("parameters", "ratio"), [(4_000_000, "40 to 1"), (150_000, "1.5 to 1"), (70_000, "0.70 to 1")]
)
def test_sizes_are_compared_so_that_the_smaller_one_shows(parameters: int, ratio: str):
    found = capacity(healthy(recorded_=recorded(arms=arms(teacher={"parameters": parameters}))))
    assert found is not None and found.evidence.endswith(ratio)
