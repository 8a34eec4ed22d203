"""Trainings that must all succeed: their results in order, one error in one line, and the backend
for their number."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.sweep.small_sweep import small_config

from understudy.errors import MachineError, UnderstudyError
from understudy.events import EpochResult, Silent
from understudy.execution import wave
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Failed,
    Finished,
    Training,
    failed,
)
from understudy.execution.fused.backend import FusedBackend
from understudy.execution.processes import FusedProcessBackend, ProcessBackend
from understudy.execution.sequential import SequentialBackend
from understudy.execution.wave import finish_all, wave_backend
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan

EPOCH = EpochResult(0, 0.1, {"loss": 1.0}, 0.5, 1.0, 0.5, 1.0, 1.0)


class Script(Backend):
    """Sends the events that it was made with, one at a time."""

    name, capacity = "script", 8

    def __init__(self, *events: Event) -> None:
        self.events, self.closed = list(events), False

    def submit(self, trainings: Sequence[Training]) -> None:
        self.submitted = [training.name for training in trainings]

    def wait(self) -> list[Event]:
        return [self.events.pop(0)]

    def stop(self, training: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pair(tmp_path: Path) -> list[Training]:
    config = small_config(tmp_path / "colours.npz")
    plan, home = resolve_plan(config), RunFolder(tmp_path)
    run = plan.arm_run("baseline", 0)
    return [Training(name, plan, run, home, home) for name in ("a", "b")]


def test_results_keep_their_order_and_epochs_are_observed(
    pair: list[Training],
):
    seen: list[str] = []

    class Notes(Silent):
        def epoch(self, result: EpochResult, training: str = "") -> None:
            seen.append(training)

    of_b, of_a = object(), object()
    backend = Script(Epoch("b", EPOCH), Finished("b", of_b), Epoch("a", EPOCH), Finished("a", of_a))  # type: ignore[arg-type]
    assert list(finish_all(pair, backend, Notes()).items()) == [("a", of_a), ("b", of_b)]
    assert seen == ["b", "a"] and backend.submitted == ["a", "b"]


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        (failed("a", UnderstudyError("lower train.lr")), UnderstudyError, "lower train.lr"),
        (
            failed("a", OSError(28, "No space left on device", "/out")),
            MachineError,
            "OSError: No space left on device: /out; the same command with --resume goes on from "
            "the last finished epoch",
        ),
        (
            Failed("a", "its process died 3 times (by SIGKILL)", cause="process"),
            UnderstudyError,
            "a: its process died 3 times (by SIGKILL); the same command with --resume goes on from "
            "the last finished epoch",
        ),
    ],
)
def test_failure_is_an_error_in_one_line_and_stops_the_others(
    pair: list[Training], event: Failed, kind: type[Exception], message: str
):
    backend = Script(event)
    with pytest.raises(kind) as caught, backend:
        finish_all(pair, backend)
    assert type(caught.value) is kind and str(caught.value) == message and backend.closed


def test_mistake_in_the_program_keeps_its_traceback(pair: list[Training]):
    def broken() -> None:
        raise ZeroDivisionError("by nothing")

    try:
        broken()
    except ZeroDivisionError as error:
        event = failed("a", error)
    assert event.reason == "ZeroDivisionError: by nothing"
    with pytest.raises(RuntimeError, match=r"(?s)^a:\nTraceback .* in broken.*by nothing"):
        finish_all(pair, Script(event))


def test_training_alone_has_all_cores_and_each_of_several_one_thread(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(wave, "available_cores", lambda: [0, 1, 2])
    alone, several = (wave_backend(count, device="cpu", processes=2) for count in (1, 5))
    assert type(alone) is type(several) is ProcessBackend
    assert (alone.places, alone.threads) == (1, 3) and (several.places, several.threads) == (2, 1)
    here, ranked = (
        wave_backend(1, device="cpu", processes=0, distributed=ranks) for ranks in (False, True)
    )
    assert type(here) is type(ranked) is SequentialBackend
    assert (here.threads, ranked.threads) == (3, 1), "ranks share the cores"


def test_together_students_take_turns_in_one_program():
    here = wave_backend(3, device="cpu", processes=0, together=True)
    assert type(here) is FusedBackend and here.engine == "interleaved" and here.capacity == 3
    apart = wave_backend(3, device="cpu", processes=2, together=True)
    assert type(apart) is FusedProcessBackend and apart.engine == "interleaved"
    assert apart.places == 2
