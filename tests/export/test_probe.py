"""What is measured in a process of its own: whose turn it is, and how much is read from the
system."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from understudy.export import probe
from understudy.export.contenders import CONTENDERS
from understudy.export.formats import Format
from understudy.export.probe import AllTurns, Artefact, Job
from understudy.files import from_json, write_json


def job(*names: str, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "artefacts": tuple(Artefact(name=n, runtime="onnx", path=n) for n in names),
        "image": (3, 4, 5),
        "threads": 1,
        "batches": (1, 2),
        "rounds": (2, 2),
        "seconds": 60.0,
        "warmup": 1,
    }
    return Job(**values | changes)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every file that is opened and called, by a runtime that computes nothing."""
    seen: list[tuple[str, Any]] = []

    def open_file(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
        seen.append((f"open {path}", threads))

        def run(images: np.ndarray) -> np.ndarray:
            assert images.dtype == np.uint8
            seen.append((path.name, images.shape))
            return np.ones((len(images), 2), np.float32)

        return run

    module = SimpleNamespace(open_file=open_file)
    monkeypatch.setattr(Format, "load_runtime", lambda self: module)
    monkeypatch.setattr(probe, "energy_mj", lambda runtime, images: None)
    return seen


def test_every_second_round_is_in_reverse_order_and_each_timed_call_follows_one_of_its_own(
    called: list[tuple[str, Any]],
) -> None:
    found = probe.take_turns(job("a", "b", threads=2))
    assert called[:2] == [("open a", 2), ("open b", 2)]
    one, two = (1, 3, 4, 5), (2, 3, 4, 5)
    for shape in (one, two):
        order = [name for name, called_with in called if called_with == shape]
        assert "".join(order) == "bbaa" + "aabb" + "bbaa", "one round warms up, two are timed"
    assert [turn.batch for turn in found.turns] == [1, 2]
    for turn in found.turns:
        assert {name: len(times) for name, times in turn.milliseconds.items()} == {"a": 2, "b": 2}
        assert turn.energy_mj == {"a": None, "b": None}


def test_rounds_end_with_the_time_but_never_below_the_fewest(
    called: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: float(next(clock)))

    def rounds(seconds: float) -> int:
        settings = {"rounds": (3, 50), "seconds": seconds, "batches": (1,)}
        (turn,) = probe.take_turns(job("a", **settings)).turns
        return len(turn.milliseconds["a"])

    assert rounds(0.0) == 3
    assert 3 < rounds(20.0) < 50
    assert rounds(1000.0) == 50


def test_start_loads_and_classifies_one_image_then_runs_the_largest_batch(
    called: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.importlib, "import_module", lambda name: called.append((name, None)))
    found = probe.start(job("a", batches=(1, 8)))
    imports = [(name, None) for name in CONTENDERS["onnx"].imports]
    assert called == [*imports, ("open a", 1), ("a", (1, 3, 4, 5)), ("a", (8, 3, 4, 5))]
    assert found.import_ms >= 0
    assert found.load_ms > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_of_memory_is_at_least_what_is_held() -> None:
    held = np.ones(40_000_000, np.uint8)
    now, peak = probe.memory_mb("VmRSS"), probe.memory_mb("VmHWM")
    assert now is not None
    assert peak is not None
    assert held.nbytes / 1e6 < now <= peak
    assert probe.memory_mb("VmNothing") is None


def counters(folder: Path, *microjoules: int) -> None:
    for number, value in enumerate(microjoules):
        zone = folder / f"intel-rapl:{number}"
        zone.mkdir(exist_ok=True)
        (zone / "energy_uj").write_text(f"{value}\n")
        (zone / "max_energy_range_uj").write_text("1000000\n")


def test_energy_is_of_all_packages_and_counters_that_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_ENERGY_SECONDS", 0.0)
    counters(tmp_path, 100_000, 990_000)
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of a package, which counts twice otherwise
    clock = iter([0.0, -1.0, 1.0])  # one call
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(clock))

    def run(images: np.ndarray) -> np.ndarray:
        counters(tmp_path, 160_000, 30_000)
        return images

    found = probe.energy_mj(run, np.zeros((4, 3, 4, 5), np.uint8), tmp_path)
    assert found == (60_000 + 40_000) / 1e3 / 4


def test_energy_without_counters_is_unknown(tmp_path: Path) -> None:
    images = np.zeros((1, 3, 4, 5), np.uint8)
    for folder in (tmp_path, tmp_path / "none"):
        assert probe.energy_mj(lambda images: pytest.fail("called"), images, folder) is None


def test_job_and_result_are_files(
    called: list[tuple[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.os, "sched_setaffinity", lambda *_: None, raising=False)
    write_json(tmp_path / "job", job("a"))
    assert probe.main("turns", str(tmp_path / "job"), str(tmp_path / "result")) == 0
    content = json.loads((tmp_path / "result").read_text())
    assert len(from_json(AllTurns, content, "result", "").turns) == 2
