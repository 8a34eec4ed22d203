"""State of a training: its checkpoint is written whole, refused if foreign, never unpickled."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.small_training import SETTINGS, make_data, make_method
from torch import nn

from understudy.data.loader import TrainBatches
from understudy.errors import MachineError, UnderstudyError
from understudy.events import EpochResult
from understudy.methods import CE
from understudy.training.optim import make_optimizer
from understudy.training.state import (
    GlobalGenerators,
    TrainingFiles,
    TrainState,
    load_checkpoint,
    rng_state,
    run_fingerprint,
    save_checkpoint,
    set_rng_state,
)
from understudy.training.weights import load_weights

CPU = torch.device("cpu")
STATE = {
    "fingerprint": "mine",
    "epoch": 3,
    "weights": torch.arange(4.0),
    "history": [{"loss": 0.5}],
}


class Bomb:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


class Unsavable:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        raise RuntimeError("unexpected pos 64 vs 0")


def test_saved_checkpoint_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "arms" / "a" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path, "mine")
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {key: value for key, value in STATE.items() if key != "weights"}


def test_failed_save_leaves_the_old_checkpoint_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(
        MachineError, match=r"cannot be written \(unexpected pos 64 vs 0\): is the disk full\?$"
    ):
        save_checkpoint(path, {**STATE, "epoch": 4, "bad": Unsavable()})
    assert load_checkpoint(path, "mine")["epoch"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_save_replaces_the_old_checkpoint_atomically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    seen = []
    replace = os.replace

    def watched(source: str, target: Path) -> None:
        seen.append(
            (
                load_checkpoint(Path(source), "mine")["epoch"],
                load_checkpoint(target, "mine")["epoch"],
            )
        )
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    save_checkpoint(path, {**STATE, "epoch": 4})
    assert seen == [(4, 3)], "the new one is whole beside the old one before it takes its place"
    assert load_checkpoint(path, "mine")["epoch"] == 4


@pytest.mark.parametrize("damage", ["cut off", "empty", "garbage", "no fingerprint"])
def test_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1} if damage == "no fingerprint" else STATE)
    whole = path.read_bytes()
    path.write_bytes(
        {"cut off": whole[: len(whole) // 2], "empty": b"", "garbage": b"not a checkpoint"}.get(
            damage, whole
        )
    )
    with pytest.raises(
        UnderstudyError, match=r"checkpoint.pt cannot be read .* delete it"
    ) as caught:
        load_checkpoint(path, "mine")
    assert "\n" not in str(caught.value)


def test_checkpoint_with_another_fingerprint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(UnderstudyError, match="belongs to another configuration"):
        load_checkpoint(path, "other")


@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    """Not even if the environment makes unpickling the default of ``torch.load``."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    target = tmp_path / "hacked"
    path = tmp_path / "bomb.pt"
    content = {"fingerprint": "mine", "weight": Bomb(target)}
    if write == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(UnderstudyError):
        load_checkpoint(path, "mine")
    with pytest.raises(UnderstudyError):
        load_weights(path, nn.Linear(2, 2))
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # it would have gone off
    assert target.exists()


def test_random_stream_continues_from_a_restored_state() -> None:
    state = rng_state(torch.device("cpu"))
    first = torch.rand(3)
    set_rng_state(state, torch.device("cpu"))
    assert torch.equal(torch.rand(3), first)


def make_state(
    path: Path | None = None, *, resume: bool = False, **changes: Any
) -> tuple[CE, TrainState]:
    """The state of a small training before its first epoch."""
    data, config = make_data(), replace(SETTINGS, **changes)
    method = make_method(data)
    batches = TrainBatches(data.train, data.config, 16, 0, CPU)
    optimizer = make_optimizer(method, config)
    files, generators = TrainingFiles(path, resume), GlobalGenerators(CPU)
    fingerprint = run_fingerprint(method, data, config, batches)
    state = TrainState(method, optimizer, config, batches, fingerprint, files, generators)
    return method, state


def epoch_result(epoch: int, val_accuracy: float) -> EpochResult:
    return EpochResult(epoch, 0.1, {"ce": 1.0, "loss": 1.0}, 0.5, 1.0, val_accuracy, 1.0, 40.0)


def fill(method: CE, value: float) -> None:
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.fill_(value)


def test_earliest_epoch_with_the_highest_accuracy_is_kept() -> None:
    method, state = make_state(keep="best")
    for epoch, accuracy in enumerate([0.2, 0.7, 0.7]):
        fill(method, float(epoch))
        state.end_epoch(epoch_result(epoch, accuracy), method.state_dict())
    assert state.best is not None and (state.best.epoch, state.best.accuracy) == (1, 0.7)
    assert state.finished
    state.finish()
    assert all(bool((parameter == 1.0).all()) for parameter in method.parameters())
    assert not method.training


def test_average_is_evaluated_and_the_current_weights_come_back() -> None:
    method, state = make_state(ema_decay=0.5)
    fill(method, 0.0)
    state.ema = {name: value.clone() for name, value in method.state_dict().items()}
    fill(method, 1.0)
    state.update_ema()
    with state.evaluated_weights():
        assert all(bool((parameter == 0.5).all()) for parameter in method.parameters())
    assert all(bool((parameter == 1.0).all()) for parameter in method.parameters())
    state.finish()
    assert all(bool((parameter == 0.5).all()) for parameter in method.parameters())


def test_without_average_the_method_is_evaluated_itself() -> None:
    method, state = make_state()
    fill(method, 2.0)
    with state.evaluated_weights():
        assert all(bool((parameter == 2.0).all()) for parameter in method.parameters())


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5, "keep": "best", "compile": "auto"}])
def test_saved_state_is_loaded_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "c.pt"
    method, state = make_state(path, **changes)
    fill(method, 0.25)
    state.update_ema()
    state.compiled = False
    state.end_epoch(epoch_result(0, 0.6), method.state_dict())
    torch.manual_seed(11)
    state.save()
    drawn = torch.rand(3)
    other, again = make_state(path, resume=True, **changes)
    assert again.load() == state.history and again.next_epoch == 1
    assert torch.equal(torch.rand(3), drawn), "the random generators are restored"
    assert same_tensors(other.state_dict(), method.state_dict())
    assert again.compiled is False
    assert (again.ema is None) == (state.ema is None)
    if state.ema is not None and again.ema is not None:
        assert same_tensors(again.ema, state.ema)
    if state.best is not None:
        assert again.best is not None and again.best.epoch == 0
        assert same_tensors(again.best.method, state.best.method)


def test_checkpoint_holds_the_keys_that_every_version_reads(tmp_path: Path) -> None:
    method, state = make_state(tmp_path / "c.pt", keep="best", ema_decay=0.5)
    state.end_epoch(epoch_result(0, 0.6), method.state_dict())
    state.save()
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    expected = "fingerprint epoch method optimizer ema best compiled rng easy_first history"
    assert list(content) == expected.split()
    assert set(content["best"]) == {"accuracy", "epoch", "method"}
    assert content["epoch"] == 0 and content["rng"].keys() == {"cpu"}


def test_without_resume_an_existing_checkpoint_is_ignored(tmp_path: Path) -> None:
    method, state = make_state(tmp_path / "c.pt")
    state.end_epoch(epoch_result(0, 0.6), method.state_dict())
    state.save()
    assert make_state(tmp_path / "c.pt")[1].load() == []
    assert make_state(tmp_path / "none.pt", resume=True)[1].load() == []


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    method, state = make_state()
    state.end_epoch(epoch_result(0, 0.6), method.state_dict())
    state.save()
    assert list(tmp_path.iterdir()) == []


def same_tensors(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_checkpoint_is_read_to_the_cpu_as_a_plain_dictionary(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", STATE)
    loaded = load_checkpoint(tmp_path / "c.pt", "mine")
    assert (
        type(loaded) is dict
        and loaded["weights"].device.type == "cpu"
        and loaded["weights"].dtype == torch.float32
    )


def test_state_of_the_generators_is_that_of_torch() -> None:
    torch.manual_seed(3)
    state = rng_state(torch.device("cpu"))
    assert list(state) == ["cpu"] and torch.equal(state["cpu"], torch.get_rng_state())
    first = torch.rand(2)
    set_rng_state(state | {"cuda": torch.zeros(16, dtype=torch.uint8)}, torch.device("cpu"))
    assert torch.equal(torch.rand(2), first), "what a GPU drew from is not needed on a CPU"
