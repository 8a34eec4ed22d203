"""Trainings on a Ray cluster of two workers: each finishes once, whoever is killed, with the bits
of a training done alone."""

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.execution import cores as worker_cores
from understudy.execution import ray as ray_backend
from understudy.execution.backend import Epoch, Event, Failed, Finished, Stopped, Training
from understudy.execution.ray import RayBackend
from understudy.runs.arm import ArmOptions, run_arm
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan

WITHOUT_RAY = "Ray is not installed (pip install 'understudy[ray]')"
# Ray's own modules warn about each other; ours must not.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
    ),
]

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
    plan = resolve_plan(CONFIG)
    teacher = plan.arm_run("teacher", 0)
    run_arm(plan, teacher, RunFolder(run), ArmOptions("cpu", threads=1), final=False)
    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for the module's tests, which takes seconds to start: this machine as two
    workers."""
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    ray_backend._connect(ray_backend._import_ray(), "local", 2)
    yield
    import ray

    ray.shutdown()


def training(
    taught: Path,
    name: str,
    temperature: float = 4.0,
    *,
    epochs: int = 3,
    lr: float = CONFIG.train.lr,
) -> Training:
    config = replace(
        CONFIG,
        method={"name": "kd", "temperature": temperature},
        train=replace(CONFIG.train, epochs=epochs, lr=lr),
    )
    plan, folder = resolve_plan(config), RunFolder(taught / "trials" / name)
    run, outputs = plan.arm_run("distilled", 0), str(taught / "outputs")
    return Training(name, plan, run, folder, RunFolder(taught), outputs)


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
        csv.DictReader(training.folder.arm_history("distilled-seed0").read_text().splitlines())
    )


def weights(training: Training) -> dict[str, torch.Tensor]:
    return load_file(training.folder.weights("distilled-seed0"))


def holder(training: Training) -> int:
    """The process that trains it."""
    return int((training.folder.path / "training.pid").read_text().split()[1])


def test_killed_worker_costs_one_epoch_and_everything_finishes_once(cluster: None, taught: Path):
    colder, broken = training(taught, "colder", 1.0), training(taught, "broken", lr=1e30)
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
    assert epochs_of(events, "long") == list(range(6)), "no epoch is sent twice"

    # The seconds that its first epoch took, to the last digit: it was not trained again.
    first = next(event for event in events if isinstance(event, Epoch) and event.training == "long")
    assert float(history(long)[0]["seconds"]) == first.result.seconds

    alone = replace(long, folder=RunFolder(taught / "alone"))
    run_arm(
        alone.plan,
        alone.run,
        alone.folder,
        ArmOptions("cpu", threads=1, cache=alone.cache),
        final=False,
        teachers=alone.teachers,
    )
    assert all(torch.equal(weights(alone)[name], value) for name, value in weights(long).items())
    assert any(
        not torch.equal(weights(colder)[name], value) for name, value in weights(long).items()
    )
    assert ends["long"].result.test is None, "the test split stays shut"
    assert not (taught / "ray").exists(), "the driver's notes are gone"


def test_killed_driver_loses_nothing_and_runs_nothing_twice(
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
                quick = training(taught, "driver-quick", epochs=1)
                backend.submit([quick, training(taught, "driver-long", epochs=12)])
                while True:
                    for event in backend.wait():
                        line = [type(event).__name__, event.training, getattr(event, "reason", "")]
                        print(json.dumps(line), flush=True)
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
    result = quick.folder.result("distilled-seed0")
    before = (result.stat().st_mtime_ns, history(quick))
    checkpoint = torch.load(long.folder.checkpoint("distilled-seed0"), weights_only=True)
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
    saved = [entry["seconds"] for entry in checkpoint["history"]]
    assert saved and [float(row["seconds"]) for row in history(long)][: len(saved)] == saved, (
        "it went on from its checkpoint"
    )


def test_waiting_training_is_stopped_at_once(cluster: None, taught: Path):
    first, second = training(taught, "running", epochs=30), training(taught, "waiting")
    with RayBackend(taught, workers=1) as backend:
        backend.submit([first, second])
        events: list[Event] = []
        while not epochs_of(events, "running"):
            events += backend.wait()
        backend.stop("waiting")
        assert backend.wait() == [Stopped("waiting")]
        backend.stop("running")
        assert until(backend, 1)[-1] == Stopped("running")
    assert not second.folder.path.exists()


def test_events_arrive_in_the_order_in_which_they_were_posted():
    mailbox = ray_backend._Mailbox()

    async def exchange() -> None:
        await mailbox.stop("a")
        assert await mailbox.post(Epoch("a", None)) and not await mailbox.post(Epoch("b", None))  # type: ignore[arg-type]
        assert not await mailbox.post(Stopped("a")), "it has ended, and may be submitted again"
        assert not await mailbox.post(Epoch("a", None))  # type: ignore[arg-type]
        names = [(type(event), event.training) for event in await mailbox.take(0.0)]
        assert names == [(Epoch, "a"), (Epoch, "b"), (Stopped, "a"), (Epoch, "a")]
        assert await mailbox.take(0.0) == []

    # In a thread: the browser of other tests leaves its event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(exchange())).result()


def test_node_that_does_not_see_the_folder_is_named(
    cluster: None, taught: Path, tmp_path: Path, monkeypatch
):
    marker = ray_backend._Marker(tmp_path / "marker.txt", "a token")
    assert len(ray_backend.nodes_without(marker)) == 1
    marker.path.write_text("another driver's token")
    assert len(ray_backend.nodes_without(marker)) == 1
    marker.path.write_text("a token")
    assert ray_backend.nodes_without(marker) == []
    monkeypatch.setattr(ray_backend, "nodes_without", lambda marker: ["far-away"])
    with (
        RayBackend(tmp_path) as backend,
        pytest.raises(UnderstudyError, match=r"far-away of the Ray cluster cannot see .*--out"),
    ):
        backend.submit([training(taught, "unseen")])


def test_node_that_joins_without_the_folder_fails_the_training(taught: Path, monkeypatch):
    posted: list[Event] = []
    post = SimpleNamespace(remote=posted.append)
    ray = pytest.importorskip("ray", reason=WITHOUT_RAY)
    monkeypatch.setattr(ray, "get", lambda reference: False)
    unseen = ray_backend._Marker(taught / "elsewhere" / "ray" / "marker.txt", "a token")
    ray_backend._train(training(taught, "late"), "cpu", False, unseen, SimpleNamespace(post=post))
    (event,) = posted
    assert isinstance(event, Failed) and "cannot see" in event.reason and event.cause == "machine"
    assert not (taught / "trials" / "late").exists()


def test_training_held_elsewhere_is_waited_for_and_then_named(taught: Path, monkeypatch):
    monkeypatch.setattr(ray_backend, "_TAKEOVER_SECONDS", 0.05)
    held = training(taught, "held")
    first, second = ray_backend._exclusive(held), ray_backend._exclusive(held)
    with (
        first,
        pytest.raises(UnderstudyError, match=f"process {os.getpid()} on .* has been training it"),
    ):
        second.__enter__()
    with ray_backend._exclusive(held):
        pass


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
def test_workers_of_one_machine_have_a_core_each(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(worker_cores.tempfile, "gettempdir", lambda: str(tmp_path))
    cores = sorted(os.sched_getaffinity(0))
    with worker_cores.own_core():
        first = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # as another worker would start
        with worker_cores.own_core():
            second = os.sched_getaffinity(0)
    assert first == {cores[0]}
    assert second == ({cores[1]} if len(cores) > 1 else set(cores))
    assert sorted(os.sched_getaffinity(0)) == cores


def test_unusable_settings_are_refused_in_one_line(cluster: None, tmp_path: Path, monkeypatch):
    with pytest.raises(UnderstudyError, match="has no GPU: give --device auto or cpu, not cuda"):
        RayBackend(tmp_path, device="cuda")
    with pytest.raises(UnderstudyError, match="client port"):
        ray_backend._connect(None, "ray://head:10001", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnderstudyError, match=r"pip install 'understudy\[ray\]'"):
        RayBackend(tmp_path)
