"""Findings about the soft term."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    GRADIENTS,
    TARGETS,
    arms,
    config,
    gradients_of,
    healthy,
    measured,
    recorded,
    targets_of,
    without_weights,
)
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.soft_loss import (
    check_gradient,
    check_label_smoothing,
    check_options,
    check_targets,
)

OFTEN_WRONG_AND_ALONE = measured(
    gradients=replace(GRADIENTS, shares={"ce": 0.02, "kd": 0.98}),
    targets=replace(TARGETS, accuracy=0.85),
)

PLANTED: list[Planted] = [
    (
        check_gradient,
        "none",
        "cause",
        gradients_of(shares={"ce": 1.0}, norms={"ce": 1.0}, cosine=None),
    ),
    (check_gradient, "faint", "cause", gradients_of(shares={"ce": 0.96, "kd": 0.04})),
    (check_gradient, "conflict", "contributing", gradients_of(cosine=-0.2)),
    (check_gradient, "labels_faint", "contributing", healthy(measured_=OFTEN_WRONG_AND_ALONE)),
    (
        check_gradient,
        "none",
        "cause",
        without_weights(
            recorded_=recorded(curves={"distilled": replace(CURVE, terms={"ce": 0.3})})
        ),
    ),
    (check_gradient, "low_alpha", "cause", without_weights(recorded_=recorded(alpha=0.01))),
    (check_targets, "uniform", "cause", targets_of(entropy_share=0.99)),
    (check_targets, "one_hot", "cause", targets_of(off_top=0.01)),
    (
        check_label_smoothing,
        "teacher",
        "contributing",
        healthy(config(teacher={"train": {"label_smoothing": 0.1}})),
    ),
    (
        check_label_smoothing,
        "student",
        "contributing",
        healthy(config(train={"label_smoothing": 0.1}, teacher={"path": "given"})),
    ),
    (check_options, "temperature", "contributing", healthy(recorded_=recorded(temperature=50.0))),
    (check_options, "temperature", "contributing", healthy(recorded_=recorded(temperature=0.5))),
    (
        check_options,
        "no_labels",
        "contributing",
        healthy(recorded_=recorded(alpha=1.0, arms=arms(teacher={"val_accuracy": 0.85}))),
    ),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


def test_gradient_shares_name_unmeasured_terms():
    found = check_gradient(gradients_of(left_out="the terms of crd"))
    assert found is not None and found.evidence.endswith("not measured: the terms of crd")


def test_small_share_is_not_a_cause_while_a_term_is_unmeasured():
    faint = {"ce": 0.96, "kd": 0.04}
    assert check_gradient(gradients_of(shares=faint, left_out="the terms of crd")) is None
    found = check_gradient(gradients_of(shares=faint))
    assert found is not None and found.severity == "cause"
