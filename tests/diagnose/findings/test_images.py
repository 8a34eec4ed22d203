"""Findings about the images."""

import pytest
from tests.diagnose.example_evidence import config, healthy, measured, told
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.images import augmentation, normalisation

PLANTED: list[Planted] = [
    (normalisation, "contributing", healthy(measured_=measured(input_mean=(2.0, 0.0, 0.0)))),
    (normalisation, "contributing", healthy(measured_=measured(input_std=(1.0, 0.2, 1.0)))),
    (
        normalisation,
        "cause",
        healthy(measured_=measured(normalisations={"as configured": 0.7, "ImageNet": 0.9})),
    ),
    (
        augmentation,
        "contributing",
        healthy(config(data={"augment": {"padding": 0, "flip": False}})),
    ),
    (augmentation, "contributing", told(accuracy=0.80)),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)
