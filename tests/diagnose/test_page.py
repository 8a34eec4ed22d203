"""The diagnosis page as people see it."""

from pathlib import Path
from typing import Any

import pytest
from tests.diagnose.example_evidence import healthy, without_weights
from tests.report.page_checks import check_on_a_phone

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import NEED_WEIGHTS, apply_rules
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.run import write_diagnosis


def page_of(evidence: Evidence, folder: Path, findings: tuple[Finding, ...] | None = None) -> Path:
    missing = NEED_WEIGHTS if evidence.measured is None else {}
    found = tuple(apply_rules(evidence)) if findings is None else findings
    return write_diagnosis(
        Diagnosis("a run", "distilled is better", found, missing, evidence), folder
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone(tmp_path: Path, chromium: Any, scheme: str):
    unbroken = "longer_than_a_telephone_is_wide_without_a_place_to_break"
    long = f"student.model.options.dropout1=0 and a setting {unbroken}" * 2
    worst = Finding(
        key="fit",
        title="A cause",
        severity="cause",
        evidence="seen " * 40,
        cause="because",
        change=(long,),
    )
    check_on_a_phone(
        page_of(healthy(), tmp_path, (worst, *apply_rules(healthy()))), chromium, scheme
    )


def test_causes_come_first_with_settings_and_text_is_escaped(tmp_path: Path):
    fine = Finding(
        key="pace",
        title="Fine thing",
        severity="fine",
        evidence="as it should be",
        cause="nothing to do",
    )
    cause = Finding(
        key="fit",
        title="A <b>cause</b>",
        severity="cause",
        evidence="seen & weighed",
        cause="because",
        change=("train.epochs=30",),
    )
    page = page_of(healthy(), tmp_path, (cause, fine)).read_text()
    assert (
        page.index("Likely causes")
        < page.index("train.epochs=30")
        < page.index("In order")
        < page.index("Fine thing")
    )
    assert "Contributing" not in page, "no heading without a finding"
    assert (
        "A &lt;b&gt;cause&lt;/b&gt;" in page and "Seen &amp; weighed" in page and "<b>" not in page
    )


def test_page_lists_what_is_unknown_without_weights(tmp_path: Path):
    heading = "Unknown without weights"
    page = page_of(without_weights(), tmp_path / "gone").read_text()
    assert heading in page and page.count("<li>") >= len(NEED_WEIGHTS)
    assert heading not in page_of(healthy(), tmp_path / "there").read_text()
