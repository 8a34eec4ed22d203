"""Findings about the student and its training images."""

from dataclasses import replace

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    arms,
    config,
    fits,
    fits_of,
    healthy,
    measured,
    recorded,
    without_weights,
)
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.fitting import check_dropout, check_fit

UNDERFITTING = fits(
    baseline={"train_accuracy": 0.755}, distilled={"train_accuracy": 0.76, "dropout_accuracy": 0.70}
)
RUINED = fits(
    baseline={"train_accuracy": 0.755}, distilled={"train_accuracy": 0.76, "dropout_accuracy": 0.60}
)
BLURRED = fits(distilled={"dropout_accuracy": 0.8})

PLANTED: list[Planted] = [
    (
        check_dropout,
        "underfits",
        "contributing",
        healthy(recorded_=recorded(dropout={"drop": 0.5}), measured_=measured(fits=UNDERFITTING)),
    ),
    (
        check_dropout,
        "underfits",
        "cause",
        healthy(recorded_=recorded(dropout={"drop": 0.9}), measured_=measured(fits=RUINED)),
    ),
    (
        check_dropout,
        "noise",
        "contributing",
        healthy(recorded_=recorded(dropout={"drop": 0.5}), measured_=measured(fits=BLURRED)),
    ),
    (check_fit, "under", "contributing", healthy(measured_=measured(fits=UNDERFITTING))),
    (check_fit, "under", "contributing", fits_of(baseline={"train_accuracy": 0.79})),
    (check_fit, "over", "contributing", fits_of(baseline={"train_accuracy": 0.99})),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


def test_without_weights_dropout_shows_by_higher_validation():
    behind = replace(CURVE, train_accuracy=(0.5, 0.7), val_accuracy=(0.5, 0.72))
    evidence = without_weights(
        recorded_=recorded(dropout={"d": 0.5}, dropout_options=("p",), curves={"distilled": behind})
    )
    found = check_dropout(evidence)
    assert found.title == "Dropout on a student that under-fits" and found.change == (
        "student.model.options.p=0",
    )


def test_without_weights_underfitting_is_only_contributing():
    low = replace(CURVE, train_accuracy=(0.5, 0.74))
    found = check_fit(without_weights(recorded_=recorded(curves={"baseline": low})))
    assert found is not None and found.severity == "contributing"


def test_dropout_alone_is_not_called_underfitting():
    found = check_dropout(without_weights(recorded_=recorded(dropout={"d": 0.5}, curves={})))
    assert found.severity == "contributing" and "under-fits" not in found.title + found.cause


def test_gap_has_a_unit_if_the_validation_error_is_tiny():
    found = check_fit(healthy(recorded_=recorded(arms=arms(baseline={"val_accuracy": 0.99}))))
    assert found is not None and found.severity == "fine" and found.evidence.endswith("points")


def test_accuracy_on_mixed_batches_is_not_called_underfitting():
    low = replace(CURVE, train_accuracy=(0.5, 0.6))
    seen = recorded(dropout={"d": 0.5}, curves={"baseline": low, "distilled": low})
    mixed = without_weights(config(data={"augment": {"mix": "mixup"}}), seen)
    assert (
        "under-fits" in check_dropout(without_weights(recorded_=seen)).title
        and "under-fits" not in check_dropout(mixed).title
    )
    assert check_fit(mixed) is None


def test_dropout_that_costs_little_is_fine():
    found = check_dropout(healthy(recorded_=recorded(dropout={"drop": 0.1})))
    assert found.severity == "fine" and "drop 0.1" in found.evidence
