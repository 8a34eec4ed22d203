"""What runs the trainings: the same events and bits from every backend, stopping, failing, and
workers that are killed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.sweep.small_sweep import diary_method, epochs_of, small_config
from tests.worlds import write_colours

from understudy.errors import UnderstudyError
from understudy.execution.backend import Backend, Epoch, Event, Failed, Finished, Stopped, Training
from understudy.execution.processes import FusedProcessBackend, ProcessBackend, _Worker
from understudy.execution.registry import BACKENDS, open_backend
from understudy.execution.sequential import SequentialBackend
from understudy.runs.arm import ArmOptions, run_arm
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and a trained teacher."""
    folder = tmp_path_factory.mktemp("place")
    config = small_config(
        write_colours(folder / "colours.npz", contrast=60), train={"epochs": 1, "batch_size": 21}
    )
    plan = resolve_plan(config)
    teacher = plan.arm_run("teacher", 0)
    run_arm(plan, teacher, RunFolder(folder), ArmOptions("cpu", threads=1), final=False)
    return folder


def training(place: Path, folder: Path, name: str, seed: int = 0, **changes: Any) -> Training:
    plan = resolve_plan(small_config(place / "colours.npz", **changes))
    run, own, cache = plan.arm_run("distilled", seed), RunFolder(folder / name), place / "cache"
    return Training(name, plan, run, own, RunFolder(place), str(cache))


def collect(backend: Backend, endings: int) -> list[Event]:
    events: list[Event] = []
    while sum(not isinstance(e, Epoch) for e in events) < endings:
        events += backend.wait()
    return events


def kinds(events: list[Event], name: str) -> list[type]:
    return [type(e) for e in events if e.training == name]


def weights(folder: Path, name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    return load_file(folder / name / "models" / f"distilled-seed{seed}.safetensors")


def test_sequential_backend_stops_fails_and_resumes(place: Path, tmp_path: Path):
    good, bad = (
        training(place, tmp_path, "good"),
        training(place, tmp_path, "bad", train={"lr": 1e30, "batch_size": 8}),
    )
    with SequentialBackend(device="cpu") as backend:
        assert backend.wait() == []
        backend.submit([good, bad, training(place, tmp_path, "never")])
        backend.stop("never")
        (event,) = backend.wait()
        assert event == Stopped("never")
        (event,) = backend.wait()
        assert isinstance(event, Epoch) and event.result.epoch == 0
        backend.stop("good")
        assert backend.wait() == [Stopped("good")]
        events = collect(backend, 1)
        assert (
            isinstance(events[-1], Failed)
            and "not finite" in events[-1].reason
            and "\n" not in events[-1].reason
        )
        backend.submit([good])
        events = collect(backend, 1)
        assert kinds(events, "good") == [Epoch, Epoch, Finished], (
            "the first epoch is read from the checkpoint"
        )
        assert events[-1].result.val.accuracy == events[-2].result.val_accuracy
        assert events[-1].result.test is None
    with SequentialBackend(device="cpu") as backend:
        backend.submit([training(place, tmp_path, "left")])
        backend.wait()
    assert (tmp_path / "left" / "arms" / "distilled-seed0" / "checkpoint.pt").exists(), (
        "its checkpoint stays"
    )


@pytest.mark.slow
def test_killed_process_is_replaced_and_bits_stay_the_same(place: Path, tmp_path: Path):
    """One training dies twice and comes through, one dies three times and fails, one lives in
    peace, one is stopped."""
    diary = tmp_path / "diary"
    method = diary_method(diary, temperature=2, deaths=2)
    doomed = diary_method(tmp_path / "doomed-diary", temperature=3, deaths=3)
    with ProcessBackend(device="cpu", workers=2) as backend:
        assert backend.capacity == 2
        backend.submit(
            [
                training(place, tmp_path, "dies", method=method),
                training(place, tmp_path, "peace", seed=1),
            ]
        )
        backend.submit(
            [training(place, tmp_path, "doomed", method=doomed), training(place, tmp_path, "never")]
        )
        backend.stop("never")
        events = collect(backend, 4)
    assert kinds(events, "never") == [Stopped]
    assert kinds(events, "peace") == [Epoch, Epoch, Finished]
    assert kinds(events, "dies")[-1] is Finished and kinds(events, "doomed")[-1] is Failed
    (failure,) = [e for e in events if isinstance(e, Failed)]
    assert "died 3 times (by SIGKILL)" in failure.reason
    # Its first epoch was trained once: each new process went on from the checkpoint.
    assert [line.split()[-1] for line in epochs_of(diary)] == ["0", "1", "1", "1"]
    with SequentialBackend(device="cpu") as backend:
        plain = diary_method(tmp_path / "other", temperature=2)
        backend.submit([training(place, tmp_path / "alone", "dies", method=plain)])
        collect(backend, 1)
    one, other = weights(tmp_path, "dies"), weights(tmp_path / "alone", "dies")
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_training_that_kills_its_process_ends_up_failing_alone(place: Path, tmp_path: Path):
    """A group of three goes down twice with the one that kills its process; then each gets a
    process of its own."""
    diary = tmp_path / "diary"
    doomed = diary_method(tmp_path / "doomed-diary", temperature=3, deaths=3)
    group = [
        training(place, tmp_path, "doomed", method=doomed),
        training(place, tmp_path, "peace", method=diary_method(diary, temperature=2)),
        training(place, tmp_path, "other", seed=1),
        training(place, tmp_path, "wrong", train={"lr": 1e30, "batch_size": 8}),
    ]
    with FusedProcessBackend(device="cpu", workers=1) as backend:
        assert backend.name == "fused" and backend.capacity > len(group)
        backend.submit([*group, training(place, tmp_path, "never")])
        backend.stop("never")
        events = collect(backend, 5)
        assert backend.wait() == [], "nothing is left"
        backend.submit(
            [
                training(place, tmp_path, "later"),
                training(place, tmp_path, "stopped", train={"epochs": 500, "batch_size": 21}),
            ]
        )
        while "stopped" not in {e.training for e in events}:
            events += backend.wait()
        backend.stop("stopped")
        events += collect(
            backend, 1 if "later" in {e.training for e in events if isinstance(e, Finished)} else 2
        )
    endings = {
        name: kinds(events, name)[-1]
        for name in ("doomed", "peace", "other", "wrong", "never", "later", "stopped")
    }
    assert endings == {
        "doomed": Failed,
        "peace": Finished,
        "other": Finished,
        "wrong": Failed,
        "never": Stopped,
        "later": Finished,
        "stopped": Stopped,
    }
    reasons = {e.training: e.reason for e in events if isinstance(e, Failed)}
    assert "died 3 times (by SIGKILL)" in reasons["doomed"] and "not finite" in reasons["wrong"]
    assert epochs_of(diary)[0].split()[-1] == "0" and {
        line.split()[-1] for line in epochs_of(diary)[1:]
    } == {"1"}, "its first epoch is not trained again"
    with SequentialBackend(device="cpu") as backend:
        backend.submit(
            [
                training(place, tmp_path / "alone", "peace"),
                training(place, tmp_path / "alone", "other", seed=1),
            ]
        )
        collect(backend, 2)
    one, other = weights(tmp_path, "other", 1), weights(tmp_path / "alone", "other", 1)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_trainings_of_a_seed_share_a_process_if_all_are_busy(tmp_path: Path, monkeypatch):
    assigned: dict[int, list[str]] = {0: [], 1: []}

    class Pipe:
        def __init__(self, place: int) -> None:
            self.place = place

        def send(self, order: tuple[str, Training]) -> None:
            assigned[self.place].append(order[1].name)

    def start(self: ProcessBackend) -> _Worker:
        process = SimpleNamespace(is_alive=lambda: True)
        self.workers.append(_Worker(process, Pipe(len(self.workers)), len(self.workers)))
        return self.workers[-1]

    monkeypatch.setattr(ProcessBackend, "_start", start)
    monkeypatch.setattr("understudy.execution.processes._TOGETHER", {"cpu": 4})
    backend = FusedProcessBackend(device="cpu", workers=2)
    plan, folder = resolve_plan(small_config(tmp_path / "colours.npz")), RunFolder(tmp_path)
    names = [f"{trial}{'abc'[seed]}" for trial in range(4) for seed in range(3)]
    backend.submit(
        [
            Training(name, plan, plan.arm_run("distilled", "abc".index(name[1])), folder, folder)
            for name in names
        ]
    )
    backend._assign_waiting()
    assert assigned == {0: ["0a", "1a", "2a", "3a"], 1: ["0b", "1b", "2b", "3b"]}
    assert [training.name for training in backend.waiting] == ["0c", "1c", "2c", "3c"]


def test_backend_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with open_backend("sequential", tmp_path, device="cpu", workers=3) as backend:
        assert backend.name == "sequential"
    monkeypatch.setitem(BACKENDS, "gone", "understudy.sweep.gone:Gone")
    with pytest.raises(UnderstudyError, match=r"gone is not in this installation"):
        open_backend("gone", tmp_path)
    with pytest.raises(UnderstudyError, match="there are auto, sequential"):
        open_backend("paralel", tmp_path)
    with pytest.raises(UnderstudyError, match="at least 1"):
        open_backend("processes", tmp_path, device="cpu", workers=0)


def test_generations_are_trained_before_the_born_again_student(place: Path, tmp_path: Path):
    born = training(place, tmp_path, "born", method={"name": "born_again", "generations": 2})
    with SequentialBackend(device="cpu") as backend:
        backend.submit([born])
        events = collect(backend, 1)
    assert kinds(events, "born") == [
        Epoch,
        Epoch,
        Finished,
    ]  # the last generation's; those before it are not the training
    assert born.folder.weights("distilled-gen1-seed0").exists()
