"""A diagnosis that follows from evidence alone."""

from dataclasses import replace

from tests.diagnose.example_evidence import TARGETS, arms, healthy, recorded, without_weights

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import NEED_WEIGHTS
from understudy.evaluation.gain import gain_over_seeds

NO_GAIN = recorded(gain=gain_over_seeds([0.73, 0.74, 0.75], [0.75, 0.75, 0.75]))


def test_headline_counts_the_causes():
    weak = replace(NO_GAIN, arms=arms(teacher={"val_accuracy": 0.74}))
    one = Diagnosis.of("a run", healthy(recorded_=weak))
    assert one.headline == "1 likely cause: The teacher is no better than the baseline."
    evidence = healthy(recorded_=weak)
    assert evidence.measured is not None
    uniform = replace(evidence.measured, targets=replace(TARGETS, entropy_share=0.99))
    two = Diagnosis.of("a run", replace(evidence, measured=uniform))
    assert two.headline.startswith("2 likely causes: The teacher is no better than the baseline; ")


def test_headline_without_a_cause():
    assert Diagnosis.of("a run", healthy()).headline == (
        "Distillation helped: there is nothing to explain."
    )
    assert Diagnosis.of("a run", healthy(recorded_=NO_GAIN)).headline == (
        "No single cause found; contributing: The effect is smaller than the seed noise."
    )


def test_unknown_findings_are_listed_only_without_weights():
    assert Diagnosis.of("a run", healthy()).needs_weights == {}
    assert Diagnosis.of("a run", without_weights()).needs_weights == NEED_WEIGHTS


def test_evidence_round_trips_through_plain_values():
    for evidence in (healthy(), without_weights()):
        assert Evidence.from_mapping(evidence.to_mapping(), "diagnosis.json") == evidence
