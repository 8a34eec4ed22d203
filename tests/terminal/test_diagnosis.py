"""The output of ``understudy diagnose``."""

import io

from rich.console import Console
from tests.diagnose.example_evidence import healthy, targets_of, without_weights

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import NEED_WEIGHTS
from understudy.terminal.diagnosis import terminal_text


def printed(evidence: Evidence) -> str:
    console = Console(file=io.StringIO(), width=400)
    console.print(terminal_text(Diagnosis.of("a run", evidence)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_finding_has_its_severity_evidence_reason_and_settings():
    lines = printed(targets_of(entropy_share=0.99)).splitlines()
    start = lines.index("contributing  The soft targets are almost uniform")
    evidence, reason, settings = lines[start + 1 : start + 4]
    assert evidence.startswith("  at T = 4 the soft targets have an entropy of")
    assert reason.startswith("  why: the temperature hides what the teacher knows")
    assert settings.rstrip() == "  try: method.temperature=2"


def test_fine_finding_has_evidence_only():
    text = printed(healthy())
    assert "fine  Soft targets" in text and "why:" not in text and "try:" not in text


def test_what_is_unknown_without_weights_is_listed():
    heading = "This run has no weights."
    assert heading not in printed(healthy())
    text = printed(without_weights())
    assert heading in text and all(f"  - {missing}" in text for missing in NEED_WEIGHTS.values())
