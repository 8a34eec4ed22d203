"""From a run directory to its diagnosis: collect the evidence, ask every question, write the answers down."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from understudy.config.recipe import to_mapping
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings import NEED_WEIGHTS, diagnose
from understudy.diagnose.findings.finding import Finding
from understudy.errors import UnderstudyError
from understudy.files import to_json, write_bytes


@dataclass(frozen=True)
class Diagnosis:
    """The answer for one run.

    Attributes:
        name: of the run.
        verdict: what its statistics allow one to say about the gain.
        findings: causes first.
        needs_weights: what is not known because the run's weights are gone, by the finding's key; empty with weights.
        evidence: every number behind the findings.
    """

    name: str
    verdict: str
    findings: tuple[Finding, ...]
    needs_weights: Mapping[str, str]
    evidence: Evidence

    @property
    def headline(self) -> str:
        """One sentence: how many causes, and which."""
        causes = [f.title for f in self.findings if f.severity == "cause"]
        if causes:
            return (
                f"{len(causes)} likely cause{'s' if len(causes) > 1 else ''}: {'; '.join(causes)}."
            )
        gain = self.evidence.recorded.gain
        if gain.low is not None and gain.low > 0:
            return "Distillation helped: there is no cause to look for."
        parts = [f.title for f in self.findings if f.severity == "contributing"]
        return (
            f"No single cause found; contributing: {'; '.join(parts)}."
            if parts
            else "No cause found."
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as ``diagnosis.json`` holds them."""
        evidence = {
            "recorded": to_json(self.evidence.recorded),
            "measured": None if self.evidence.measured is None else to_json(self.evidence.measured),
            "config": to_mapping(self.evidence.config),
        }
        return {
            "schema": 1,
            "name": self.name,
            "verdict": self.verdict,
            "headline": self.headline,
            "findings": to_json(self.findings),
            "needs_weights": dict(self.needs_weights),
            "evidence": evidence,
        }


def diagnose_run(run: Path, *, data: str | None = None, device: str = "auto") -> Diagnosis:
    """Diagnose a finished run from its files and, where they are there, its weights and images. Opens no test image.

    Args:
        run: its directory.
        data: a local copy of the images, where it is not where the run found it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UnderstudyError: if it is no finished run, has no plain or distilled student, some of its weights are missing, or the
            images are not those it was trained on.
    """
    from understudy.diagnose.measure import has_weights, measure
    from understudy.diagnose.record import read_recorded
    from understudy.evaluation.statistics import verdict
    from understudy.runs.folder import load_run
    from understudy.runs.results import read_results
    from understudy.training.device import resolve_device

    where = resolve_device(device)
    config = load_run(run)
    _refuse_sweep(run)
    results = read_results(run)
    recorded = read_recorded(run, config, results)
    measured = None
    if has_weights(run, config):
        from understudy.data.prepare import prepare_data

        if data is not None:
            config = replace(config, data=replace(config.data, path=data))
        images, _ = prepare_data(config.data)
        if images.fingerprint != results.data.fingerprint:
            raise UnderstudyError(
                f"the images of {config.data.path or config.data.source} are not those {run} was trained on: give --data PATH"
            )
        measured = measure(run, config, images, where)
    evidence = Evidence(config, recorded, measured)
    return Diagnosis(
        name=results.name or run.name,
        verdict=verdict("distilled", recorded.gain),
        findings=tuple(diagnose(evidence)),
        needs_weights=NEED_WEIGHTS if measured is None else {},
        evidence=evidence,
    )


def _refuse_sweep(run: Path) -> None:
    """A sweep has no results of teacher, plain and distilled student seed by seed: only a run can be diagnosed."""
    from understudy.runs.results import load_results

    results = load_results(run) if (run / "results.json").exists() else {}
    if results.get("kind") != "sweep" and not (run / "sweep.json").exists():
        return
    values = (results.get("best") or {}).get("values") or {}
    winner = (
        shlex.join(f"{key}={json.dumps(value)}" for key, value in values.items()) or "KEY=VALUE"
    )
    raise UnderstudyError(
        f"{run} is a sweep's folder, and diagnose takes a run's: train its winner as one by "
        f"`understudy run {shlex.quote(str(run / 'config.yaml'))} {winner} --out FOLDER`, then diagnose FOLDER"
    )


def write_diagnosis(diagnosis: Diagnosis, run: Path) -> Path:
    """Write ``diagnosis.json``, ``figures/diagnosis_*`` and ``diagnosis.html`` into the run directory; the path of the page."""
    from understudy.diagnose.figures import draw_diagnosis
    from understudy.diagnose.page import render_page

    write_bytes(run / "diagnosis.json", as_json(diagnosis).encode())
    page = run / "diagnosis.html"
    write_bytes(
        page, render_page(diagnosis, draw_diagnosis(diagnosis.evidence, run / "figures")).encode()
    )
    return page


def as_json(diagnosis: Diagnosis) -> str:
    """The text of ``diagnosis.json``."""
    return json.dumps(diagnosis.to_mapping(), indent=1, ensure_ascii=False) + "\n"
