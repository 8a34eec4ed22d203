"""All questions together: their order, what they say of a run in order, and what they leave unsaid without weights."""

import re
from dataclasses import replace
from pathlib import Path

from tests.diagnose.example_evidence import TARGETS, healthy, measured, recorded, without_weights

from understudy.diagnose.findings import NEED_WEIGHTS, QUESTIONS, diagnose
from understudy.diagnose.findings.finding import ORDER
from understudy.evaluation.statistics import paired_gain

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "diagnosis.md"


def test_a_run_in_order_has_neither_cause_nor_contribution():
    found = diagnose(healthy())
    # The capacity finding compares with the teacher: 7 points behind it is within bounds.
    assert [(f.key, f.severity) for f in found if f.severity != "fine"] == []
    assert [f.key for f in found] == [question.__name__ for question in QUESTIONS]


def test_the_documentation_explains_every_finding_in_the_order_of_the_questions():
    rows = re.findall(r"^\| `(\w+)` \|", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [question.__name__ for question in QUESTIONS]


def test_a_finding_that_needs_weights_is_not_guessed_without_them():
    found = {f.key for f in diagnose(without_weights())}
    assert not found & {"targets", "teacher_confidence", "normalisation"}
    assert set(NEED_WEIGHTS) <= {question.__name__ for question in QUESTIONS}


def test_causes_come_first_and_are_none_where_distillation_helped():
    no_gain = paired_gain([0.75, 0.76, 0.74], [0.75, 0.75, 0.75])
    ill = measured(targets=replace(TARGETS, entropy_share=0.99))
    order = [
        ORDER.index(f.severity)
        for f in diagnose(healthy(recorded_=recorded(gain=no_gain), measured_=ill))
    ]
    assert order == sorted(order) and order[0] == 0
    helped = diagnose(healthy(measured_=ill))  # the healthy gain's interval lies above zero
    assert helped[0].key == "targets" and helped[0].severity == "contributing"
