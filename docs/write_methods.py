"""Write docs/methods.md from the methods' docstrings: ``python docs/write_methods.py``.

A test fails if the page is not up to date.
"""

from pathlib import Path
from typing import Any

from understudy.methods import describe_methods
from understudy.methods.costs import STUDENT, TEACHER, measured_costs

TARGET = Path(__file__).with_name("methods.md")


def page() -> str:
    """The page as Markdown: a table of all methods, then each one's card and options."""
    entries, costs = describe_methods(), measured_costs()
    settings = costs["settings"]
    load = settings["load_average_before"]
    busy = " (the machine was busy: rough figures)" if load > 0.5 else ""
    lines = [
        "# Methods",
        "",
        "Written by `docs/write_methods.py` from the docstrings; `understudy methods NAME`",
        "prints the same. Every method adds its term to the base loss",
        "`(1 - alpha) * CE + alpha * T^2 * KL`; `a+b` sums terms.",
        "",
        "| method | reads of the teacher | parameters in training | at inference "
        "| cost of a step | paper |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        *map(_row, entries),
        "",
        f"Parameters in addition to the student's own, counted for `{STUDENT}` with the teacher",
        f"`{TEACHER}` and ten classes; the time of a training step over that of plain training,",
        f"for the same pair, by `{costs['command']}`",
        f"on {costs['hardware']['cpu']}, one thread, {settings['precision']}, batch "
        f"{settings['batch_size']}, with a load of {load:.1f} before it{busy}.",
        "Logits and embeddings are cached; for methods that read features the teacher runs in",
        "every step.",
    ]
    for entry in entries:
        lines += ["", f"## {entry['name']}", "", *_card(entry["card"])]
        if entry["min_classes"] > 2:
            lines += ["", f"**Fewest classes.** {entry['min_classes']}; with fewer it is refused."]
        lines += ["", "| option | default | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{o['name']}` | `{o['default']}` | {o['description'].replace('|', chr(92) + '|')} |"
            for o in entry["options"]
        ]
    return "\n".join(lines) + "\n"


def _row(entry: dict[str, Any]) -> str:
    cost = entry["cost_per_step"]
    cells = [
        f"[{entry['name']}](#{entry['name']})",
        entry["needs"],
        f"{entry['extra_parameters']:,}",
        f"{entry['inference_parameters']:,}",
        "" if cost is None else f"{cost:.2f}",
        entry["reference"],
    ]
    return f"| {' | '.join(cells)} |"


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
