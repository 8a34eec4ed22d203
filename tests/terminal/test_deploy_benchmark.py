"""The tables of a benchmark of runtimes, and the lines below them."""

import io
from dataclasses import replace

from rich.console import Console
from tests.evaluation.example_deploy_results import RESULTS, cost

from understudy.evaluation.deploy_results import DeployBenchmark, Speedup
from understudy.terminal.deploy_benchmark import latency_table, remarks, start_table


def lines_of(results: DeployBenchmark) -> list[list[str]]:
    """The cells of both tables' lines."""
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(start_table(results))
    console.print(latency_table(results))
    return [line.split() for line in console.export_text().splitlines()]


def test_teacher_and_student_stand_next_to_each_other() -> None:
    lines = lines_of(RESULTS)
    assert ["onnx", "teacher", "fp32", "18,600.0", "300", "20.0", "130", "30"] in lines
    assert ["onnx", "student", "fp32", "430.0", "300", "20.0", "130", "30"] in lines
    row = ["onnx", "1", "128", "40", "80", "8", "16", "16,000", "5.00", "–"]
    assert row in lines


def test_student_alone_has_no_ratio() -> None:
    alone = Speedup(runtime="onnx", threads=1, batch=1, over_teacher=None, over_torch=2.5)
    results = replace(
        RESULTS, batches=(1,), costs=(cost("student", "onnx", (0.1, 8.0)),), speedups=(alone,)
    )
    row = ["onnx", "1", "1", "–", "–", "0.1", "0.2", "10,000", "–", "2.50"]
    assert row in lines_of(results)


def test_what_the_tables_hide_is_written_below() -> None:
    text = "\n".join(remarks(RESULTS))
    slow = "student, batch 1, 1 thread: 0.2 ms, fp32 0.1 ms."
    assert f"onnx-int8 is slower than fp32 here: {slow}" in text
    assert "batch 128, 1 thread" not in text
    assert "The bytes of onnx, onnx-int8: graph and weights." in text
    assert "int8 files are measured for cost alone" in text
    assert "Energy: not measured on this machine" in text
    assert "Not measured: openvino needs the package openvino" in text
    assert "not idle" not in text


def test_busy_machine_is_pointed_out() -> None:
    lines = list(remarks(replace(RESULTS, load_average=3.21)))
    assert any("not idle before the start (load 3.2)" in line for line in lines)


def test_energy_has_a_column_if_it_was_measured() -> None:
    measured = tuple(
        replace(c, timings=tuple(replace(t, energy_mj=1.25) for t in c.timings))
        for c in RESULTS.costs
    )
    results = replace(RESULTS, costs=measured)
    assert any(line[-1:] == ["1.25"] for line in lines_of(results))
    assert "Energy" not in "\n".join(remarks(results))
