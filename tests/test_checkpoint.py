"""A checkpoint is whole or is not there, is this run's or is refused, and is never unpickled."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_data import tiny_net
from torch import nn

from understudy.checkpoint import load_checkpoint, load_weights, rng_state, save_checkpoint, save_weights, set_rng_state
from understudy.errors import MachineError, UnderstudyError

STATE = {"fingerprint": "mine", "epoch": 3, "weights": torch.arange(4.0), "history": [{"loss": 0.5}]}


class Bomb:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


class Unsavable:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        raise RuntimeError("unexpected pos 64 vs 0")


def same_tensors(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "arms" / "a" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path, "mine")
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {key: value for key, value in STATE.items() if key != "weights"}


def test_a_save_that_fails_leaves_the_old_checkpoint_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(MachineError, match=r"cannot be written \(unexpected pos 64 vs 0\): is the disk full\?$"):
        save_checkpoint(path, {**STATE, "epoch": 4, "bad": Unsavable()})
    assert load_checkpoint(path, "mine")["epoch"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_save_replaces_the_old_one_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    seen = []
    replace = os.replace

    def watched(source: str, target: Path) -> None:
        seen.append((load_checkpoint(Path(source), "mine")["epoch"], load_checkpoint(target, "mine")["epoch"]))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    save_checkpoint(path, {**STATE, "epoch": 4})
    assert seen == [(4, 3)], "the new one is whole beside the old one before it takes its place"
    assert load_checkpoint(path, "mine")["epoch"] == 4


@pytest.mark.parametrize("damage", ["cut off", "empty", "garbage", "no fingerprint"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1} if damage == "no fingerprint" else STATE)
    whole = path.read_bytes()
    path.write_bytes({"cut off": whole[: len(whole) // 2], "empty": b"", "garbage": b"not a checkpoint"}.get(damage, whole))
    with pytest.raises(UnderstudyError, match=r"checkpoint.pt cannot be read .* delete it") as caught:
        load_checkpoint(path, "mine")
    assert "\n" not in str(caught.value)


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(UnderstudyError, match="belongs to another configuration"):
        load_checkpoint(path, "other")


@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_nothing_is_unpickled(tmp_path: Path, write: str) -> None:
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


def test_weights_load_with_torch_and_safetensors_alone(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = tiny_net(seed=4).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", network)
    plain = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3, bias=False), "bn": nn.BatchNorm2d(8), "fc": nn.Linear(8, 3)})
    plain.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert same_tensors(plain, network)


def test_tied_weights_are_written_under_both_names(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    save_weights(tmp_path / "w.safetensors", network)
    fresh = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_weights(tmp_path / "w.safetensors", fresh)
    assert same_tensors(fresh, network)


def test_weights_that_cannot_be_written_leave_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    network = tiny_net(seed=1)
    save_weights(path, network)

    def fail(tensors: dict[str, torch.Tensor]) -> bytes:
        raise RuntimeError("the disk is full, say")

    monkeypatch.setattr("safetensors.torch.save", fail)
    with pytest.raises(RuntimeError, match="disk is full"):
        save_weights(path, tiny_net(seed=2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]
    fresh = tiny_net(seed=3)
    load_weights(path, fresh)
    assert same_tensors(fresh, network)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_come_back_from_either_format(tmp_path: Path, suffix: str) -> None:
    network, fresh = tiny_net(seed=1), tiny_net(seed=2)
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(network.state_dict(), path)
    else:
        save_weights(path, network)
    load_weights(path, fresh)
    assert same_tensors(fresh, network)


def test_weights_that_are_missing_damaged_or_foreign_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="no weights file"):
        load_weights(tmp_path / "nowhere.safetensors", tiny_net())
    for name in ("bad.safetensors", "bad.pt"):
        (tmp_path / name).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
        with pytest.raises(UnderstudyError, match="cannot be read as weights"):
            load_weights(tmp_path / name, tiny_net())
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UnderstudyError, match="does not fit the network"):
        load_weights(tmp_path / "list.pt", tiny_net())
    save_weights(tmp_path / "five.safetensors", tiny_net(num_classes=5))
    with pytest.raises(UnderstudyError, match=r"does not fit the network.*fc.weight") as caught:
        load_weights(tmp_path / "five.safetensors", tiny_net())
    assert "\n" not in str(caught.value)


def test_the_random_stream_goes_on_where_it_stopped() -> None:
    state = rng_state(torch.device("cpu"))
    first = torch.rand(3)
    set_rng_state(state, torch.device("cpu"))
    assert torch.equal(torch.rand(3), first)


def test_a_checkpoint_is_read_to_the_cpu_as_a_plain_dictionary(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", STATE)
    loaded = load_checkpoint(tmp_path / "c.pt", "mine")
    assert type(loaded) is dict and loaded["weights"].device.type == "cpu" and loaded["weights"].dtype == torch.float32


def test_weights_of_every_type_are_written_under_their_own_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = tiny_net(seed=4)
    network.bn.num_batches_tracked += 7
    save_weights(tmp_path / "w.safetensors", network)
    found = load_file(tmp_path / "w.safetensors")
    assert sorted(found) == sorted(network.state_dict()) and found["bn.num_batches_tracked"] == 7
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_must_have_the_networks_names(tmp_path: Path, change: str) -> None:
    state = tiny_net(seed=1).state_dict()
    if change == "missing":
        del state["fc.bias"]
    else:
        state["fc.scale"] = torch.ones(1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UnderstudyError, match=r"does not fit the network.*fc\.(bias|scale)"):
        load_weights(tmp_path / "w.pt", tiny_net(seed=2))


def test_the_state_of_the_generators_is_torchs() -> None:
    torch.manual_seed(3)
    state = rng_state(torch.device("cpu"))
    assert list(state) == ["cpu"] and torch.equal(state["cpu"], torch.get_rng_state())
    first = torch.rand(2)
    set_rng_state(state | {"cuda": torch.zeros(16, dtype=torch.uint8)}, torch.device("cpu"))
    assert torch.equal(torch.rand(2), first), "what a GPU drew from is not needed on a CPU"
