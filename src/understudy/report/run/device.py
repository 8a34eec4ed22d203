"""The section "On the device": the exported files of a run, what the gate measured, latencies."""

from dataclasses import dataclass
from pathlib import Path

from understudy.evaluation.deploy_results import FILE as BENCHMARK_FILE
from understudy.evaluation.deploy_results import DeployBenchmark, read_benchmark
from understudy.evaluation.deployment import ExportedFile, ExportResults, PairedChange
from understudy.report.format import ABSENT, number, percent, points, significant, times
from understudy.runs.exported import read_export
from understudy.runs.folder import RunFolder

HEADINGS = (
    "file",
    "kB",
    "arithmetic",
    "verdict",
    "top-1 %",
    "change, points [95 %]",
    "same class %",
    "largest difference",
)


@dataclass(frozen=True)
class DeviceSection:
    """What the section shows.

    Attributes:
        network: name of the training that was exported.
        before: its top-1 accuracy in fp32, in percent.
        num_images: validation images that were classified.
        headings: of the table's columns, after the format's.
        rows: format -> cells.
        remarks: one sentence for each file that was not accepted, or took several attempts.
        differing: (format, true class, the network's, the file's, margin) of the listed images.
    """

    network: str
    before: str
    num_images: int
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]
    differing: tuple[tuple[str, str, str, str, str], ...]


LATENCY_HEADINGS = ("threads", "batch", "teacher ms", "student ms", "times faster", "student kB")


@dataclass(frozen=True)
class LatencySection:
    """Student and teacher in each runtime.

    Attributes:
        headings: of the table's columns, after the runtime's.
        rows: runtime -> cells, one row for each number of threads and batch size.
        remarks: where int8 does not pay.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]


def latency_section(run: Path) -> LatencySection | None:
    """The latencies of ``deploy/benchmark.json``; ``None`` if nothing was measured.

    Raises:
        UnderstudyError: if the file is damaged.
    """
    results = read_benchmark(RunFolder(run).deploy / BENCHMARK_FILE)
    return None if results is None else latencies_of(results)


def latencies_of(results: DeployBenchmark) -> LatencySection:
    """The section of these results."""
    rows = []
    for runtime in results.runtimes:
        student, teacher = results.cost("student", runtime), results.cost("teacher", runtime)
        if student is None:
            continue
        for threads, batch in results.settings:
            slow = None if teacher is None else teacher.timing(threads, batch).median_ms
            cells = (
                str(threads),
                str(batch),
                significant(slow),
                significant(student.timing(threads, batch).median_ms),
                times(results.speedup(runtime, threads, batch).over_teacher),
                number(student.bytes / 1000, 1),
            )
            rows.append((runtime, cells))
    remarks = tuple(
        f"{slow.runtime} of the {slow.network} is slower than fp32 at batch {slow.batch} on "
        f"{slow.threads} thread{'s' if slow.threads > 1 else ''}: "
        f"{significant(slow.int8_ms)} against {significant(slow.fp32_ms)} ms."
        for slow in results.slow_int8()
    )
    return LatencySection(LATENCY_HEADINGS, tuple(rows), remarks)


def device_section(run: Path) -> DeviceSection | None:
    """The section; ``None`` if nothing was exported.

    Raises:
        UnderstudyError: if ``deploy/export.json`` is damaged.
    """
    results = read_export(run)
    return None if results is None or not results.files else section_of(results)


def section_of(results: ExportResults) -> DeviceSection:
    """The section of these results."""
    measured = [file.parity for file in results.files if file.parity is not None]
    return DeviceSection(
        network=results.network,
        before=percent(measured[0].before.value) if measured else ABSENT,
        num_images=measured[0].count if measured else 0,
        headings=HEADINGS,
        rows=tuple((file.format, cells_of(file)) for file in results.files),
        remarks=tuple(remark for file in results.files for remark in remarks_of(file)),
        differing=tuple(
            (file.format, d.label, d.expected, d.found, number(d.margin, 3))
            for file in results.files
            if file.parity is not None
            for d in file.parity.disagreements[:10]
        ),
    )


def cells_of(file: ExportedFile) -> tuple[str, ...]:
    """One file's cells under :data:`HEADINGS`."""
    parity = file.parity
    facts = (file.file, number(file.bytes / 1000, 1), file.dtype, file.verdict)
    if parity is None:
        return (*facts, ABSENT, ABSENT, ABSENT, ABSENT)
    return (
        *facts,
        percent(parity.after.value),
        change_text(parity.change),
        percent(parity.agreement.value),
        f"{parity.largest_difference:.1e}",
    )


def change_text(change: PairedChange) -> str:
    """A change of accuracy with its interval, in points: ``-0.12 [-0.40, 0.16]``."""
    low, high = 100 * change.low, 100 * change.high
    return f"{points(change.mean)} [{low:.2f}, {high:.2f}]"


def remarks_of(file: ExportedFile) -> tuple[str, ...]:
    """What a reader must know about a file apart from its numbers."""
    if file.verdict != "accepted":
        return (f"{file.format} is {file.verdict}: {file.reason}.",)
    if len(file.attempts) > 1:
        tried = "; ".join(attempt.step for attempt in file.attempts[:-1])
        return (f"{file.format}: accepted with {file.attempts[-1].step}, after {tried}.",)
    return ()
