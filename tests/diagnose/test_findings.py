"""Each finding on planted evidence: it appears when its number crosses the threshold, and only then."""

from dataclasses import replace
from typing import Any

import pytest
from tests.diagnose.example_evidence import (
    CURVE,
    PULLS,
    TARGETS,
    config,
    fits,
    healthy,
    measured,
    recorded,
    without_weights,
)

from understudy.diagnose import findings as ask
from understudy.diagnose.evidence import Evidence, Standing
from understudy.statistics import paired_gain

UNDERFITTING = fits(baseline={"train_accuracy": 0.755}, distilled={"train_accuracy": 0.76, "dropout_accuracy": 0.70})
STOPPED = replace(CURVE, lr=(1.0, 0.5, 0.25, 0.25), slope=0.004, slope_error=0.001)
RISING_TO_REST = replace(CURVE, lr=(0.5, 1.0, 0.5, 0.0), slope=0.004, slope_error=0.001)


def arms(**changes: dict[str, float]) -> dict[str, Standing]:
    return {role: replace(arm, **changes.get(role, {})) for role, arm in recorded().arms.items()}


def told(**changes: Any) -> Evidence:
    return healthy(measured_=measured(targets=replace(TARGETS, **changes)))


def pulled(**changes: Any) -> Evidence:
    return healthy(measured_=measured(gradients=replace(PULLS, **changes)))


def test_a_run_in_order_has_neither_cause_nor_contribution():
    found = ask.diagnose(healthy())
    # The capacity finding compares with the teacher: 7 points behind it is within bounds.
    assert [(f.key, f.severity) for f in found if f.severity != "fine"] == []
    assert {f.key for f in found} == {question.__name__ for question in ask.QUESTIONS}


PLANTED: list[tuple[str, str, Evidence]] = [
    ("gradient", "cause", pulled(shares={"ce": 1.0}, norms={"ce": 1.0}, cosine=None)),
    ("gradient", "cause", pulled(shares={"ce": 0.96, "kd": 0.04})),
    ("gradient", "contributing", pulled(cosine=-0.2)),
    (
        "gradient",
        "contributing",
        healthy(
            measured_=measured(
                gradients=replace(PULLS, shares={"ce": 0.02, "kd": 0.98}), targets=replace(TARGETS, accuracy=0.85)
            )
        ),
    ),
    ("gradient", "cause", without_weights(recorded_=recorded(curves={"distilled": replace(CURVE, terms={"ce": 0.3})}))),
    ("gradient", "cause", without_weights(recorded_=recorded(alpha=0.01))),
    ("teacher_lead", "cause", healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.74})))),
    ("teacher_lead", "contributing", healthy(recorded_=recorded(arms=arms(teacher={"val_accuracy": 0.758})))),
    ("targets", "cause", told(entropy_share=0.99)),
    ("targets", "cause", told(off_top=0.01)),
    ("teacher_quality", "contributing", told(accuracy=0.85)),
    ("teacher_quality", "cause", told(accuracy=0.5)),
    (
        "teacher_confidence",
        "contributing",
        healthy(measured_=measured(fits=fits(teacher={"train_accuracy": 1.0, "val_accuracy": 0.88, "val_confidence": 0.9}))),
    ),
    ("teacher_confidence", "contributing", healthy(measured_=measured(fits=fits(teacher={"val_confidence": 0.75})))),
    ("teacher_confidence", "cause", healthy(measured_=measured(fits=fits(teacher={"val_confidence": 0.55})))),
    ("label_smoothing", "contributing", healthy(config(teacher={"train": {"label_smoothing": 0.1}}))),
    ("label_smoothing", "contributing", healthy(config(train={"label_smoothing": 0.1}, teacher={"path": "given"}))),
    ("dropout", "cause", healthy(recorded_=recorded(dropout={"drop": 0.5}), measured_=measured(fits=UNDERFITTING))),
    (
        "dropout",
        "contributing",
        healthy(recorded_=recorded(dropout={"drop": 0.5}), measured_=measured(fits=fits(distilled={"dropout_accuracy": 0.8}))),
    ),
    ("fit", "cause", healthy(measured_=measured(fits=UNDERFITTING))),
    ("fit", "contributing", healthy(measured_=measured(fits=fits(baseline={"train_accuracy": 0.79})))),
    ("fit", "contributing", healthy(measured_=measured(fits=fits(baseline={"train_accuracy": 0.99})))),
    ("pace", "cause", healthy(measured_=measured(fits=fits(distilled={"train_accuracy": 0.77})))),
    ("pace", "contributing", healthy(measured_=measured(fits=fits(distilled={"train_accuracy": 0.81})))),
    ("capacity", "contributing", healthy(measured_=measured(fits=fits(teacher={"train_accuracy": 0.97})))),
    ("agreement", "contributing", healthy(recorded_=recorded(arms=arms(distilled={"teacher_kl": 0.39})))),
    ("agreement", "contributing", healthy(recorded_=recorded(arms=arms(distilled={"agreement": 0.70})))),
    ("length", "cause", healthy(recorded_=recorded(curves={"baseline": STOPPED, "distilled": STOPPED}))),
    ("length", "contributing", healthy(recorded_=recorded(curves={"distilled": replace(STOPPED, lr=(1.0, 0.1))}))),
    ("normalisation", "contributing", healthy(measured_=measured(input_mean=(2.0, 0.0, 0.0)))),
    ("normalisation", "contributing", healthy(measured_=measured(input_std=(1.0, 0.2, 1.0)))),
    ("normalisation", "cause", healthy(measured_=measured(normalisations={"as configured": 0.7, "ImageNet": 0.9}))),
    ("augmentation", "contributing", healthy(config(data={"augment": {"padding": 0, "flip": False}}))),
    ("augmentation", "contributing", told(accuracy=0.80)),
    ("options", "contributing", healthy(recorded_=recorded(temperature=50.0))),
    ("options", "contributing", healthy(recorded_=recorded(temperature=0.5))),
    ("options", "contributing", healthy(recorded_=recorded(alpha=1.0, arms=arms(teacher={"val_accuracy": 0.85})))),
    ("noise", "cause", healthy(recorded_=recorded(gain=paired_gain([0.78], [0.75])))),
    ("noise", "cause", healthy(recorded_=recorded(gain=paired_gain([0.77, 0.76, 0.75], [0.75, 0.75, 0.75])))),
    ("noise", "contributing", healthy(recorded_=recorded(gain=paired_gain([0.73, 0.74, 0.75], [0.75, 0.75, 0.75])))),
]  # fmt: skip


@pytest.mark.parametrize(("key", "severity", "evidence"), PLANTED)
def test_planted_evidence_is_named(key: str, severity: str, evidence: Evidence):
    question = getattr(ask, key)
    found = question(evidence)
    assert (found.key, found.severity) == (key, severity)
    assert found.evidence and any(c.isdigit() for c in found.evidence), "evidence has numbers"
    assert found.change or key == "noise"
    assert question(healthy()).severity == "fine"


def test_a_finding_that_needs_weights_is_not_guessed_without_them():
    found = {f.key for f in ask.diagnose(without_weights())}
    assert not found & {"targets", "teacher_confidence", "normalisation"}
    assert set(ask.NEED_WEIGHTS) <= {question.__name__ for question in ask.QUESTIONS}


def test_dropout_is_seen_in_the_history_where_validation_beats_the_training_batches():
    behind = replace(CURVE, train_accuracy=(0.5, 0.7), val_accuracy=(0.5, 0.72))
    evidence = without_weights(recorded_=recorded(dropout={"d": 0.5}, dropout_options=("p",), curves={"distilled": behind}))
    found = ask.dropout(evidence)
    assert found.severity == "cause" and found.change == ("student.model.options.p=0",)


def test_without_weights_underfitting_is_only_a_suspicion():
    low = replace(CURVE, train_accuracy=(0.5, 0.74))
    assert ask.fit(without_weights(recorded_=recorded(curves={"baseline": low}))).severity == "contributing"


def test_accuracy_that_rose_while_the_rate_fell_to_zero_is_no_early_stop():
    assert ask.length(healthy(recorded_=recorded(curves={"distilled": RISING_TO_REST}))).severity == "fine"


def test_causes_come_first_and_are_none_where_distillation_helped():
    no_gain = paired_gain([0.75, 0.76, 0.74], [0.75, 0.75, 0.75])
    ill = measured(targets=replace(TARGETS, entropy_share=0.99))
    order = [ask.ORDER.index(f.severity) for f in ask.diagnose(healthy(recorded_=recorded(gain=no_gain), measured_=ill))]
    assert order == sorted(order) and order[0] == 0
    helped = ask.diagnose(healthy(measured_=ill))  # the healthy gain's interval lies above zero
    assert helped[0].key == "targets" and helped[0].severity == "contributing"


def test_seeds_needed_shrink_with_the_gain_and_have_an_end():
    few, many = ask.seeds_needed(0.02, 0.01), ask.seeds_needed(0.005, 0.01)
    assert few is not None and many is not None and 2 < few < many
    # The normal approximation: ((1.96 + 0.84) * std / gain)^2 = 31.4; t needs a little more.
    assert 31 <= many <= 35
    assert ask.seeds_needed(0.02, 0.0) == 2
    assert ask.seeds_needed(0.0, 0.01) is None


def test_a_negative_zero_has_no_minus():
    assert ask._points(-0.0001) == "+0.0"
