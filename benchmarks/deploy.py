"""The founding pair on the device: bytes, starts and latencies in each runtime, one thread.

With ``--run FOLDER`` the networks are those of a trained run, and every format is exported through
its gate first. Without it they are untrained: neither size nor speed depends on the weights. The
seed experiment found its student 4.3 times as fast as the teacher, and 43.7 times smaller.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import our_loop
import torch

from understudy.data.dataset import Split
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.deploy_results import DeployBenchmark
from understudy.export.benchmark import BenchmarkSettings, benchmark_networks
from understudy.export.c.source import CARD
from understudy.export.card import Origin
from understudy.export.contenders import CONTENDERS, contenders_of
from understudy.export.deployable import Deployable, Examples
from understudy.export.driver import export_training
from understudy.export.formats import FORMATS, Format
from understudy.export.source import TrainedSource, open_source
from understudy.files import to_json
from understudy.models.normalisation import Normalisation

NETWORKS = {"student": "founding_student", "teacher": "founding_teacher"}
MOST_BYTES = {"onnx-int8": 140_000, "executorch-int8": 130_000, "c": 120_000}
"""Of the founding student; the C code's constants."""
LEAST_OVER_TEACHER = 4.3
LEAST_OVER_TORCH = 5.0
"""At batch 1, on one thread."""
MOST_EXPORT_SECONDS = 60.0


def untrained(name: str) -> Deployable:
    """A network with fresh weights, for CIFAR-10's images."""
    return Deployable(
        network=our_loop.network(name).eval(),
        classes=tuple(str(index) for index in range(10)),
        preprocessing=Preprocessing(image=ImageSpec(3, 32, 32)),
        normalisation=Normalisation((0.5,) * 3, (0.25,) * 3),
        origin=Origin(model=name),
    )


def random_examples(count: int) -> Examples:
    """Random bytes, with which int8 files are calibrated."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.zeros(count, dtype=torch.int64))
    return Examples(train=split, val=split)


def available_formats() -> tuple[list[Format], list[str]]:
    """The formats whose packages are installed, and why the others are left out."""
    found, missing = [], []
    for entry in FORMATS.values():
        try:
            entry.require()
        except UnderstudyError as error:
            missing.append(str(error))
        else:
            found.append(entry)
    return found, missing


def export_all(source: TrainedSource) -> dict[str, Any]:
    """Bytes, verdict and accuracy of every format, the seconds of the whole export, and the bytes
    that the C code puts into flash (constants) and RAM (arena): its folder is text."""
    formats, missing = available_formats()
    for entry in formats:
        entry.load()  # imports are not part of the time
    with tempfile.TemporaryDirectory(prefix="understudy-deploy-") as folder:
        began = time.perf_counter()
        results = export_training(source, formats, Path(folder))
        seconds = time.perf_counter() - began
        files = {file.format: Path(folder, file.file) for file in results.files}
        c_sizes = json.loads((files["c"] / CARD).read_bytes())["sizes"]
    return {
        "seconds": seconds,
        "missing": missing,
        "files": to_json(results.files),
        "c": c_sizes,
    }


def goals(results: DeployBenchmark, exported: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What must be reached, and what was found."""
    sizes = {cost.runtime: cost.bytes for cost in results.costs if cost.network == "student"}
    if exported:
        sizes |= {file["format"]: file["bytes"] for file in exported["files"]}
        sizes["c"] = exported["c"]["constant_bytes"]
    for name, most in MOST_BYTES.items():
        if name in sizes:
            yield goal(f"{name}, bytes of the student", sizes[name], most, at_most=True)
    first = results.threads[0]
    for speedup in results.speedups:
        where = f"{speedup.runtime}, batch {speedup.batch}"
        if speedup.threads != first:
            continue
        if speedup.over_teacher is not None:
            yield goal(f"{where}, teacher / student", speedup.over_teacher, LEAST_OVER_TEACHER)
        if speedup.batch == 1 and speedup.over_torch is not None and speedup.runtime != "torch":
            yield goal(f"{where}, eager PyTorch / it", speedup.over_torch, LEAST_OVER_TORCH)
    if exported:
        limit = MOST_EXPORT_SECONDS
        yield goal("export of all formats, seconds", exported["seconds"], limit, at_most=True)


def goal(what: str, found: float, limit: float, *, at_most: bool = False) -> dict[str, Any]:
    """One line of the list."""
    reached = found <= limit if at_most else found >= limit
    return {"what": what, "found": found, "limit": limit, "at_most": at_most, "reached": reached}


def table_rows(results: DeployBenchmark) -> Iterator[list[str]]:
    """One row per runtime and batch size."""
    for runtime in results.runtimes:
        teacher, student = (results.cost(role, runtime) for role in ("teacher", "student"))
        assert teacher is not None and student is not None
        for threads, batch in results.settings:
            found = results.speedup(runtime, threads, batch)
            assert found.over_teacher is not None and found.over_torch is not None
            yield [
                f"{runtime}, batch {batch}",
                f"{teacher.bytes / 1000:,.0f}",
                f"{student.bytes / 1000:,.0f}",
                f"{teacher.timing(threads, batch).median_ms:.3g}",
                f"{student.timing(threads, batch).median_ms:.3g}",
                f"{student.start.load_ms:,.0f}",
                f"{found.over_teacher:.2f}",
                f"{found.over_torch:.2f}",
                f"{teacher.bytes / student.bytes:.1f}",
            ]


def headline(results: DeployBenchmark) -> dict[str, float]:
    """Ratios by name."""
    ratios: dict[str, float] = {}
    for found in results.speedups:
        where = f"{found.runtime}_{found.batch}"
        if found.over_teacher is not None:
            ratios[f"{where}_over_teacher"] = found.over_teacher
        if found.over_torch is not None and found.runtime != "torch":
            ratios[f"{where}_over_torch"] = found.over_torch
    return ratios


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("deploy", __doc__, argv, run="a trained run instead of random weights")
    exported: dict[str, Any] = {}
    if args.run:
        source = open_source(Path(args.run), data=args.data)
        networks = {"student": source.deployable, "teacher": source.teacher_deployable()}
        examples = Examples(train=source.data.train, val=source.data.val)
        exported = export_all(source)
    else:
        networks = {role: untrained(name) for role, name in NETWORKS.items()}
        examples = random_examples(512)
    contenders, missing = contenders_of(harness.pick(args, tiny="torch", quick="all", full="all"))
    if args.quick:  # compiling takes many seconds for each network and batch size
        contenders = [entry for entry in contenders if entry is not CONTENDERS["torch-compile"]]
    settings = BenchmarkSettings(
        batches=harness.pick(args, tiny=(1, 2), quick=(1, 128), full=(1, 128)),
        rounds=harness.pick(args, tiny=(1, 1), quick=(5, 50), full=(30, 200)),
        seconds=harness.pick(args, tiny=0.0, quick=2.0, full=20.0),
        starts=harness.pick(args, tiny=1, quick=1, full=3),
        samples=True,
    )
    results = benchmark_networks(networks, examples, contenders, missing, settings=settings)
    reached = list(goals(results, exported))
    found = harness.finish(
        args,
        ratios=headline(results),
        meaning="teacher / student, and the student in eager PyTorch / in the runtime, "
        "higher is better",
        samples={
            f"{cost.runtime}_{cost.network}_{timing.batch}": [
                milliseconds / 1e3 for milliseconds in timing.samples_ms or ()
            ]
            for cost in results.costs
            for timing in cost.timings
        },
        settings={
            "run": args.run or "untrained",
            "threads": 1,
            "rounds": list(settings.rounds),
            "goals": reached,
            "costs": list(without_samples(results)),
            "missing": to_json(results.missing),
            "export": exported,
        },
        columns=[
            *("runtime", "teacher kB", "student kB", "teacher ms", "student ms", "start ms"),
            *("teacher / student", "torch / runtime", "times smaller"),
        ],
        rows=list(table_rows(results)),
    )
    for line in reached:
        sign = "<=" if line["at_most"] else ">="
        word = "reached" if line["reached"] else "FALLS SHORT"
        print(f"{word}: {line['what']}: {line['found']:,.2f} (wanted {sign} {line['limit']:,g})")
    return found


def without_samples(results: DeployBenchmark) -> Iterator[dict[str, Any]]:
    """The costs with their summaries alone: the samples stand on their own in the JSON file."""
    for cost in to_json(results.costs):
        for timing in cost["timings"]:
            timing.pop("samples_ms", None)
        yield cost


if __name__ == "__main__":
    main()
