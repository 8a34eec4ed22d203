"""A diagnosis as text for the terminal."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.findings.finding import Finding, Severity


@dataclass(frozen=True)
class Label:
    """The word for a severity and its rich style."""

    text: str
    style: str


LABELS: dict[Severity, Label] = {
    "cause": Label("CAUSE", "bold red"),
    "contributing": Label("contributing", "bold yellow"),
    "fine": Label("fine", "green"),
}


def terminal_text(diagnosis: Diagnosis) -> Group:
    """The output of ``understudy diagnose``: verdict, headline, findings, what needs weights."""
    return Group(*_parts(diagnosis))


def _parts(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    yield Text(diagnosis.verdict, style="bold")
    yield Text(diagnosis.headline)
    for finding in diagnosis.findings:
        label = LABELS[finding.severity]
        yield Text()
        yield Text.assemble((label.text, label.style), "  ", (finding.title, "bold"))
        yield Padding(_body(finding), (0, 0, 0, 2))
    if diagnosis.needs_weights:
        yield Text()
        yield Text(
            "This run has no weights. So the following is unknown, or only known from its history:",
            style="bold",
        )
        for missing in diagnosis.needs_weights.values():
            yield Padding(Text(f"- {missing}"), (0, 0, 0, 2))
    yield Text()


def _body(finding: Finding) -> Text:
    lines = [finding.evidence]
    if finding.severity != "fine":
        lines.append(f"why: {finding.cause}")
    if finding.severity != "fine" and finding.change:
        lines.append(f"try: {' | '.join(finding.change)}")
    return Text("\n".join(lines))
