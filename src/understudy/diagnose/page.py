"""A diagnosis as one self-contained page, in the style of the report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from understudy.diagnose.diagnosis import Diagnosis
from understudy.report.render import render

if TYPE_CHECKING:
    from understudy.report.drawing import Drawing

SEVERITY_COLOURS = {"cause": "#D55E00", "contributing": "#D98200", "fine": "#009E73"}
HEADINGS = {
    "cause": "Likely causes",
    "contributing": "Contributing",
    "fine": "In order",
}


def render_page(diagnosis: Diagnosis, drawings: "Sequence[Drawing]") -> str:
    """The text of ``diagnosis.html``: findings with evidence and settings, what is not known, and the figures."""
    groups = [
        {
            "heading": HEADINGS[severity],
            "colour": colour,
            "open": severity != "fine",
            "findings": [f for f in diagnosis.findings if f.severity == severity],
        }
        for severity, colour in SEVERITY_COLOURS.items()
    ]
    return render(
        "diagnosis.html.j2",
        drawings,
        package="understudy.diagnose",
        name=f"{diagnosis.name}: diagnosis",
        verdict=diagnosis.verdict[0].upper() + diagnosis.verdict[1:],
        headline=diagnosis.headline,
        groups=[g for g in groups if g["findings"]],
        needs_weights=list(diagnosis.needs_weights.values()),
    )
