"""Teacher and student in every runtime: size, start, latency, memory and energy.

Everything is measured on the whole deployed path, from uint8 images to probabilities, in processes
of their own. The int8 files are calibrated, but do not go through the parity gate: this measures
what they cost, ``understudy export`` whether they are right.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from understudy.cores import available_cores
from understudy.errors import UnderstudyError
from understudy.evaluation.deploy_results import (
    FILE,
    TORCH,
    DeployBenchmark,
    DeployedCost,
    Missing,
    Role,
    Speedup,
    Start,
    Timing,
)
from understudy.evaluation.environment import this_machine
from understudy.events import SILENT, Observer, Progress
from understudy.export.contenders import Contender
from understudy.export.deployable import Deployable, Examples
from understudy.export.driver import size_of
from understudy.export.probe import AllTurns, Artefact, Job
from understudy.export.source import TrainedSource
from understudy.files import from_json, write_json
from understudy.runs.folder import RunFolder, training_name

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How networks are measured.

    Attributes:
        threads: of a runtime; each number is measured in a process of its own.
        batches: images in a call.
        rounds: timed calls with a batch size, at least and at most.
        seconds: of a batch size, after which no more than the fewest rounds are made.
        warmup: untimed rounds before them.
        starts: fresh processes that load an artefact; fewer if they take long.
        samples: keep every timing.

    Raises:
        UnderstudyError: for counts below one, or more threads than cores.
    """

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1, 128)
    rounds: tuple[int, int] = (30, 200)
    seconds: float = 20.0
    warmup: int = 3
    starts: int = 3
    samples: bool = False

    def __post_init__(self) -> None:
        for name, counts in (("threads", self.threads), ("batch", self.batches)):
            if not counts or min(counts) < 1:
                raise UnderstudyError(f"--{name} takes numbers of at least 1, such as 1,2")
        cores = len(available_cores())
        if max(self.threads) > cores:
            raise UnderstudyError(
                f"--threads {max(self.threads)} is more than the {cores} cores that this process "
                "may use: threads that share a core measure the scheduler"
            )


DEFAULT_SETTINGS = BenchmarkSettings()
_LONG_START_MS = 5000
"""After starts that took this long together, no further one is measured."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Written:
    """One network as a file for one runtime."""

    network: Role
    contender: Contender
    path: Path

    @property
    def artefact(self) -> Artefact:
        return Artefact(name=self.name, runtime=self.contender.name, path=str(self.path))

    @property
    def name(self) -> str:
        return f"{self.network} {self.contender.name}"


def benchmark_training(
    source: TrainedSource,
    contenders: Sequence[Contender],
    missing: Sequence[Missing] = (),
    *,
    settings: BenchmarkSettings = DEFAULT_SETTINGS,
    command: str = "",
    observer: Observer = SILENT,
) -> DeployBenchmark:
    """Measure a training's network and its teacher; the results are written into the run's folder.

    Args:
        source: the training, with its data.
        contenders: the runtimes, all of them installed.
        missing: those that are not, for the record.
        settings: how to measure.
        command: as typed.
        observer: follows the work.

    Raises:
        UnderstudyError: if a network cannot be written for a runtime, or a runtime fails.
    """
    networks: dict[Role, Deployable] = {"student": source.deployable}
    if source.run.teacher_seed is not None:
        teacher = source.teacher_deployable()
        if teacher.preprocessing == source.deployable.preprocessing:
            networks["teacher"] = teacher
        else:
            rule = teacher.preprocessing
            observer.message(
                f"the teacher is left out: it takes other images, {rule.image} by {rule.filter}"
            )
    results = benchmark_networks(
        networks,
        Examples(train=source.data.train, val=source.data.val),
        contenders,
        missing,
        settings=settings,
        command=command,
        observer=observer,
    )
    write_json(RunFolder(source.folder.path).deploy / FILE, results)
    return results


def benchmark_networks(
    networks: Mapping[Role, Deployable],
    examples: Examples,
    contenders: Sequence[Contender],
    missing: Sequence[Missing] = (),
    *,
    settings: BenchmarkSettings = DEFAULT_SETTINGS,
    command: str = "",
    observer: Observer = SILENT,
) -> DeployBenchmark:
    """Measure networks in runtimes.

    Args:
        networks: the student, and the teacher if there is one.
        examples: images for the calibration of int8 files.
        contenders, missing, settings, command, observer: as for :func:`benchmark_training`.
    """
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory(prefix="understudy-benchmark-") as scratch:
        written = list(_write_all(networks, examples, contenders, Path(scratch), observer))
        starts = _start_all(written, networks["student"], settings, observer)
        turns = _take_turns(written, networks["student"], settings, observer)
        costs = tuple(_cost(entry, starts[entry.name], turns, settings) for entry in written)
    return DeployBenchmark(
        student=_training(networks["student"]),
        teacher=_training(networks["teacher"]) if "teacher" in networks else None,
        threads=settings.threads,
        batches=settings.batches,
        costs=costs,
        speedups=tuple(_speedups(contenders, turns)),
        missing=tuple(missing),
        load_average=load_average,
        environment=this_machine(),
        command=command,
    )


def _training(deployable: Deployable) -> str:
    origin = deployable.origin
    return training_name(origin.arm, origin.seed) if origin.seed is not None else origin.model


def _write_all(
    networks: Mapping[Role, Deployable],
    examples: Examples,
    contenders: Sequence[Contender],
    scratch: Path,
    observer: Observer,
) -> Iterator[_Written]:
    for contender in contenders:
        for network, deployable in networks.items():
            observer.message(f"{contender.name}: writing the {network}")
            path = scratch / network / contender.name / contender.format.file
            path.parent.mkdir(parents=True)
            contender.write(deployable, path, examples)
            yield _Written(network=network, contender=contender, path=path)


def _start_all(
    written: Sequence[_Written],
    deployable: Deployable,
    settings: BenchmarkSettings,
    observer: Observer,
) -> dict[str, Start]:
    starts = {}
    for number, entry in enumerate(written):
        observer.progress(Progress("measure", number, len(written), detail=f"start {entry.name}"))
        job = _job([entry], deployable, settings, min(settings.threads))
        found: list[Start] = []
        while len(found) < settings.starts:
            found.append(in_process("start", job, Start))
            if sum(start.import_ms + start.load_ms for start in found) > _LONG_START_MS:
                break
        starts[entry.name] = Start(
            import_ms=statistics.median(start.import_ms for start in found),
            load_ms=statistics.median(start.load_ms for start in found),
            import_mb=_largest([start.import_mb for start in found]),
            peak_mb=_largest([start.peak_mb for start in found]),
        )
    return starts


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known, default=None)


def _take_turns(
    written: Sequence[_Written],
    deployable: Deployable,
    settings: BenchmarkSettings,
    observer: Observer,
) -> dict[int, AllTurns]:
    """One process for each number of threads, in which all files take turns."""
    found = {}
    for number, threads in enumerate(settings.threads):
        detail = f"latency with {threads} thread{'s' if threads > 1 else ''}"
        observer.progress(Progress("measure", number, len(settings.threads), detail=detail))
        job = _job(written, deployable, settings, threads)
        found[threads] = in_process("turns", job, AllTurns)
    observer.progress(Progress("measure", len(found), len(found), detail="latency"))
    return found


def _job(
    written: Sequence[_Written], deployable: Deployable, settings: BenchmarkSettings, threads: int
) -> Job:
    return Job(
        artefacts=tuple(entry.artefact for entry in written),
        image=deployable.preprocessing.image.shape,
        threads=threads,
        batches=settings.batches,
        rounds=settings.rounds,
        seconds=settings.seconds,
        warmup=settings.warmup,
    )


def _cost(
    entry: _Written, start: Start, turns: Mapping[int, AllTurns], settings: BenchmarkSettings
) -> DeployedCost:
    timings = [
        Timing.of(
            threads,
            turn.batch,
            turn.milliseconds[entry.name],
            turn.energy_mj[entry.name],
            settings.samples,
        )
        for threads, found in turns.items()
        for turn in found.turns
    ]
    return DeployedCost(
        network=entry.network,
        runtime=entry.contender.name,
        dtype=entry.contender.format.dtype,
        content=entry.contender.content,
        bytes=size_of(entry.path),
        start=start,
        timings=tuple(timings),
    )


def _speedups(contenders: Sequence[Contender], turns: Mapping[int, AllTurns]) -> Iterator[Speedup]:
    for contender in contenders:
        for threads, found in turns.items():
            for turn in found.turns:
                times = turn.milliseconds
                student = times[f"student {contender.name}"]
                yield Speedup(
                    runtime=contender.name,
                    threads=threads,
                    batch=turn.batch,
                    over_teacher=_ratio(times.get(f"teacher {contender.name}"), student),
                    over_torch=_ratio(times.get(f"student {TORCH}"), student),
                )


def _ratio(above: Sequence[float] | None, below: Sequence[float]) -> float | None:
    """Median over the rounds of the ratio within a round."""
    if above is None:
        return None
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def in_process(measure: str, job: Job, kind: type[Result]) -> Result:
    """Run a measure of :mod:`understudy.export.probe` in a process that is started for it.

    Args:
        measure: ``start`` or ``turns``.
        job: what to measure.
        kind: of the result.

    Raises:
        UnderstudyError: if the process fails, with its last line.
    """
    names = ", ".join(artefact.name for artefact in job.artefacts)
    with tempfile.TemporaryDirectory(prefix="understudy-probe-") as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        write_json(job_file, job)
        # -P: a file in the user's working folder must not take the place of a package.
        words = ["-P", "-m", "understudy.export.probe", measure, str(job_file), str(result_file)]
        ended = subprocess.run(
            [sys.executable, *words],
            env=_environment(job.threads, folder),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if ended.returncode < 0:
            reason = f"ended by {signal.Signals(-ended.returncode).name}"
            raise UnderstudyError(f"measuring {names} failed: {reason}; is the memory full?")
        if ended.returncode:
            lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["no reason"]
            raise UnderstudyError(f"measuring {names} failed: {lines[-1]}")
        content = json.loads(result_file.read_bytes())
        return from_json(kind, content, str(result_file), "this is a mistake in understudy")


def _environment(threads: int, folder: str) -> dict[str, str]:
    """Of the process: threads that wait without spinning, and empty caches of compiled code."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "TORCHINDUCTOR_CACHE_DIR": str(Path(folder, "compiled")),
    }
    if threads > 1:
        changes["OMP_WAIT_POLICY"] = "PASSIVE"  # another runtime's turn comes next
    return {**os.environ, **changes}
