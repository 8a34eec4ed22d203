"""All rules together: their order and documentation, a healthy run, a run without weights."""

import re
import runpy
from dataclasses import replace
from pathlib import Path

from tests.diagnose.example_evidence import TARGETS, healthy, measured, recorded, without_weights

from understudy.diagnose.findings import NEED_WEIGHTS, RULES, apply_rules
from understudy.diagnose.findings.finding import ORDER
from understudy.evaluation.gain import gain_over_seeds

DOCS = Path(__file__).parents[3] / "docs"


def test_healthy_run_has_only_fine_findings():
    found = apply_rules(healthy())
    # The capacity finding compares with the teacher: 7 points behind it is within bounds.
    assert [(f.key, f.severity) for f in found if f.severity != "fine"] == []
    assert [f.key for f in found] == [rule.key for rule, _ in RULES]


def test_documentation_is_what_the_rules_say():
    written = runpy.run_path(str(DOCS / "write_diagnosis.py"))
    text = (DOCS / "diagnosis.md").read_text(encoding="utf-8")
    assert text == written["page"](), "run python docs/write_diagnosis.py"
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [rule.key for rule, _ in RULES]


def test_outcomes_are_as_severe_as_the_documentation_of_the_rule():
    for rule, _ in RULES:
        worst = {outcome.severity for outcome in rule.outcomes.values()}
        assert "fine" in worst, f"{rule.key} can be in order"
        assert "cause" not in worst or rule.cause, rule.key
        assert "contributing" not in worst or rule.contributing, rule.key


def test_finding_that_needs_weights_is_missing_without_them():
    found = {f.key for f in apply_rules(without_weights())}
    assert not found & {"targets", "teacher_confidence", "normalisation"}
    assert set(NEED_WEIGHTS) <= {rule.key for rule, _ in RULES}


def test_causes_come_first_and_contribute_if_a_student_gained():
    no_gain = gain_over_seeds([0.75, 0.76, 0.74], [0.75, 0.75, 0.75])
    ill = measured(targets=replace(TARGETS, entropy_share=0.99))
    order = [
        ORDER.index(f.severity)
        for f in apply_rules(healthy(recorded_=recorded(gain=no_gain), measured_=ill))
    ]
    assert order == sorted(order) and order[0] == 0
    helped = apply_rules(healthy(measured_=ill))  # the healthy gain's interval lies above zero
    assert helped[0].key == "targets" and helped[0].severity == "contributing"
