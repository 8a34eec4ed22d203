"""Compiling a step: the same numbers, chosen by a clock once, and remembered by a run that resumes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.test_loop import SETTINGS, make_data, make_method, run, start

from understudy.data.loader import TrainBatches
from understudy.training import compile as compiling
from understudy.training import loop
from understudy.training.state import TrainingFiles


@pytest.fixture
def eager_backend(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Dynamo without its code generator, which takes twenty seconds: what is compiled is counted."""
    seen: list[object] = []

    def compile_step(method) -> None:
        seen.append(method)
        method.compile(backend="eager", dynamic=False)

    monkeypatch.setattr(compiling, "compile_step", compile_step)
    monkeypatch.setattr(loop, "compile_step", compile_step)
    return seen


def test_a_compiled_run_ends_like_an_eager_one(eager_backend: list[object]):
    data = make_data()
    plain, _ = run(data)
    compiled, _ = run(data, replace(SETTINGS, compile="on"))
    assert eager_backend == [compiled]
    assert set(compiled.state_dict()) == set(plain.state_dict())
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_run_recorded_as_graphs_on_cuda_ends_like_an_eager_one():
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


def test_a_resumed_run_keeps_the_choice_it_began_with(
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
