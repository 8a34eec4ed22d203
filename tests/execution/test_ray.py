"""Trainings on a Ray cluster of two workers: each finishes once, whoever is killed, with the bits of a training done alone."""

import copy
import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.execution import ray as ray_tune
from understudy.execution.backend import Epoch, Event, Failed, Finished, Stopped, Training
from understudy.execution.ray import RayBackend
from understudy.runs.arm import run_arm
from understudy.runs.plan import ArmSpec

WITHOUT_RAY = "Ray Tune is not installed (pip install 'understudy[ray]')"
# Ray's own modules warn about each other; ours must not.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)

CONFIG = parse(
    RunConfig,
    {
        "data": {
            "source": "digits",
            "mean": [0.3] * 3,
            "std": [0.35] * 3,
            "augment": {"padding": 1, "flip": False},
        },
        "teacher": {
            "model": {"name": "fast_teacher", "options": {"widths": [8, 8, 8], "stem_width": 4}},
            "train": {"epochs": 1},
        },
        "train": {"epochs": 3, "batch_size": 64, "precision": "fp32"},
    },
)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder with its teacher, as the sweep makes it before any trial."""
    run = tmp_path_factory.mktemp("sweep")
    run_arm(CONFIG, ArmSpec("teacher", 0, None), run, "cpu", 1, final=False)
    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for the module's tests, which takes seconds to start: this machine as two workers."""
    pytest.importorskip("ray.tune", reason=WITHOUT_RAY)
    ray_tune._connect(ray_tune._import_ray(), "local", 2)
    yield
    import ray

    ray.shutdown()


def training(
    taught: Path, name: str, temperature: float = 4.0, *, epochs: int = 3, **changes: object
) -> Training:
    config = replace(
        CONFIG,
        method={"name": "kd", "temperature": temperature},
        train=replace(CONFIG.train, epochs=epochs),
    )
    made = Training(
        name, config, "distilled", 0, taught / "trials" / name, taught, str(taught / "outputs")
    )
    return replace(made, **changes)


def until(backend: RayBackend, count: int, seconds: float = 400) -> list[Event]:
    """Events until so many trainings have ended."""
    events: list[Event] = []
    deadline = time.monotonic() + seconds
    while sum(not isinstance(event, Epoch) for event in events) < count:
        assert time.monotonic() < deadline, events
        events += backend.wait()
    return events


def epochs_of(events: list[Event], name: str) -> list[int]:
    return [
        event.result.epoch
        for event in events
        if isinstance(event, Epoch) and event.training == name
    ]


def history(training: Training) -> list[dict[str, str]]:
    return list(
        csv.DictReader(
            (training.folder / "arms" / "distilled-seed0" / "history.csv").read_text().splitlines()
        )
    )


def weights(training: Training) -> dict[str, torch.Tensor]:
    return load_file(training.folder / "models" / "distilled-seed0.safetensors")


def holder(training: Training) -> int:
    """The process that trains it."""
    return int((training.folder / "training.pid").read_text().split()[1])


def test_a_killed_worker_costs_one_epoch_and_everything_finishes_once(cluster: None, taught: Path):
    colder, broken = training(taught, "colder", 1.0), training(taught, "broken")
    broken = replace(
        broken, config=replace(broken.config, train=replace(broken.config.train, lr=1e30))
    )
    long, dropped = training(taught, "long", 4.0, epochs=6), training(taught, "dropped", epochs=30)
    with RayBackend(taught) as backend:
        assert backend.capacity == 2
        backend.submit([long, colder, broken, dropped])
        events: list[Event] = []
        while not epochs_of(events, "long"):
            events += backend.wait()
        os.kill(holder(long), signal.SIGKILL)
        while not epochs_of(events, "dropped"):
            events += backend.wait()
        backend.stop("dropped")
        events += until(backend, 4 - sum(not isinstance(event, Epoch) for event in events))
        assert backend.wait() == []
    ends = {event.training: event for event in events if not isinstance(event, Epoch)}
    assert len(ends) == sum(not isinstance(event, Epoch) for event in events), (
        "no training ends twice"
    )
    assert isinstance(ends["long"], Finished) and isinstance(ends["colder"], Finished)
    assert isinstance(ends["dropped"], Stopped) and 1 <= len(epochs_of(events, "dropped")) < 30
    assert (
        isinstance(ends["broken"], Failed)
        and "not finite in epoch 0: lower train.lr" in ends["broken"].reason
    )
    assert epochs_of(events, "long") == list(range(6)), "no epoch is told twice"

    # The seconds that its first epoch took, to the last digit: it was not trained again.
    first = next(event for event in events if isinstance(event, Epoch) and event.training == "long")
    assert float(history(long)[0]["seconds"]) == first.result.seconds

    alone = replace(long, folder=taught / "alone")
    run_arm(
        alone.config,
        ArmSpec("distilled", 0, 0),
        alone.folder,
        "cpu",
        1,
        cache=alone.cache,
        final=False,
        teachers=taught,
    )
    assert all(torch.equal(weights(alone)[name], value) for name, value in weights(long).items())
    assert any(
        not torch.equal(weights(colder)[name], value) for name, value in weights(long).items()
    )
    assert "test" not in ends["long"].result, "the test split stays shut"
    assert not (taught / "ray").exists(), "Tune's own notes are gone"


def test_a_killed_driver_loses_nothing_and_runs_nothing_twice(
    cluster: None, taught: Path, tmp_path: Path
):
    quick, long = (
        training(taught, "driver-quick", epochs=1),
        training(taught, "driver-long", epochs=12),
    )
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
            from pathlib import Path
            from tests.execution.test_ray import *
            taught = Path({str(taught)!r})
            with RayBackend(taught, address="local", workers=2) as backend:
                backend.submit([training(taught, "driver-quick", epochs=1), training(taught, "driver-long", epochs=12)])
                while True:
                    for event in backend.wait():
                        print(json.dumps([type(event).__name__, event.training, getattr(event, "reason", "")]), flush=True)
            """
        )
    )
    driver = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert driver.stdout is not None
    seen: set[tuple[str, str]] = set()
    while not {("Finished", quick.name), ("Epoch", long.name)} <= seen:
        line = driver.stdout.readline()
        assert line, "the driver ended by itself"
        kind, name, reason = json.loads(line)
        assert kind != "Failed", reason
        seen.add((kind, name))
    driver.kill()
    driver.wait()
    driver.stdout.close()
    result = quick.folder / "arms" / "distilled-seed0" / "result.json"
    before = (result.stat().st_mtime_ns, history(quick))
    checkpoint = torch.load(
        long.folder / "arms" / "distilled-seed0" / "checkpoint.pt", weights_only=True
    )
    with RayBackend(taught) as backend:
        backend.submit([quick, long])
        events = until(backend, 2)
    assert {event.training for event in events if isinstance(event, Finished)} == {
        quick.name,
        long.name,
    }
    assert (result.stat().st_mtime_ns, history(quick)) == before, (
        "what was finished is not trained again"
    )
    assert epochs_of(events, long.name) == list(range(12))
    kept = [entry["seconds"] for entry in checkpoint["history"]]
    assert kept and [float(row["seconds"]) for row in history(long)][: len(kept)] == kept, (
        "it went on from its checkpoint"
    )


def test_what_waits_for_a_worker_is_stopped_at_once(taught: Path):
    exchange = ray_tune._Exchange()
    jobs = [
        ray_tune._Job(training(taught, name), "cpu", False, ray_tune._Mark(taught, ""))
        for name in ("first", "second")
    ]
    exchange.waiting.extend(jobs)
    assert exchange.next_job() is jobs[0]  # Tune has it: it ends with its next epoch
    exchange.stop("first")
    exchange.stop("second")
    assert exchange.stopping == {"first"} and exchange.news.get_nowait() == Stopped("second")
    assert exchange.next_job() is None


def test_copies_that_tune_makes_of_the_exchange_are_the_exchange():
    exchange = ray_tune._Exchange()
    assert copy.deepcopy(exchange) is exchange and pickle.loads(pickle.dumps(exchange)) is exchange


def test_a_node_that_does_not_see_the_folder_is_named(
    cluster: None, taught: Path, tmp_path: Path, monkeypatch
):
    mark = ray_tune._Mark(tmp_path / "mark.txt", "a word")
    assert len(ray_tune.nodes_that_miss(mark)) == 1
    mark.path.write_text("another driver's word")
    assert len(ray_tune.nodes_that_miss(mark)) == 1
    mark.path.write_text("a word")
    assert ray_tune.nodes_that_miss(mark) == []
    monkeypatch.setattr(ray_tune, "nodes_that_miss", lambda mark: ["far-away"])
    with (
        RayBackend(tmp_path) as backend,
        pytest.raises(UnderstudyError, match=r"far-away of the Ray cluster cannot see .*--out"),
    ):
        backend.submit([training(taught, "unseen")])


def test_a_node_that_joins_later_without_the_folder_fails_the_training(taught: Path, monkeypatch):
    tune = pytest.importorskip("ray.tune", reason=WITHOUT_RAY)
    told: list[dict[str, str]] = []
    monkeypatch.setattr(tune, "report", told.append)
    unseen = ray_tune._Mark(taught / "elsewhere" / "ray" / "mark.txt", "a word")
    ray_tune._train({"job": ray_tune._Job(training(taught, "late"), "cpu", False, unseen)})
    kind, (reason, machine) = json.loads(told[0]["news"])
    assert kind == "failed" and "cannot see" in reason and machine and len(told) == 1
    assert not (taught / "trials" / "late").exists()


def test_a_training_that_another_process_holds_is_waited_for_and_then_named(
    taught: Path, monkeypatch
):
    monkeypatch.setattr(ray_tune, "_TAKEOVER", 0.05)
    held = training(taught, "held")
    first, second = ray_tune._alone(held), ray_tune._alone(held)
    with (
        first,
        pytest.raises(UnderstudyError, match=f"process {os.getpid()} on .* has been training it"),
    ):
        second.__enter__()
    with ray_tune._alone(held):
        pass


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
def test_workers_of_one_machine_get_a_core_each(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ray_tune.tempfile, "gettempdir", lambda: str(tmp_path))
    cores = sorted(os.sched_getaffinity(0))
    with ray_tune._own_core():
        first = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # as another worker would start
        with ray_tune._own_core():
            second = os.sched_getaffinity(0)
    assert first == {cores[0]}
    assert second == ({cores[1]} if len(cores) > 1 else set(cores))
    assert sorted(os.sched_getaffinity(0)) == cores


def test_what_cannot_work_is_refused_in_one_line(cluster: None, tmp_path: Path, monkeypatch):
    with pytest.raises(UnderstudyError, match="has no GPU: give --device auto or cpu, not cuda"):
        RayBackend(tmp_path, device="cuda")
    with pytest.raises(UnderstudyError, match="client port"):
        ray_tune._connect(None, "ray://head:10001", None)
    for module in ("ray", "ray.tune"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnderstudyError, match=r"pip install 'understudy\[ray\]'"):
        RayBackend(tmp_path)
