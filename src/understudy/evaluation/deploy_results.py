"""What deployed networks cost in each runtime: ``deploy/benchmark.json``.

Plain records. Importing this loads no torch: a report needs none.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from understudy.evaluation.environment import Machine
from understudy.files import LEFT_OUT_IF_NONE, read_record

SCHEMA = 1
FILE = "benchmark.json"
"""In a run's ``deploy`` folder."""
TORCH = "torch"
"""The runtime that others are compared with."""

Role = Literal["teacher", "student"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """A fresh process that loads an artefact and classifies one image; medians of several.

    Attributes:
        import_ms: time to import the runtime and what opens its files.
        load_ms: from then on to the first result: open, prepare, compile, classify one image.
        import_mb: memory after the import, in units of 10^6 bytes; ``None`` if the system does not
            report it.
        peak_mb: largest memory of the process, which runs the largest batch at last.
    """

    import_ms: float
    load_ms: float
    import_mb: float | None
    peak_mb: float | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Calls with one batch size, from uint8 images to probabilities.

    Attributes:
        threads: of the runtime.
        batch: images in a call.
        median_ms, p95_ms: of a call; the 95th percentile by nearest rank.
        rounds: timed calls.
        energy_mj: of the whole processor package for one image, in millijoules; ``None`` if the
            machine does not report it.
        samples_ms: every timing in the order taken, if they were requested.
    """

    threads: int
    batch: int
    median_ms: float
    p95_ms: float
    rounds: int
    energy_mj: float | None = None
    samples_ms: tuple[float, ...] | None = field(default=None, metadata=LEFT_OUT_IF_NONE)

    @classmethod
    def of(
        cls,
        threads: int,
        batch: int,
        milliseconds: Sequence[float],
        energy_mj: float | None = None,
        samples: bool = False,
    ) -> "Timing":
        """From single timings, at least one."""
        return cls(
            threads=threads,
            batch=batch,
            median_ms=statistics.median(milliseconds),
            p95_ms=sorted(milliseconds)[math.ceil(0.95 * len(milliseconds)) - 1],
            rounds=len(milliseconds),
            energy_mj=energy_mj,
            samples_ms=tuple(milliseconds) if samples else None,
        )

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return 1e3 * self.batch / self.median_ms


@dataclass(frozen=True, kw_only=True)
class DeployedCost:
    """One network in one runtime.

    Attributes:
        network: ``teacher`` or ``student``.
        runtime: its name.
        dtype: ``fp32`` or ``int8``.
        content: what the bytes on disk hold.
        bytes: of the file, or of all files of a folder.
        start: of a fresh process.
        timings: one for each number of threads and batch size.
    """

    network: Role
    runtime: str
    dtype: str
    content: str
    bytes: int
    start: Start
    timings: tuple[Timing, ...]

    def timing(self, threads: int, batch: int) -> Timing:
        """The timing of one setting."""
        return next(t for t in self.timings if (t.threads, t.batch) == (threads, batch))


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """How much faster the student is; each the median over rounds of the ratio within a round.

    Attributes:
        runtime, threads, batch: of the student.
        over_teacher: the teacher's time in the same runtime / the student's; ``None`` without a
            teacher.
        over_torch: the student's time in eager PyTorch / its time in this runtime; ``None`` if
            PyTorch was not measured.
    """

    runtime: str
    threads: int
    batch: int
    over_teacher: float | None
    over_torch: float | None


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A runtime that was not measured, and why."""

    runtime: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SlowInt8:
    """A setting in which an int8 file is slower than the fp32 file of the same runtime."""

    network: Role
    runtime: str
    threads: int
    batch: int
    int8_ms: float
    fp32_ms: float


@dataclass(frozen=True, kw_only=True)
class DeployBenchmark:
    """The contents of ``deploy/benchmark.json``.

    Attributes:
        schema: version of the layout.
        student, teacher: names of the trainings; no teacher if none is known.
        threads, batches: what was measured.
        costs: one entry per network and runtime.
        speedups: one entry per runtime, threads and batch.
        missing: runtimes that are not on this machine.
        load_average: of the machine before the start.
        environment: the machine, and the versions of the runtimes.
        command: as typed.
    """

    schema: int = SCHEMA
    student: str
    teacher: str | None
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    costs: tuple[DeployedCost, ...]
    speedups: tuple[Speedup, ...]
    missing: tuple[Missing, ...] = ()
    load_average: float | None = None
    environment: Machine | None = None
    command: str = ""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Those that were measured, in order."""
        return tuple(dict.fromkeys(cost.runtime for cost in self.costs))

    @property
    def settings(self) -> list[tuple[int, int]]:
        """Every (threads, batch)."""
        return [(threads, batch) for threads in self.threads for batch in self.batches]

    def cost(self, network: Role, runtime: str) -> DeployedCost | None:
        """The entry of a network in a runtime."""
        found = (c for c in self.costs if (c.network, c.runtime) == (network, runtime))
        return next(found, None)

    def speedup(self, runtime: str, threads: int, batch: int) -> Speedup:
        """The entry of one setting."""
        wanted = (runtime, threads, batch)
        return next(s for s in self.speedups if (s.runtime, s.threads, s.batch) == wanted)

    def slow_int8(self) -> Iterator[SlowInt8]:
        """Every setting in which int8 does not pay."""
        for cost in self.costs:
            floats = self.cost(cost.network, cost.runtime.removesuffix("-int8"))
            if cost.dtype != "int8" or floats is None or floats.dtype == "int8":
                continue
            for timing in cost.timings:
                other = floats.timing(timing.threads, timing.batch)
                if timing.median_ms > other.median_ms:
                    yield SlowInt8(
                        network=cost.network,
                        runtime=cost.runtime,
                        threads=timing.threads,
                        batch=timing.batch,
                        int8_ms=timing.median_ms,
                        fp32_ms=other.median_ms,
                    )


def read_benchmark(path: Path) -> DeployBenchmark | None:
    """The contents of a ``benchmark.json``; ``None`` if there is no such file.

    Raises:
        UnderstudyError: if the file is damaged or of another schema.
    """
    return read_record(DeployBenchmark, path, SCHEMA, "run understudy benchmark --runtimes again")
