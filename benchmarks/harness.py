"""What every benchmark shares: its options, contenders that take turns, medians with quartiles, a
table and a JSON file.

Importing this loads no torch, so that ``startup.py`` can time who does.
"""

import argparse
import json
import os
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Samples = dict[str, list[float]]
"""Contender -> seconds of each round, in the order taken."""
T = TypeVar("T")


def arguments(
    name: str, description: str, argv: Sequence[str] | None = None, **options: str
) -> argparse.Namespace:
    """The options every benchmark has; ``name`` and the command as typed are for the record.

    Args:
        name: of the benchmark.
        description: its first line is shown.
        argv: the words after the program's name.
        options: further options that take a path: name -> help.
    """
    import sys

    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 40 seconds on two idle cores")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write ratios, raw samples, hardware and versions"
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="a copy of CIFAR-10 to use in place of random bytes (or the digits)",
    )
    parser.add_argument(
        "--tiny", action="store_true", help=argparse.SUPPRESS
    )  # for the tests: no figure of it means anything
    for option, text in options.items():
        parser.add_argument(f"--{option}", metavar="PATH", help=text)
    parsed = parser.parse_args(words)
    parsed.name, parsed.title = name, description.splitlines()[0]
    parsed.command = shlex.join(["python", f"benchmarks/{name}.py", *words])
    parsed.load = os.getloadavg()[0]
    if parsed.load > 0.5 and not parsed.tiny:
        print(
            f"warning: the machine is not idle (load {parsed.load:.1f}): "
            "these figures are not to be quoted"
        )
    return parsed


def pick(args: argparse.Namespace, *, tiny: T, quick: T, full: T) -> T:
    """The setting for the size of run that was asked for."""
    return tiny if args.tiny else quick if args.quick else full


def alternate(
    contenders: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1
) -> Samples:
    """Let contenders take turns, so that a slow moment of the machine falls on all of them.

    Args:
        contenders: each call does the work once and returns its seconds.
        rounds: that are kept; every second one runs in reverse order.
        warmup: rounds before them that are thrown away.
    """
    samples: Samples = {name: [] for name in contenders}
    for turn in range(warmup + rounds):
        names = list(contenders)
        for name in reversed(names) if turn % 2 else names:
            seconds = contenders[name]()
            if turn >= warmup:
                samples[name].append(seconds)
    return samples


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def ratio(samples: Samples, above: str, below: str) -> float:
    """Median over the rounds of one contender's seconds over another's in the same round."""
    return statistics.median(a / b for a, b in zip(samples[above], samples[below], strict=True))


def spread(values: Sequence[float], factor: float = 1e3, digits: int = 1) -> list[str]:
    """Two cells of a table: the median, and the quartiles; milliseconds by default."""
    found = {key: f"{value * factor:,.{digits}f}" for key, value in summarise(values).items()}
    return [found["median"], f"{found['q1']} – {found['q3']}"]


def finish(
    args: argparse.Namespace,
    *,
    ratios: Mapping[str, float] | float,
    meaning: str,
    samples: Samples,
    settings: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Print the table, write the JSON file where one was asked for, and return what it holds.

    Args:
        args: from :func:`arguments`.
        ratios: the headline number, or several by name.
        meaning: what over what they are, and which way is better.
        samples: raw seconds.
        settings: whatever else decides the numbers.
        columns, rows: the table, as text.
    """
    from understudy.evaluation.environment import this_machine
    from understudy.files import to_json

    table(args.title, columns, rows, f"{meaning}: {_ratio_text(ratios)}")
    machine = to_json(this_machine(str(settings.get("device", "cpu"))))
    result = {
        "name": args.name,
        **({"ratios": dict(ratios)} if isinstance(ratios, Mapping) else {"ratio": ratios}),
        "meaning": meaning,
        "samples": samples,
        "summary": {name: summarise(values) for name, values in samples.items() if values},
        "settings": {
            "quick": args.quick,
            "data": args.data or "generated",
            "load_average_before": args.load,
            **settings,
        },
        "hardware": machine,
        "versions": {key: machine[key] for key in ("understudy", "python", "torch")}
        | machine["packages"],
        "command": args.command,
        "table": {"columns": list(columns), "rows": [list(row) for row in rows]},
    }
    if args.json is not None:
        write_json(args.json, result)
    return result


def _ratio_text(ratios: Mapping[str, float] | float) -> str:
    named = ratios if isinstance(ratios, Mapping) else {"ratio": ratios}
    return ", ".join(f"{name} {value:.3f}" for name, value in named.items())


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = ""
) -> None:
    """A rich table: the first column is text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    grid = Table(title=title, caption=caption)
    for number, column in enumerate(columns):
        grid.add_column(column, justify="right" if number else "left")
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """The result, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
