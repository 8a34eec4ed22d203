"""Findings about the soft term."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    PULLS,
    TARGETS,
    arms,
    config,
    healthy,
    measured,
    pulled,
    recorded,
    told,
    without_weights,
)
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.soft_term import gradient, label_smoothing, options, targets

OFTEN_WRONG_AND_ALONE = measured(
    gradients=replace(PULLS, shares={"ce": 0.02, "kd": 0.98}),
    targets=replace(TARGETS, accuracy=0.85),
)

PLANTED: list[Planted] = [
    (gradient, "cause", pulled(shares={"ce": 1.0}, norms={"ce": 1.0}, cosine=None)),
    (gradient, "cause", pulled(shares={"ce": 0.96, "kd": 0.04})),
    (gradient, "contributing", pulled(cosine=-0.2)),
    (gradient, "contributing", healthy(measured_=OFTEN_WRONG_AND_ALONE)),
    (
        gradient,
        "cause",
        without_weights(
            recorded_=recorded(curves={"distilled": replace(CURVE, terms={"ce": 0.3})})
        ),
    ),
    (gradient, "cause", without_weights(recorded_=recorded(alpha=0.01))),
    (targets, "cause", told(entropy_share=0.99)),
    (targets, "cause", told(off_top=0.01)),
    (label_smoothing, "contributing", healthy(config(teacher={"train": {"label_smoothing": 0.1}}))),
    (
        label_smoothing,
        "contributing",
        healthy(config(train={"label_smoothing": 0.1}, teacher={"path": "given"})),
    ),
    (options, "contributing", healthy(recorded_=recorded(temperature=50.0))),
    (options, "contributing", healthy(recorded_=recorded(temperature=0.5))),
    (
        options,
        "contributing",
        healthy(recorded_=recorded(alpha=1.0, arms=arms(teacher={"val_accuracy": 0.85}))),
    ),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)


def test_a_share_says_which_terms_it_leaves_out():
    found = gradient(pulled(left_out="the terms of crd"))
    assert found is not None and found.evidence.endswith("not measured: the terms of crd")


def test_a_faint_share_is_not_called_the_cause_while_another_term_is_unmeasured():
    faint = {"ce": 0.96, "kd": 0.04}
    assert gradient(pulled(shares=faint, left_out="the terms of crd")) is None
    found = gradient(pulled(shares=faint))
    assert found is not None and found.severity == "cause"
