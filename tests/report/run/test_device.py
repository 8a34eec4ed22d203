"""The sections about devices: files with their verdicts, and latencies."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from understudy.errors import UnderstudyError
from understudy.evaluation.deploy_results import (
    DeployBenchmark,
    DeployedCost,
    Role,
    Speedup,
    Start,
    Timing,
)
from understudy.evaluation.deployment import Attempt, ExportedFile, ExportResults, compare
from understudy.files import write_json
from understudy.report.run.device import (
    device_section,
    latencies_of,
    latency_section,
    section_of,
)
from understudy.runs.folder import RunFolder

EXPECTED = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32)
FOUND = np.array([[0.8, 0.2], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]], np.float32)
PARITY = compare(EXPECTED, FOUND, np.array([0, 1, 0, 0]), ("cat", "<dog>"))


def exported(verdict: str = "accepted", attempts: tuple[Attempt, ...] = ()) -> ExportedFile:
    return ExportedFile(
        format="onnx-int8",
        file="student-int8.onnx",
        dtype="int8",
        bytes=122_442,
        sha256="",
        seconds=1.0,
        verdict=verdict,  # type: ignore[arg-type]
        reason="it loses more than 0.5 points",
        parity=PARITY,
        attempts=attempts,
    )


def results(*files: ExportedFile) -> ExportResults:
    return ExportResults(network="distilled-seed0", bound=1e-3, max_drop=0.005, files=files)


def test_row_has_size_verdict_and_paired_change() -> None:
    section = section_of(results(exported()))
    ((name, cells),) = section.rows
    assert (name, cells[:4]) == ("onnx-int8", ("student-int8.onnx", "122.4", "int8", "accepted"))
    assert cells[4] == "50.00"
    assert cells[5].startswith("-25.00 [")
    assert cells[6] == "75.00"
    assert (section.before, section.num_images) == ("75.00", 4)
    assert section.differing == (("onnx-int8", "cat", "cat", "<dog>", "0.200"),)


def test_reader_learns_why_a_file_was_not_accepted_and_what_it_took() -> None:
    assert section_of(results(exported("refused"))).remarks == (
        "onnx-int8 is refused: it loses more than 0.5 points.",
    )
    attempts = tuple(
        Attempt(step=step, verdict=verdict, change=PARITY.change, agreement=1.0)
        for step, verdict in (("minmax", "refused"), ("entropy", "accepted"))
    )
    assert section_of(results(exported(attempts=attempts))).remarks == (
        "onnx-int8: accepted with entropy, after minmax.",
    )


def test_file_that_was_not_measured_has_no_numbers() -> None:
    file = dataclasses.replace(exported("unproven"), parity=None)
    ((_, cells),) = section_of(results(file)).rows
    assert cells[4:] == ("–",) * 4


def cost(network: Role, runtime: str, milliseconds: float) -> DeployedCost:
    timing = Timing(threads=1, batch=1, median_ms=milliseconds, p95_ms=9.0, rounds=30)
    start = Start(import_ms=1.0, load_ms=1.0, import_mb=None, peak_mb=None)
    dtype = "int8" if runtime.endswith("int8") else "fp32"
    return DeployedCost(
        network=network,
        runtime=runtime,
        dtype=dtype,
        content="weights",
        bytes=5000,
        start=start,
        timings=(timing,),
    )


BENCHMARK = DeployBenchmark(
    student="distilled-seed0",
    teacher="teacher-seed0",
    threads=(1,),
    batches=(1,),
    costs=(
        cost("student", "onnx", 0.5),
        cost("teacher", "onnx", 4.0),
        cost("student", "onnx-int8", 0.75),
    ),
    speedups=tuple(
        Speedup(runtime=runtime, threads=1, batch=1, over_teacher=ratio, over_torch=None)
        for runtime, ratio in (("onnx", 8.0), ("onnx-int8", None))
    ),
)


def test_latencies_of_student_and_teacher_are_in_one_row() -> None:
    section = latencies_of(BENCHMARK)
    assert section.rows == (
        ("onnx", ("1", "1", "4.00", "0.500", "8.00×", "5.0")),
        ("onnx-int8", ("1", "1", "–", "0.750", "–", "5.0")),
    )
    assert section.remarks == (
        "onnx-int8 of the student is slower than fp32 at batch 1 on 1 thread: "
        "0.750 against 0.500 ms.",
    )


def test_sections_are_read_from_the_run_folder(tmp_path: Path) -> None:
    assert device_section(tmp_path) is None
    assert latency_section(tmp_path) is None
    folder = RunFolder(tmp_path)
    write_json(folder.export, results(exported()))
    write_json(folder.deploy / "benchmark.json", BENCHMARK)
    assert device_section(tmp_path) == section_of(results(exported()))
    assert latency_section(tmp_path) == latencies_of(BENCHMARK)
    folder.export.write_text("{")
    with pytest.raises(UnderstudyError, match="run understudy export again"):
        device_section(tmp_path)
