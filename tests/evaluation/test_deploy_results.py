"""The record of a benchmark: it round-trips, and points at int8 that does not pay."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.example_deploy_results import RESULTS, cost

from understudy.errors import UnderstudyError
from understudy.evaluation.deploy_results import Timing, read_benchmark
from understudy.files import write_json


def test_results_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    assert read_benchmark(path) is None
    write_json(path, RESULTS)
    assert read_benchmark(path) == RESULTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "has schema None"),
        (json.dumps({"schema": 2}), "has schema 2, this version reads 1"),
        (json.dumps({"schema": 1, "student": "s"}), "is missing"),
    ],
)
def test_damaged_results_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    path.write_text(text)
    with pytest.raises(UnderstudyError, match=message) as caught:
        read_benchmark(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_median_and_95th_percentile_are_of_the_samples() -> None:
    timing = Timing.of(2, 8, [float(number) for number in range(1, 41)])
    assert (timing.median_ms, timing.p95_ms, timing.rounds) == (20.5, 38.0, 40)
    assert timing.images_per_second == 8 / 20.5e-3
    assert timing.samples_ms is None
    assert Timing.of(1, 1, [3.0, 1.0], samples=True).samples_ms == (3.0, 1.0)


def test_int8_that_is_slower_is_found_in_each_setting() -> None:
    (slow,) = RESULTS.slow_int8()
    assert (slow.network, slow.batch, slow.int8_ms, slow.fp32_ms) == ("student", 1, 0.2, 0.1)


def test_int8_without_its_fp32_is_compared_with_nothing() -> None:
    alone = replace(RESULTS, costs=(cost("student", "onnx-int8", (9.0, 9.0)),))
    assert list(alone.slow_int8()) == []
    assert alone.runtimes == ("onnx-int8",)
    assert alone.cost("teacher", "onnx-int8") is None
