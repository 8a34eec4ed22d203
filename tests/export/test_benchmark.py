"""A benchmark of runtimes: what is written, in which processes it is measured, and the ratios."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.export.networks import randomised, tiny_deployable, tiny_examples
from tests.worlds import SeenEvents, config_for

from understudy.cores import available_cores
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.deploy_results import FILE, Role, Start, read_benchmark
from understudy.experiment import train_arm
from understudy.export import benchmark
from understudy.export.benchmark import (
    BenchmarkSettings,
    benchmark_networks,
    benchmark_training,
    in_process,
)
from understudy.export.card import Origin
from understudy.export.contenders import CONTENDERS, Contender, contenders_of
from understudy.export.deployable import Deployable
from understudy.export.formats import Format
from understudy.export.probe import AllTurns, Artefact, Job, Turns
from understudy.export.settings import QuantisationSettings
from understudy.export.source import open_source
from understudy.models import build_model
from understudy.runs.folder import RunFolder

MILLISECONDS = {
    "teacher torch": (8.0, 40.0, 8.0),
    "student torch": (4.0, 8.0, 2.0),
    "teacher onnx-int8": (3.0, 30.0, 3.0),
    "student onnx-int8": (1.0, 2.0, 1.0),
}
"""Three rounds; in the second the machine is slow."""
QUICK = BenchmarkSettings(batches=(1, 2), rounds=(1, 1), seconds=0.0, warmup=0, starts=1)


def networks() -> dict[Role, Deployable]:
    named = replace(tiny_deployable(), origin=Origin(arm="distilled", seed=3, model="tiny"))
    return {"student": named, "teacher": replace(named, origin=Origin(model="large"))}


class FakeProcesses:
    """Stands in for the processes, and for the files of formats."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, load_ms: float = 10.0) -> None:
        self.jobs: list[tuple[str, Job]] = []
        self.written: list[tuple[Any, ...]] = []
        self.load_ms = load_ms
        module = SimpleNamespace(write=self.write)
        monkeypatch.setattr(Format, "load", lambda self: module)
        monkeypatch.setattr(benchmark, "in_process", self.in_process)

    def write(self, deployable: Deployable, out: Path, *rest: Any) -> None:
        self.written.append((deployable, out.name, *rest))
        out.write_bytes(b"x" * 100)

    def in_process(self, measure: str, job: Job, kind: type) -> Any:
        self.jobs.append((measure, job))
        assert all(Path(artefact.path).exists() for artefact in job.artefacts)
        if measure == "start":
            number = len(self.jobs)
            return Start(import_ms=number, load_ms=self.load_ms, import_mb=1.0, peak_mb=number)
        names = [artefact.name for artefact in job.artefacts]
        times = {name: MILLISECONDS[name] for name in names}
        energy = dict.fromkeys(names, 0.5)
        turns = [Turns(batch=b, milliseconds=times, energy_mj=energy) for b in job.batches]
        return AllTurns(turns=tuple(turns))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> FakeProcesses:
    monkeypatch.setattr(benchmark, "available_cores", lambda: [0, 1])
    return FakeProcesses(monkeypatch)


def contenders(*names: str) -> list[Contender]:
    return [CONTENDERS[name] for name in names]


def test_each_network_is_written_once_for_each_runtime(fakes: FakeProcesses) -> None:
    given, examples = networks(), tiny_examples()
    results = benchmark_networks(given, examples, contenders("torch", "onnx-int8"))
    student, teacher = given["student"], given["teacher"]
    assert fakes.written == [
        (student, "network.safetensors"),
        (teacher, "network.safetensors"),
        (student, "student-int8.onnx", examples, QuantisationSettings()),
        (teacher, "student-int8.onnx", examples, QuantisationSettings()),
    ]
    assert [(c.network, c.runtime, c.dtype, c.bytes) for c in results.costs] == [
        ("student", "torch", "fp32", 100),
        ("teacher", "torch", "fp32", 100),
        ("student", "onnx-int8", "int8", 100),
        ("teacher", "onnx-int8", "int8", 100),
    ]
    assert (results.student, results.teacher) == ("distilled-seed3", "large")


def test_all_files_take_turns_in_one_process_for_each_number_of_threads(
    fakes: FakeProcesses,
) -> None:
    settings = BenchmarkSettings(threads=(1, 2), batches=(1, 128))
    results = benchmark_networks(
        networks(), tiny_examples(), contenders("torch", "onnx-int8"), settings=settings
    )
    turns = [job for measure, job in fakes.jobs if measure == "turns"]
    assert [job.threads for job in turns] == [1, 2]
    for job in turns:
        assert {artefact.name for artefact in job.artefacts} == set(MILLISECONDS)
        assert job.image == (3, 8, 8)
    starts = [job for measure, job in fakes.jobs if measure == "start"]
    assert {(len(job.artefacts), job.threads) for job in starts} == {(1, 1)}
    assert results.settings == [(1, 1), (1, 128), (2, 1), (2, 128)]
    timing = results.costs[0].timing(2, 128)
    assert (timing.median_ms, timing.rounds, timing.energy_mj) == (4.0, 3, 0.5)


def test_ratios_are_medians_of_ratios_within_a_round(fakes: FakeProcesses) -> None:
    results = benchmark_networks(networks(), tiny_examples(), contenders("torch", "onnx-int8"))
    torch = results.speedup("torch", 1, 1)
    assert torch.over_teacher == 4.0, "of 2, 5 and 4; that of the medians is 2"
    assert torch.over_torch == 1.0
    int8 = results.speedup("onnx-int8", 1, 128)
    assert (int8.over_teacher, int8.over_torch) == (3.0, 4.0)


def test_ratios_without_a_teacher_or_torch_are_unknown(fakes: FakeProcesses) -> None:
    given = networks()
    del given["teacher"]
    results = benchmark_networks(given, tiny_examples(), contenders("onnx-int8"))
    (found, _) = results.speedups
    assert (found.over_teacher, found.over_torch, results.teacher) == (None, None, None)


def test_starts_are_medians_but_long_ones_are_measured_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = FakeProcesses(monkeypatch)
    given = {"student": networks()["student"]}
    results = benchmark_networks(given, tiny_examples(), contenders("torch"))
    assert [measure for measure, _ in short.jobs] == ["start"] * 3 + ["turns"]
    start = results.costs[0].start
    assert (start.import_ms, start.load_ms, start.peak_mb) == (2.0, 10.0, 3.0)
    long = FakeProcesses(monkeypatch, load_ms=9000.0)
    benchmark_networks(given, tiny_examples(), contenders("torch"))
    assert [measure for measure, _ in long.jobs] == ["start", "turns"]


def test_samples_are_in_the_results_if_they_are_wanted(fakes: FakeProcesses) -> None:
    for samples in (False, True):
        settings = BenchmarkSettings(samples=samples)
        results = benchmark_networks(
            networks(), tiny_examples(), contenders("torch"), settings=settings
        )
        found = results.costs[0].timings[0].samples_ms
        assert found == (MILLISECONDS["student torch"] if samples else None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": (0,)}, "--threads takes numbers of at least 1"),
        ({"batches": ()}, "--batch takes numbers of at least 1"),
        ({"threads": (1, len(available_cores()) + 1)}, "is more than the"),
    ],
)
def test_settings_that_measure_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        BenchmarkSettings(**changes)


def test_process_has_as_many_threads_as_wanted_and_sends_nothing_home(tmp_path: Path) -> None:
    one, two = (benchmark._environment(threads, str(tmp_path)) for threads in (1, 2))
    assert (one["OMP_NUM_THREADS"], two["OMP_NUM_THREADS"]) == ("1", "2")
    assert two["OMP_WAIT_POLICY"] == "PASSIVE", "spinning threads would take the next one's turn"
    assert one["ORT_DISABLE_TELEMETRY"] == "1"
    assert one["TORCHINDUCTOR_CACHE_DIR"].startswith(str(tmp_path)), "a cold start has no cache"
    assert one["PYTHONPATH"].split(os.pathsep)[0] == str(Path(benchmark.__file__).parents[2])


@pytest.mark.slow
def test_process_that_fails_is_one_line_with_its_reason(tmp_path: Path) -> None:
    artefact = Artefact(name="student torch", runtime="torch", path=str(tmp_path / "absent"))
    job = Job(
        artefacts=(artefact,),
        image=(3, 8, 8),
        threads=1,
        batches=(1,),
        rounds=(1, 1),
        seconds=0.0,
        warmup=0,
    )
    with pytest.raises(UnderstudyError, match=r"measuring student torch failed: .*absent") as error:
        in_process("start", job, Start)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_run_is_measured_and_its_folder_has_the_results(images: Path, tmp_path: Path) -> None:
    config = config_for(images, train={"epochs": 1, "batch_size": 16, "lr": 1e-2})
    train_arm(config, "teacher", 0, tmp_path)
    train_arm(config, "distilled", 0, tmp_path)
    seen = SeenEvents()
    results = benchmark_training(
        open_source(tmp_path),
        contenders_of("torch")[0],
        settings=QUICK,
        command="as typed",
        observer=seen,
    )
    assert read_benchmark(RunFolder(tmp_path).deploy / FILE) == results
    assert (results.student, results.teacher) == ("distilled-seed0", "teacher-seed0")
    assert results.command == "as typed"
    for cost in results.costs:
        assert cost.bytes > 1000
        assert [timing.batch for timing in cost.timings] == [1, 2]
        assert all(timing.median_ms > 0 for timing in cost.timings)
        assert cost.start.load_ms > 0
    assert seen.lines == ["torch: writing the student", "torch: writing the teacher"]
    assert seen.counts()[-1] == ("latency", 1, 1)


@pytest.mark.slow
def test_onnx_is_measured_next_to_torch() -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    network = randomised(build_model("founding_student", 3))
    student = replace(
        tiny_deployable(),
        network=network,
        preprocessing=Preprocessing(image=ImageSpec(3, 32, 32)),
    )
    results = benchmark_networks(
        {"student": student}, tiny_examples(), contenders("torch", "onnx"), settings=QUICK
    )
    assert results.runtimes == ("torch", "onnx")
    ratio = results.speedup("onnx", 1, 1).over_torch
    assert ratio is not None
    assert ratio > 0
