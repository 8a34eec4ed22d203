"""What every finding has to do on planted evidence."""

from collections.abc import Callable

from tests.diagnose.example_evidence import healthy

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding, Severity

Question = Callable[[Evidence], Finding | None]
Planted = tuple[Question, Severity, Evidence]


def check_named(question: Question, severity: Severity, evidence: Evidence) -> None:
    """The question names what was planted, with numbers and a setting to change, and finds a healthy run in order."""
    found, in_order = question(evidence), question(healthy())
    assert found is not None and in_order is not None
    assert (found.key, found.severity) == (question.__name__, severity)
    assert any(character.isdigit() for character in found.evidence), "evidence has numbers"
    assert found.change or found.key == "noise", (
        "a finding says what to try; of noise, more seeds may be too many"
    )
    assert in_order.severity == "fine"
