"""Write docs/methods.md from the methods' docstrings: ``python docs/write_methods.py``. A test holds it up to date."""

from pathlib import Path

from understudy.methods import describe_methods
from understudy.methods.costs import STUDENT, TEACHER, measured_costs

TARGET = Path(__file__).with_name("methods.md")


def page() -> str:
    """The page as Markdown: a table of all methods, then each one's card and options."""
    entries, costs = describe_methods(), measured_costs()
    busy = (
        " (the machine was busy: rough figures)"
        if costs["settings"]["load_average_before"] > 0.5
        else ""
    )
    lines = [
        "# Methods",
        "",
        "Written by `docs/write_methods.py` from the docstrings; `understudy methods NAME` prints the same.",
        "Every method adds its term to the founding loss `(1 - alpha) * CE + alpha * T^2 * KL`; `a+b` sums terms.",
        "",
        "| method | needs of the teacher | trains besides | stays at inference | cost of a step | paper |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        *(
            f"| [{e['name']}](#{e['name']}) | {e['needs']} | {e['extra_parameters']:,} | {e['inference_parameters']:,} | "
            f"{'' if e['cost_per_step'] is None else format(e['cost_per_step'], '.2f')} | {e['reference']} |"
            for e in entries
        ),
        "",
        f"Parameters beyond the student's own, counted for `{STUDENT}` taught by `{TEACHER}` with ten classes; the time of a",
        f"training step over that of plain training, for the same pair, by `{costs['command']}`",
        f"on {costs['hardware']['cpu']}, one thread,",
        f"{costs['settings']['precision']}, batch {costs['settings']['batch_size']}, with a load of "
        f"{costs['settings']['load_average_before']:.1f} before it{busy}.",
        "Logits are kept; for methods that need features the teacher runs in every step.",
    ]
    for entry in entries:
        lines += ["", f"## {entry['name']}", "", *_card(entry["card"])]
        lines += ["", "| option | default | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{o['name']}` | `{o['default']}` | {o['description'].replace('|', chr(92) + '|')} |"
            for o in entry["options"]
        ]
    return "\n".join(lines) + "\n"


def _card(card: str) -> list[str]:
    """The card with each section as a paragraph of its own."""
    lines: list[str] = []
    for line in card.splitlines():
        head, colon, rest = line.partition(":")
        if colon and head in ("What it does", "When to use it", "Cost", "Options", "Reference"):
            lines += ["", f"**{head}.**{rest}"] if lines and lines[-1] else [f"**{head}.**{rest}"]
        else:
            lines.append(line)
    return [line.replace("``", "`") for line in lines]


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
