"""A diagnosis as one self-contained HTML page, in the style of the reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.findings.finding import Finding, Severity
from understudy.report.drawing import Drawing
from understudy.report.render import render


@dataclass(frozen=True)
class Group:
    """The findings of one severity on the page.

    Attributes:
        severity: of all of them.
        heading: above them.
        colour: of the line on their left.
        is_open: whether reason and settings are shown, and not only the evidence.
        findings: in the order of the diagnosis.
    """

    severity: Severity
    heading: str
    colour: str
    is_open: bool
    findings: tuple[Finding, ...] = ()


GROUPS = (
    Group("cause", "Likely causes", "#D55E00", True),
    Group("contributing", "Contributing", "#D98200", True),
    Group("fine", "In order", "#009E73", False),
)


def render_page(diagnosis: Diagnosis, drawings: Sequence[Drawing]) -> str:
    """The text of ``diagnosis.html``: findings, what is unknown without weights, and figures."""
    groups = [_with_findings(group, diagnosis.findings) for group in GROUPS]
    return render(
        "diagnosis.html.j2",
        drawings,
        package="understudy.diagnose",
        name=f"{diagnosis.name}: diagnosis",
        verdict=diagnosis.verdict[0].upper() + diagnosis.verdict[1:],
        headline=diagnosis.headline,
        groups=[group for group in groups if group.findings],
        needs_weights=list(diagnosis.needs_weights.values()),
    )


def _with_findings(group: Group, findings: Sequence[Finding]) -> Group:
    found = tuple(finding for finding in findings if finding.severity == group.severity)
    return Group(group.severity, group.heading, group.colour, group.is_open, found)
