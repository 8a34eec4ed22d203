"""The diagnosis of one run: findings, and the evidence behind them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import NEED_WEIGHTS, apply_rules
from understudy.diagnose.findings.finding import Finding
from understudy.evaluation.verdict import sentence
from understudy.files import to_json


@dataclass(frozen=True)
class Diagnosis:
    """Why distillation did, or did not, help in one run.

    Attributes:
        name: of the run.
        verdict: what the paired gain allows one to conclude.
        findings: causes first.
        needs_weights: finding -> what is unknown without the run's weights; empty with weights.
        evidence: every number behind the findings.
    """

    name: str
    verdict: str
    findings: tuple[Finding, ...]
    needs_weights: Mapping[str, str]
    evidence: Evidence

    @classmethod
    def of(cls, name: str, evidence: Evidence) -> "Diagnosis":
        """The diagnosis that follows from the evidence alone."""
        return cls(
            name=name,
            verdict=sentence("distilled", evidence.recorded.gain),
            findings=tuple(apply_rules(evidence)),
            needs_weights=NEED_WEIGHTS if evidence.measured is None else {},
            evidence=evidence,
        )

    @property
    def headline(self) -> str:
        """One sentence: how many causes, and which."""
        causes = [finding.title for finding in self.findings if finding.severity == "cause"]
        if causes:
            plural = "s" if len(causes) > 1 else ""
            return f"{len(causes)} likely cause{plural}: {'; '.join(causes)}."
        if self.evidence.helped:
            return "Distillation helped: there is nothing to explain."
        parts = [finding.title for finding in self.findings if finding.severity == "contributing"]
        if parts:
            return f"No single cause found; contributing: {'; '.join(parts)}."
        return "No cause found."

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as in ``diagnosis.json``."""
        return {
            "schema": 1,
            "name": self.name,
            "verdict": self.verdict,
            "headline": self.headline,
            "findings": to_json(self.findings),
            "needs_weights": dict(self.needs_weights),
            "evidence": self.evidence.to_mapping(),
        }

    def to_json_text(self) -> str:
        """The text of ``diagnosis.json``."""
        return json.dumps(self.to_mapping(), indent=1, ensure_ascii=False) + "\n"
