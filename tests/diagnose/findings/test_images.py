"""Findings about the images."""

import pytest
from tests.diagnose.example_evidence import config, healthy, measured, targets_of
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.images import check_augmentation, check_normalisation

PLANTED: list[Planted] = [
    (
        check_normalisation,
        "off",
        "contributing",
        healthy(measured_=measured(input_mean=(2.0, 0.0, 0.0))),
    ),
    (
        check_normalisation,
        "off",
        "contributing",
        healthy(measured_=measured(input_std=(1.0, 0.2, 1.0))),
    ),
    (
        check_normalisation,
        "wrong",
        "cause",
        healthy(measured_=measured(normalisations={"as configured": 0.7, "ImageNet": 0.9})),
    ),
    (
        check_augmentation,
        "none",
        "contributing",
        healthy(config(data={"augment": {"padding": 0, "flip": False}})),
    ),
    (check_augmentation, "too_strong", "contributing", targets_of(accuracy=0.80)),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)
