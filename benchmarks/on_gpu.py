"""Everything that a GPU is needed for, in one command: its tests, the fused benchmark and the whole
founding grid.

Stages run one after the other, each in a process of its own with a time limit; one that fails or
runs out of time does not stop the next. Each leaves what it has in the output folder as it ends:
NAME.log, and ``on_gpu.json`` with how all of them ended. The same command goes on with a sweep that
ran out of time.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "data/test_loader.py",
    "execution/fused/test_backend.py",
    "execution/fused/test_cuda_graph.py",
    "training/test_compile.py",
    "test_experiment.py",
    "training/test_loop.py",
    "teachers/test_cached.py",
)
"""Where tests are that run on a GPU."""
GRID = ("method.temperature=1,2,3,4,5", "method.alpha=0.1,0.3,0.5,0.7,0.9")
_TINY_RECIPE = (
    "data.source=npz",
    "data.val_fraction=0.2",
    "data.augment.padding=1",
    "train.epochs=1",
    "train.batch_size=15",
    "teacher.train.epochs=1",
    "teacher.model.options.widths=[8, 8, 8]",
    "teacher.model.options.stem_width=4",
)
_DESCRIBE = """
import json, torch
from understudy.evaluation.environment import this_machine
from understudy.files import to_json
cuda = torch.cuda.is_available()
more = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "devices":
torch.cuda.device_count()}
if cuda:
    properties = torch.cuda.get_device_properties(0)
    more |= {"name": properties.name, "gib": properties.total_memory / 2**30, "multiprocessors":
    properties.multi_processor_count}
print(json.dumps(to_json(this_machine("cuda" if cuda else "cpu")) | more, indent=1))
"""


@dataclass(frozen=True)
class Stage:
    """Commands that follow each other, and what is done with what they left, however they ended.

    Attributes:
        commands: the first that fails ends the stage.
        seconds: for all of them.
        afterwards: returns what to note in ``on_gpu.json``.
    """

    commands: Sequence[Sequence[str]]
    seconds: float
    afterwards: Callable[[], dict[str, Any]] = dict


def stages(args: argparse.Namespace) -> dict[str, Stage]:
    """All stages by name, in the order to run them."""
    python, out, sweep = sys.executable, args.out, args.work / "sweep"
    data = ["--data", args.data] if args.data else []
    tests = [str(ROOT / "tests" / name) for name in (TESTS[2:3] if args.tiny else TESTS)]
    size = ["--tiny"] if args.tiny else ["--quick"] if args.quick else []
    grid = ["method.temperature=1,2", *_TINY_RECIPE] if args.tiny else list(GRID)
    going_on = ["--resume"] if (sweep / "sweep.json").exists() else []
    return {
        "environment": Stage(
            [*([["nvidia-smi"]] if args.device == "cuda" else []), [python, "-c", _DESCRIBE]], 60
        ),
        # Their warnings are not errors here: the machine's packages are not those that the project
        # is developed with.
        "tests": Stage(
            [
                [
                    python,
                    "-m",
                    "pytest",
                    "-m",
                    args.device if args.device == "cuda" else "not cuda",
                    "-p",
                    "no:cacheprovider",
                    "-W",
                    "default",
                    "-v",
                    "--tb=short",
                    "--rootdir",
                    str(ROOT),
                    *tests,
                ]
            ],
            200,
        ),
        "fused": Stage(
            [
                [
                    python,
                    str(ROOT / "benchmarks" / "fused.py"),
                    *size,
                    "--json",
                    str(out / "fused.json"),
                ]
            ],
            260,
        ),
        "sweep": Stage(
            [
                [
                    python,
                    "-m",
                    "understudy",
                    "sweep",
                    "cifar10",
                    *grid,
                    "--seeds",
                    "0" if args.tiny else "0,1,2",
                    "--backend",
                    "fused",
                    "--device",
                    args.device,
                    "--workers",
                    "1",
                    "--out",
                    str(sweep),
                    *data,
                    *going_on,
                ]
            ],
            580,
            lambda: kept(sweep, out / "sweep.tar.gz"),
        ),
    }


def kept(sweep: Path, archive: Path) -> dict[str, Any]:
    """Archive a sweep's results without checkpoints and the trials' weights; returns its seconds
    and how far it came."""
    if not sweep.exists():
        return {}
    # Unpacked elsewhere it can be gone on with: trained trials are read, the teacher's weights are
    # there.
    left_out = (".pt", ".lock", ".tmp")
    with tarfile.open(archive, "w:gz") as file:
        for path in sorted(sweep.rglob("*")):
            trained = "trials" in path.relative_to(sweep).parts and path.suffix == ".safetensors"
            if path.is_file() and path.suffix not in left_out and not trained:
                file.add(path, Path("sweep") / path.relative_to(sweep))
    found = {"megabytes": archive.stat().st_size / 2**20}
    if (sweep / "results.json").exists():
        results = json.loads((sweep / "results.json").read_text())
        done = sum(trial["state"] == "complete" for trial in results["trials"])
        found |= {
            "sweep_seconds": results["seconds"],
            "trials_complete": done,
            "best": results["best"],
            "final": results["final"],
        }
    return found


def run(stage: Stage, log: Path) -> dict[str, Any]:
    """Run a stage's commands, their output into ``log``; what became of them."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    }
    environment["PYTHONUNBUFFERED"] = "1"
    began, ended = time.perf_counter(), "ok"
    with log.open("a") as file:
        for command in stage.commands:
            file.write(
                f"$ {' '.join(command)}\n"
                if len(" ".join(command)) < 1000
                else f"$ {command[0]} ...\n"
            )
            file.flush()
            left = stage.seconds - (time.perf_counter() - began)
            try:
                process = subprocess.Popen(
                    command,
                    stdout=file,
                    stderr=file,
                    env=environment,
                    cwd=ROOT,
                    start_new_session=True,
                )
            except OSError as error:
                ended = f"cannot be started: {error}"
                break
            try:
                code = process.wait(max(left, 1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
                process.wait()
                ended = f"stopped after {stage.seconds:.0f} seconds"
                break
            if code != 0:
                ended = f"ended with code {code}"
                break
    return {"ended": ended, "seconds": time.perf_counter() - began}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the stages, and say how each ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for logs, fused.json, the sweep's archive and on_gpu.json",
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "on_gpu", help="where the sweep is trained"
    )
    parser.add_argument("--data", metavar="PATH", help="a copy of CIFAR-10 for the sweep")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--stages", help="some of environment,tests,fused,sweep")
    parser.add_argument(
        "--limits", default="", metavar="STAGE=SECONDS,...", help="other time limits"
    )
    parser.add_argument("--quick", action="store_true", help="a shorter fused benchmark")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for the tests
    args = parser.parse_args(argv)
    args.out, args.work = args.out.resolve(), args.work.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    known = stages(args)
    chosen = args.stages.split(",") if args.stages else list(known)
    limits = {
        name: float(seconds)
        for name, _, seconds in (part.partition("=") for part in args.limits.split(",") if part)
    }
    unknown = [name for name in (*chosen, *limits) if name not in known]
    if unknown:
        parser.error(f"there is no stage {unknown[0]}: there are {', '.join(known)}")
    summary = args.out / "on_gpu.json"
    found: dict[str, Any] = json.loads(summary.read_text()) if summary.exists() else {}
    for name in chosen:
        stage = known[name]
        limited = Stage(stage.commands, limits.get(name, stage.seconds), stage.afterwards)
        found[name] = run(limited, args.out / f"{name}.log")
        try:
            found[name] |= stage.afterwards()
        except (OSError, ValueError, KeyError) as error:
            found[name]["afterwards"] = f"{type(error).__name__}: {error}"
        summary.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {found[name]['ended']}, {found[name]['seconds']:.0f} s", flush=True)
    return found


if __name__ == "__main__":
    main()
