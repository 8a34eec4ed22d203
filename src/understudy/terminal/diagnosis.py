"""A diagnosis as lines for the terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.findings.finding import Finding

STYLES = {"cause": "bold red", "contributing": "bold yellow", "fine": "green"}
LABELS = {"cause": "CAUSE", "contributing": "contributing", "fine": "fine"}


def terminal_text(diagnosis: Diagnosis) -> Group:
    """What ``understudy diagnose`` prints: verdict, headline, each finding with its evidence, and what needs weights."""
    return Group(*_lines(diagnosis))


def _lines(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    yield Text(diagnosis.verdict, style="bold")
    yield Text(diagnosis.headline)
    for finding in diagnosis.findings:
        yield Text()
        yield Text.assemble(
            (LABELS[finding.severity], STYLES[finding.severity]), "  ", (finding.title, "bold")
        )
        yield Padding(_body(finding), (0, 0, 0, 2))
    if diagnosis.needs_weights:
        yield Text()
        yield Text(
            "The run's weights are not there, so these are not known, or known only from its history:",
            style="bold",
        )
        for missing in diagnosis.needs_weights.values():
            yield Padding(Text(f"- {missing}"), (0, 0, 0, 2))
    yield Text()


def _body(finding: Finding) -> Text:
    lines = [finding.evidence]
    if finding.severity != "fine":
        lines.append(f"why: {finding.cause}")
        lines += [f"try: {' | '.join(finding.change)}"] if finding.change else []
    return Text("\n".join(lines))
