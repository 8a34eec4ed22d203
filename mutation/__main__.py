"""Plant a seeded sample of small faults, one at a time, and count how many the tests notice.

Every fault lives in a copy of the checkout under ``--work``, never in the checkout itself. A worker
imports torch once and forks a process for each fault, in which pytest runs the tests of that file
(``tests_of.toml``) until one fails. The results are lines of ``results.jsonl``: a second run goes
on where the first one stopped, and starts a file over when its text changed.
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutation.operators import Change, places

HERE = Path(__file__).resolve().parent
PACKAGE = "src/understudy"
HEAVY = (
    "torch",
    "numpy",
    "scipy.stats",
    "sklearn.metrics",
    "numba",
    "pydantic",
    "rich",
    "matplotlib.pyplot",
    "PIL.Image",
    "pytest",
)
LONGER = 4
"""A fault's tests may take this many times what all tests of its area take without a fault, and
LEAST_SECONDS at least."""
LEAST_SECONDS = 60


@dataclass(frozen=True)
class Fault:
    """A planted fault: the file (under the package), what is changed, and the line before and
    after."""

    area: str
    file: str
    change: Change
    was: str
    becomes: str
    digest: str
    arguments: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.file}:{self.digest}:{self.change.operator}:{self.change.occurrence}"

    def __str__(self) -> str:
        return f"{self.file}:{self.change.line}: {self.was} -> {self.becomes}"


def tests_of(
    tree: Path, file: str, table: list[dict[str, Any]]
) -> tuple[str, tuple[str, ...]] | None:
    """The area of a file of the package, and pytest's arguments; None for a file that is not
    mutated."""
    for area in table:
        if any(
            file == name or (name.endswith("/") and file.startswith(name)) for name in area["files"]
        ):
            stem, folder = Path(file).stem, Path(file).parent.as_posix()
            patterns = [name.format(stem=stem, folder=folder) for name in area["tests"]]
            paths = [path for pattern in patterns for path in sorted(tree.glob(pattern))]
            found = list(dict.fromkeys(path.relative_to(tree).as_posix() for path in paths))
            keyword = ["-k", area["keyword"].format(stem=stem)] if "keyword" in area else []
            return area["name"], tuple(keyword + found)
    return None


def sample(tree: Path, count: int, seed: int, only: tuple[str, ...], least: int) -> list[Fault]:
    """About ``count`` faults, each file in proportion to the places where it can be changed.

    Every file has ``least`` at least; of all these, the faults of the files whose path starts with
    one of ``only`` are returned.
    """
    table = tomllib.loads((HERE / "tests_of.toml").read_text(encoding="utf-8"))["area"]
    spots: dict[str, list[list[Change]]] = {}
    for path in sorted((tree / PACKAGE).rglob("*.py")):
        file = path.relative_to(tree / PACKAGE).as_posix()
        if tests_of(tree, file, table):
            spots[file] = list(places(path.read_text(encoding="utf-8")).values())
    total = sum(map(len, spots.values()))
    faults = []
    for file, found in spots.items():
        area, arguments = tests_of(tree, file, table) or ("", ())
        wanted = max(least, round(count * len(found) / max(total, 1)))
        random.Random(f"{seed} {file}").shuffle(found)
        chosen = random.Random(f"{seed} {file} change")
        source = (tree / PACKAGE / file).read_text(encoding="utf-8")
        if file.startswith(only):
            faults += _faults(
                file,
                source,
                [chosen.choice(changes) for changes in found],
                wanted,
                (area, arguments),
            )
    random.Random(seed).shuffle(faults)
    return faults


def _faults(
    file: str, source: str, changes: list[Change], wanted: int, tests: tuple[str, tuple[str, ...]]
) -> list[Fault]:
    """The first ``wanted`` of the changes that give another program."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    faults: list[Fault] = []
    for change in changes:
        mutant = change.applied(source)
        if mutant is None:
            continue
        before, after = source.splitlines(), mutant.splitlines()
        first = next(
            (n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
            change.line - 1,
        )
        faults.append(
            Fault(
                tests[0],
                file,
                change,
                before[first].strip(),
                after[first].strip(),
                digest,
                tests[1],
            )
        )
        if len(faults) == wanted:
            break
    return faults


def run_tests(
    tree: Path, arguments: tuple[str, ...], limit: float, numba: Path, log: Path
) -> tuple[str, float]:
    """``passed``, ``failed`` or ``timeout`` of pytest in a forked process, and the seconds that it
    took."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(tree)
        os.environ |= {
            "PYTHONPATH": str(tree / "src"),
            "NUMBA_CACHE_DIR": str(numba),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        importlib.import_module("numba").config.reload_config()
        sys.dont_write_bytecode = True
        sys.modules["__main__"] = types.ModuleType(
            "__main__"
        )  # what processes that the tests start would import
        sys.path[:0] = [str(tree / "src"), str(tree)]
        os._exit(
            int(
                importlib.import_module("pytest").main(
                    ["-x", "-q", "-p", "no:cacheprovider", *arguments]
                )
            )
        )
    while time.monotonic() - start < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return "passed" if os.waitstatus_to_exitcode(
                status
            ) == 0 else "failed", time.monotonic() - start
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return "timeout", time.monotonic() - start


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def tests_of_area(faults: list[Fault], area: str) -> tuple[str, ...]:
    """Pytest's arguments for all tests that faults of an area meet; a ``-k`` if they share it."""
    found = [fault.arguments for fault in faults if fault.area == area]
    keywords = {arguments[:2] if arguments[0] == "-k" else () for arguments in found}
    files = {name for arguments in found for name in arguments if name.startswith("tests/")}
    return (*(keywords.pop() if len(keywords) == 1 else ()), *sorted(files))


def work_off(faults: list[Fault], tree: Path, results: Path) -> None:
    """Plant each fault, run its tests, write down the outcome, take the fault out again."""
    for name in HEAVY:
        importlib.import_module(name)
    log, numba, usual = tree.parent / f"{tree.name}.log", tree.parent / "numba", {}
    for number, fault in enumerate(faults, 1):
        if fault.area not in usual:
            arguments = tests_of_area(faults, fault.area)
            outcome, seconds = run_tests(tree, arguments, 1800, numba, log)
            if outcome != "passed":
                raise SystemExit(
                    f"the tests fail without any fault: {' '.join(arguments)}; see {log}"
                )
            usual[fault.area] = seconds
        path = tree / PACKAGE / fault.file
        source, stamp = path.read_text(encoding="utf-8"), path.stat()
        limit = max(LEAST_SECONDS, LONGER * usual[fault.area])
        with tempfile.TemporaryDirectory() as own:
            compiled = Path(own) if "njit" in source else numba
            try:
                path.write_text(fault.change.applied(source) or source, encoding="utf-8")
                outcome, seconds = run_tests(tree, fault.arguments, limit, compiled, log)
            finally:
                path.write_text(source, encoding="utf-8")
                os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        line = {
            "key": fault.key,
            "area": fault.area,
            "fault": str(fault),
            "outcome": outcome,
            "seconds": round(seconds, 1),
        }
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{number}/{len(faults)} {outcome} {seconds:.0f} s {fault}", flush=True)


def copy_checkout(target: Path) -> Path:
    """A fresh copy of what git tracks, and of new files that it does not ignore."""
    top = HERE.parent
    shutil.rmtree(target, ignore_errors=True)
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.run(
        listed, cwd=top, capture_output=True, text=True, check=True
    ).stdout.splitlines():
        if (top / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(top / name, target / name)
    return target


def report(faults: list[Fault], outcomes: dict[str, str]) -> str:
    """The score of every area, and the faults that no test noticed and that are not known to be
    equivalent."""
    known = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8")).get(
        "equivalent", []
    )
    same = {(entry["was"], entry["becomes"]) for entry in known}
    tried = [fault for fault in faults if fault.key in outcomes]
    missed = [fault for fault in tried if outcomes[fault.key] == "passed"]
    equal = [fault for fault in missed if (fault.was, fault.becomes) in same]
    lines = []
    for area in [*dict.fromkeys(fault.area for fault in faults), ""]:
        all_of, missed_of, equal_of = (
            sum(f.area == area or not area for f in some) for some in (tried, missed, equal)
        )
        share = (all_of - missed_of) / max(all_of - equal_of, 1)
        lines.append(
            f"{area or 'all':12} noticed {all_of - missed_of} of {all_of - equal_of} "
            f"({share:.1%}), equivalent {equal_of}"
        )
    return "\n".join(lines + [f"  {fault}" for fault in missed if fault not in equal])


def read_outcomes(results: Path) -> dict[str, str]:
    """The last outcome of each fault."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {entry["key"]: entry["outcome"] for entry in map(json.loads, lines)}


def main() -> None:
    """Parse the command line, share the faults out to the workers, print the report."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work",
        type=Path,
        default=HERE.parent / "build" / "mutants",
        help="copies, logs and results",
    )
    parser.add_argument("--count", type=int, default=300, help="faults in the sample")
    parser.add_argument("--least", type=int, default=2, help="at least so many faults per file")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another sample")
    parser.add_argument(
        "--workers", type=int, default=1, help="faults at a time, each in a copy of its own"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PREFIX",
        help="files of the package: the part of the sample to run",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="try those that were not noticed again: the tests are new",
    )
    parser.add_argument("--report", action="store_true", help="run nothing, print the score so far")
    options = parser.parse_args()
    work = options.work.resolve()
    results = work / "results.jsonl"
    only = tuple(options.only or [""])
    faults = sample(HERE.parent, options.count, options.seed, only, options.least)
    outcomes = read_outcomes(results)
    finished = {"failed", "timeout"} if options.again else {"failed", "timeout", "passed"}
    waiting = [fault for fault in faults if outcomes.get(fault.key) not in finished]
    workers = []
    for number in range(0 if options.report else options.workers):
        tree = copy_checkout(work / f"tree-{number}")
        worker = os.fork()
        if worker == 0:
            work_off(waiting[number :: options.workers], tree, results)
            os._exit(0)
        workers.append(worker)
    codes = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
    print(report(faults, read_outcomes(results)))
    sys.exit(max(codes, default=0))


if __name__ == "__main__":
    main()
