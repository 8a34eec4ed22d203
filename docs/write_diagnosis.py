"""Write the findings in docs/diagnosis.md from the rules: ``python docs/write_diagnosis.py``.

Only the part between the two markers is written. A test holds it up to date.
"""

import textwrap
from pathlib import Path

from understudy.diagnose.findings import RULES
from understudy.diagnose.findings.finding import Rule

TARGET = Path(__file__).with_name("diagnosis.md")
START, END = "<!-- findings: start -->\n", "<!-- findings: end -->\n"


def page() -> str:
    """The page as Markdown, with the findings as the rules describe them."""
    before, rest = TARGET.read_text(encoding="utf-8").split(START)
    _, after = rest.split(END)
    sections = [_section(rule) for rule, _ in RULES]
    return f"{before}{START}\n{''.join(sections)}{END}{after}"


def _section(rule: Rule) -> str:
    """A heading, the question, and a list of what the rule looks at and when it applies."""
    facts = {
        "Looks at": rule.looks_at,
        "Contributing": rule.contributing,
        "Cause": rule.cause,
        "Why these thresholds": rule.threshold,
        "Unknown without weights": rule.without_weights,
    }
    lines = [f"### {rule.key}", "", rule.question, ""]
    for name, text in facts.items():
        if text:
            lines.append(_wrapped(f"- **{name}:** {text}."))
    found = [outcome.title for outcome in rule.outcomes.values() if outcome.severity != "fine"]
    titles = "; ".join(f"“{title}”" for title in found)
    lines.append(_wrapped(f"- **Titles:** {titles}."))
    return "\n".join(lines) + "\n\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
