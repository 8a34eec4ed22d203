"""The diagnosis page as people see it."""

from pathlib import Path
from typing import Any

import pytest
from tests.diagnose.example_evidence import healthy, without_weights
from tests.report.page_checks import check_on_a_phone

from understudy.diagnose.diagnosis import Diagnosis, write_diagnosis
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import NEED_WEIGHTS, diagnose
from understudy.diagnose.findings.finding import Finding


def page_of(evidence: Evidence, folder: Path, findings: tuple[Finding, ...] | None = None) -> Path:
    missing = NEED_WEIGHTS if evidence.measured is None else {}
    found = tuple(diagnose(evidence)) if findings is None else findings
    return write_diagnosis(
        Diagnosis("a run", "distilled is better", found, missing, evidence), folder
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_on_a_phone(tmp_path: Path, chromium: Any, scheme: str):
    long = (
        "student.model.options.dropout1=0 and a setting longer than_a_telephone_is_wide_without_a_place_to_break"
        * 2
    )
    worst = Finding("fit", "A cause", "cause", "seen " * 40, "because", (long,))
    check_on_a_phone(page_of(healthy(), tmp_path, (worst, *diagnose(healthy()))), chromium, scheme)


def test_causes_come_first_with_what_to_change_and_words_are_escaped(tmp_path: Path):
    fine = Finding("pace", "Fine thing", "fine", "as it should be", "nothing to do")
    cause = Finding(
        "fit", "A <b>cause</b>", "cause", "seen & weighed", "because", ("train.epochs=30",)
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


def test_what_needs_weights_is_said_where_they_are_gone(tmp_path: Path):
    heading = "Not known without weights"
    page = page_of(without_weights(), tmp_path / "gone").read_text()
    assert heading in page and page.count("<li>") >= len(NEED_WEIGHTS)
    assert heading not in page_of(healthy(), tmp_path / "there").read_text()
