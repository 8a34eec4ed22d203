"""What the benchmark measures in processes of their own: ``python -m understudy.export.probe``.

A job comes in as a file of JSON and its result leaves as one, since runtimes print what they like.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.cores import available_cores
from understudy.evaluation.deploy_results import Start
from understudy.export.contenders import CONTENDERS
from understudy.export.job_file import carry_out

MEGABYTE = 1e6
_ENERGY_SECONDS = 1.0
_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file to run.

    Attributes:
        name: unique in a job, such as ``student onnx``.
        runtime: a key of :data:`~understudy.export.contenders.CONTENDERS`.
        path: the file or folder.
    """

    name: str
    runtime: str
    path: str

    def open(self, threads: int) -> Callable[[np.ndarray], np.ndarray]:
        """The runtime with the file loaded."""
        module = CONTENDERS[self.runtime].format.load_runtime()
        runtime: Callable[[np.ndarray], np.ndarray] = module.open_file(Path(self.path), threads)
        return runtime


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to measure, in one process.

    Attributes:
        artefacts: the files.
        image: ``(C, H, W)``.
        threads: of each runtime; the process is bound to as many cores.
        batches: images in a call.
        rounds: timed calls with a batch size, at least and at most.
        seconds: of a batch size, after which no more than the fewest rounds are made.
        warmup: untimed rounds before them.
    """

    artefacts: tuple[Artefact, ...]
    image: tuple[int, int, int]
    threads: int
    batches: tuple[int, ...]
    rounds: tuple[int, int]
    seconds: float
    warmup: int


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The timings of one batch size.

    Attributes:
        batch: images in a call.
        milliseconds: artefact -> one timing per round; those of one round belong together.
        energy_mj: artefact -> for one image, ``None`` if the machine does not report it.
    """

    batch: int
    milliseconds: dict[str, tuple[float, ...]]
    energy_mj: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class AllTurns:
    """The result of :func:`take_turns`, one entry for each batch size."""

    turns: tuple[Turns, ...]


def start(job: Job) -> Start:
    """Load the job's only artefact in this process, which has loaded no runtime, and run it."""
    (artefact,) = job.artefacts
    contender = CONTENDERS[artefact.runtime]
    image = np.zeros((1, *job.image), np.uint8)
    began = time.perf_counter()
    contender.format.load_runtime()
    for package in contender.imports:
        importlib.import_module(package)
    imported = time.perf_counter()
    import_mb = memory_mb("VmRSS")
    opened = time.perf_counter()
    runtime = artefact.open(job.threads)
    runtime(image)
    done = time.perf_counter()
    runtime(_images(max(job.batches), job.image))
    return Start(
        import_ms=1e3 * (imported - began),
        load_ms=1e3 * (done - opened),
        import_mb=import_mb,
        peak_mb=memory_mb("VmHWM"),
    )


def take_turns(job: Job) -> AllTurns:
    """Time all artefacts in this process, in turns.

    In each round every artefact is timed once, in alternating order, so that a slow moment of the
    machine falls on all of them alike. An untimed call of its own comes before each timed one: the
    threads of the runtime before it may still be spinning, and the caches hold its data.
    """
    runtimes = {artefact.name: artefact.open(job.threads) for artefact in job.artefacts}
    found = []
    for batch in job.batches:
        images = _images(batch, job.image)
        times = {name: tuple(values) for name, values in _rounds(runtimes, images, job).items()}
        energy = {name: energy_mj(runtime, images) for name, runtime in runtimes.items()}
        found.append(Turns(batch=batch, milliseconds=times, energy_mj=energy))
    return AllTurns(turns=tuple(found))


def _rounds(
    runtimes: Mapping[str, Callable[[np.ndarray], np.ndarray]], images: np.ndarray, job: Job
) -> dict[str, list[float]]:
    fewest, most = job.rounds
    names = list(runtimes)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-job.warmup, most):
        if turn == 0:
            began = time.perf_counter()
        if turn >= fewest and time.perf_counter() - began > job.seconds:
            break
        for name in reversed(names) if turn % 2 else names:
            runtimes[name](images)
            called = time.perf_counter()
            runtimes[name](images)
            if turn >= 0:
                times[name].append(1e3 * (time.perf_counter() - called))
    return times


def _images(batch: int, image: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, *image), np.uint8)


def memory_mb(key: str) -> float | None:
    """An entry of ``/proc/self/status``; ``None`` on other systems.

    ``VmHWM`` belongs to this program alone; ``getrusage`` would count the parent before ``exec``.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = [line for line in lines.splitlines() if line.startswith(f"{key}:")]
    return int(found[0].split()[1]) * 1024 / MEGABYTE if found else None


def energy_mj(
    runtime: Callable[[np.ndarray], np.ndarray], images: np.ndarray, powercap: Path = _POWERCAP
) -> float | None:
    """Energy of the processor packages for one image, over a second of calls (RAPL).

    Args:
        runtime: what is called.
        images: its input.
        powercap: where Linux shows the counters.

    Returns:
        Millijoules, those of idling included; ``None`` without counters that this user may read.
    """
    try:
        before = list(_counters(powercap))
        began, calls = time.perf_counter(), 0
        while before and time.perf_counter() - began < _ENERGY_SECONDS:
            runtime(images)
            calls += 1
        after = list(_counters(powercap))
    except (OSError, ValueError):
        return None
    if not before:
        return None
    used = sum((new - old) % limit for (old, limit), (new, _) in zip(before, after, strict=True))
    return used / 1e3 / (calls * len(images))


def _counters(powercap: Path) -> Iterator[tuple[int, int]]:
    """Microjoules of each package, and the number at which its counter starts again."""
    for zone in sorted(powercap.glob("intel-rapl:[0-9]")):
        limit = int((zone / "max_energy_range_uj").read_text())
        yield int((zone / "energy_uj").read_text()), limit


_MEASURES: Mapping[str, Callable[[Job], Any]] = {"start": start, "turns": take_turns}


def main(measure: str, job_file: str, result_file: str) -> int:
    """Measure what a file describes, bound to as many cores as threads."""

    def bound(job: Job) -> Any:
        if hasattr(os, "sched_setaffinity"):
            # Some runtimes take the cores that they find, whatever the number of threads.
            os.sched_setaffinity(0, set(available_cores()[-job.threads :]))
        return _MEASURES[measure](job)

    return carry_out(Job, bound, job_file, result_file)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
