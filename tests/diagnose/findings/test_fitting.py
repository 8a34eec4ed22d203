"""Findings about the student and its training images."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    arms,
    config,
    fits,
    fitted,
    healthy,
    measured,
    recorded,
    without_weights,
)
from tests.diagnose.findings.planted import Planted, Question, check_named

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Severity
from understudy.diagnose.findings.fitting import dropout, fit

UNDERFITTING = fits(
    baseline={"train_accuracy": 0.755}, distilled={"train_accuracy": 0.76, "dropout_accuracy": 0.70}
)
RUINED = fits(
    baseline={"train_accuracy": 0.755}, distilled={"train_accuracy": 0.76, "dropout_accuracy": 0.60}
)
BLURRED = fits(distilled={"dropout_accuracy": 0.8})

PLANTED: list[Planted] = [
    (
        dropout,
        "contributing",
        healthy(recorded_=recorded(dropout={"drop": 0.5}), measured_=measured(fits=UNDERFITTING)),
    ),
    (
        dropout,
        "cause",
        healthy(recorded_=recorded(dropout={"drop": 0.9}), measured_=measured(fits=RUINED)),
    ),
    (
        dropout,
        "contributing",
        healthy(recorded_=recorded(dropout={"drop": 0.5}), measured_=measured(fits=BLURRED)),
    ),
    (fit, "contributing", healthy(measured_=measured(fits=UNDERFITTING))),
    (fit, "contributing", fitted(baseline={"train_accuracy": 0.79})),
    (fit, "contributing", fitted(baseline={"train_accuracy": 0.99})),
]


@pytest.mark.parametrize(("question", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(question: Question, severity: Severity, evidence: Evidence):
    check_named(question, severity, evidence)


def test_dropout_is_seen_in_the_history_where_validation_beats_the_training_batches():
    behind = replace(CURVE, train_accuracy=(0.5, 0.7), val_accuracy=(0.5, 0.72))
    evidence = without_weights(
        recorded_=recorded(dropout={"d": 0.5}, dropout_options=("p",), curves={"distilled": behind})
    )
    found = dropout(evidence)
    assert found.title == "Dropout on a student that under-fits" and found.change == (
        "student.model.options.p=0",
    )


def test_without_weights_underfitting_is_only_a_suspicion():
    low = replace(CURVE, train_accuracy=(0.5, 0.74))
    found = fit(without_weights(recorded_=recorded(curves={"baseline": low})))
    assert found is not None and found.severity == "contributing"


def test_dropout_alone_is_no_proof_of_underfitting():
    found = dropout(without_weights(recorded_=recorded(dropout={"d": 0.5}, curves={})))
    assert found.severity == "contributing" and "under-fits" not in found.title + found.cause


def test_a_gap_has_its_unit_where_the_error_is_too_small_to_be_divided():
    found = fit(healthy(recorded_=recorded(arms=arms(baseline={"val_accuracy": 0.99}))))
    assert found is not None and found.severity == "fine" and found.evidence.endswith("points")


def test_batches_of_mixed_images_do_not_say_that_the_student_underfits():
    low = replace(CURVE, train_accuracy=(0.5, 0.6))
    seen = recorded(dropout={"d": 0.5}, curves={"baseline": low, "distilled": low})
    mixed = without_weights(config(data={"augment": {"mix": "mixup"}}), seen)
    assert (
        "under-fits" in dropout(without_weights(recorded_=seen)).title
        and "under-fits" not in dropout(mixed).title
    )
    assert fit(mixed) is None
