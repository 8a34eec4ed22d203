"""Compiling a step: the same numbers, a choice measured once and saved in the checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.small_training import SETTINGS, make_data, make_method, run, start

from understudy.data.loader import Batch, TrainBatches
from understudy.models.base import Outputs
from understudy.teachers.base import Teacher
from understudy.training import compile as compiling
from understudy.training import loop
from understudy.training.state import TrainingFiles


@pytest.fixture
def eager_backend(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Dynamo without its slow code generator; lists the compiled methods."""
    seen: list[object] = []

    def compile_step(method) -> None:
        seen.append(method)
        method.compile(backend="eager", dynamic=False)

    monkeypatch.setattr(compiling, "compile_step", compile_step)
    monkeypatch.setattr(loop, "compile_step", compile_step)
    return seen


def test_compiled_training_ends_like_an_eager_one(eager_backend: list[object]):
    data = make_data()
    plain, _ = run(data)
    compiled, _ = run(data, replace(SETTINGS, compile="on"))
    assert eager_backend == [compiled]
    assert set(compiled.state_dict()) == set(plain.state_dict())
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_training_recorded_as_cuda_graphs_ends_like_an_eager_one():
    data = make_data()
    plain, _ = run(data, device="cuda")
    compiled, _ = run(data, replace(SETTINGS, compile="on"), device="cuda")
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("cold", "warm", "worth"), [(5.0, 0.5, True), (5.0, 1.0, False), (5000.0, 0.5, False)]
)
def test_compiling_must_save_more_than_it_costs(
    monkeypatch: pytest.MonkeyPatch, cold: float, warm: float, worth: bool
):
    data = make_data()
    method = make_method(data)
    batches = TrainBatches(data.train, data.config, 16, 0, torch.device("cpu"))
    batch = next(iter(batches.epoch(0, batches.policy.epoch(0))))
    compiled = set()
    monkeypatch.setattr(compiling, "compile_step", lambda m: compiled.add(id(m)))
    monkeypatch.setattr(
        compiling,
        "_seconds",
        lambda m, b, a, steps: (cold if steps == 2 else warm) if id(m) in compiled else 1.0,
    )
    before = torch.get_rng_state()
    assert compiling.worth_compiling(method, batch, None, steps=100) is worth
    assert torch.equal(before, torch.get_rng_state())


def some_batch() -> Batch:
    data = make_data()
    batches = TrainBatches(data.train, data.config, 16, 0, torch.device("cpu"))
    return next(iter(batches.epoch(0, batches.policy.epoch(0))))


@pytest.mark.parametrize(("steps", "worth"), [(61, True), (59, False)])
def test_medians_of_ten_rounds_are_compared(
    monkeypatch: pytest.MonkeyPatch, steps: int, worth: bool
):
    """A step takes 1 s eager and 0.9 s compiled, except in four rounds of ten.

    The cost of compiling is its first two steps less one eager step: 7 - 1 = 6 s, saved after 60
    steps.
    """
    compiled = set()
    monkeypatch.setattr(compiling, "compile_step", lambda m: compiled.add(id(m)))
    eager_times = iter([1.0, 1.0, 50.0, 1.0, 50.0, 1.0, 1.0, 50.0, 1.0, 50.0, 1.0])
    compiled_times = iter([7.0, 0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.1, 0.9])
    monkeypatch.setattr(
        compiling,
        "_seconds",
        lambda m, b, a, s: next(compiled_times if id(m) in compiled else eager_times),
    )
    assert (
        compiling.worth_compiling(make_method(make_data()), some_batch(), None, steps=steps)
        is worth
    )
    assert list(eager_times) == list(compiled_times) == [], "one cold start, then ten rounds"


def test_timing_does_not_change_the_method(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(compiling, "compile_step", lambda m: None)
    monkeypatch.setattr(
        compiling, "_seconds", lambda m, b, a, steps: seen.append((m, m.training)) or 1.0
    )
    method = make_method(make_data(), dropout=0.5).eval()
    compiling.worth_compiling(method, some_batch(), None, steps=100)
    assert not method.training and all(p.grad is None for p in method.parameters())
    assert (
        all(training and m is not method for m, training in seen)
        and len({id(m) for m, _ in seen}) == 2
    )


def test_timing_runs_forward_and_backward_as_often_as_given(monkeypatch: pytest.MonkeyPatch):
    now, calls = [3.0], []
    monkeypatch.setattr(compiling.time, "perf_counter", lambda: now[0])
    method = make_method(make_data())
    once = make_method(make_data())
    forward = method.forward

    def slow(batch: Batch, teacher_outputs: object):
        now[0] += 2.0
        calls.append(teacher_outputs)
        return forward(batch, None)

    method.forward = slow
    assert (
        compiling._seconds(method, some_batch(), "teacher", 3) == 6.0 and calls == ["teacher"] * 3
    )
    compiling._seconds(once, some_batch(), None, 1)
    for three, one in zip(method.parameters(), once.parameters(), strict=True):
        torch.testing.assert_close(three.grad, 3 * one.grad)


def test_cpu_step_is_compiled_for_fixed_shapes(monkeypatch: pytest.MonkeyPatch):
    seen = []
    method = make_method(make_data())
    monkeypatch.setattr(type(method), "compile", lambda self, **options: seen.append(options))
    compiling.compile_step(method)
    assert seen == [{"mode": "default", "dynamic": False}]


def test_choice_is_made_once_from_the_steps_left(
    monkeypatch: pytest.MonkeyPatch, eager_backend: list[object]
):
    """40 images in batches of 16 for three epochs: nine steps."""
    calls = []
    monkeypatch.setattr(compiling, "worth_compiling", lambda *args: calls.append(args) or False)
    data = make_data()
    method, _ = run(data, replace(SETTINGS, compile="auto"))
    ((found, batch, teacher_outputs, steps),) = calls
    assert found is method and teacher_outputs is None and steps == 9 and len(batch.labels) == 16
    run(data, replace(SETTINGS, compile="auto", stop_epoch=2))
    assert calls[1][3] == 6
    for choice in ("off", "on"):
        run(data, replace(SETTINGS, compile=choice))
    assert len(calls) == 2 and len(eager_backend) == 1, (
        "compiled where it is on, and not where it is off or not worth it"
    )


def test_timing_uses_the_teacher_outputs_of_its_batch(monkeypatch: pytest.MonkeyPatch):
    class Rows(Teacher):
        def outputs(self, batch: Batch) -> Outputs:
            return Outputs(batch.index)

    calls = []
    monkeypatch.setattr(compiling, "worth_compiling", lambda *args: calls.append(args) or False)
    run(make_data(), replace(SETTINGS, compile="auto"), teacher=Rows())
    ((_, batch, teacher_outputs, _),) = calls
    assert torch.equal(teacher_outputs.logits, batch.index)


def test_resumed_training_does_not_measure_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager_backend: list[object]
):
    data, config = make_data(), replace(SETTINGS, compile="auto")
    monkeypatch.setattr(compiling, "worth_compiling", lambda *_: True)
    epochs = start(make_method(data), data, config, files=TrainingFiles(tmp_path / "c.pt"))
    next(epochs)
    epochs.close()
    monkeypatch.setattr(compiling, "worth_compiling", lambda *_: pytest.fail("measured again"))
    run(data, config, files=TrainingFiles(tmp_path / "c.pt", resume=True))
    assert len(eager_backend) == 2
