"""How long the command line takes to answer, beside what Python and torch take to start."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import harness

COMMANDS = {
    "python": ["-c", "pass"],
    "import understudy": ["-c", "import understudy"],
    "understudy --help": ["-m", "understudy", "--help"],
    "understudy recipes": ["-m", "understudy", "recipes"],
    "import torch": ["-c", "import torch"],
}


def run(words: list[str]) -> float:
    """Seconds from starting an interpreter to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("startup", __doc__, argv)
    rounds = harness.pick(args, tiny=1, quick=9, full=31)
    commands = {
        name: words
        for name, words in COMMANDS.items()
        if not args.tiny or name in ("python", "understudy --help")
    }
    contenders: dict[str, Callable[[], float]] = {
        name: partial(run, words) for name, words in commands.items()
    }
    samples = harness.alternate(contenders, rounds, warmup=0 if args.tiny else 1)
    rows = [
        [name, *harness.spread(values), f"{harness.ratio(samples, name, 'python'):.1f}"]
        for name, values in samples.items()
    ]
    return harness.finish(
        args,
        ratios=harness.ratio(samples, "understudy --help", "python"),
        meaning="understudy --help over a Python that does nothing, lower is better",
        samples=samples,
        settings={"rounds": rounds, "bytecode": "warm"},
        columns=["command", "ms", "quartiles", "over python"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
