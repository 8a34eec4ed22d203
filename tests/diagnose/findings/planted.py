"""What every rule has to do on planted evidence."""

from tests.diagnose.example_evidence import healthy

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import RULES
from understudy.diagnose.findings.finding import Check, Severity

Planted = tuple[Check, str, Severity, Evidence]
"""A check, the outcome expected on the evidence, its severity, the evidence."""

RULE_OF = {check: rule for rule, check in RULES}


def assert_found(check: Check, outcome: str, severity: Severity, evidence: Evidence) -> None:
    """The rule finds the planted problem, with numbers and settings; a healthy run is fine."""
    rule, found, in_order = RULE_OF[check], check(evidence), check(healthy())
    assert found is not None and in_order is not None
    assert (found.key, found.severity) == (rule.key, severity)
    expected = rule.outcomes[outcome]
    assert (found.title, found.cause) == (expected.title, expected.why)
    assert any(character.isdigit() for character in found.evidence), "evidence has numbers"
    assert found.change or found.key == "noise", (
        "a finding has settings to try; only for noise, more seeds may be too many"
    )
    assert (in_order.key, in_order.severity) == (rule.key, "fine")
