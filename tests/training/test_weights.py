"""Weights files load with torch and safetensors alone; damaged and foreign ones are refused."""

import os
from pathlib import Path

import pytest
import torch
from tests.worlds import tiny_net
from torch import nn

from understudy.errors import UnderstudyError
from understudy.training.weights import load_weights, save_weights


def same_tensors(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_weights_load_with_torch_and_safetensors_alone(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = tiny_net(seed=4).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", network)
    plain = nn.ModuleDict(
        {"conv": nn.Conv2d(3, 8, 3, bias=False), "bn": nn.BatchNorm2d(8), "fc": nn.Linear(8, 3)}
    )
    plain.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert same_tensors(plain, network)


def test_tied_weights_are_written_under_both_names(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    save_weights(tmp_path / "w.safetensors", network)
    fresh = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_weights(tmp_path / "w.safetensors", fresh)
    assert same_tensors(fresh, network)


def test_failed_write_of_weights_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_weights_load_from_either_format(tmp_path: Path, suffix: str) -> None:
    network, fresh = tiny_net(seed=1), tiny_net(seed=2)
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(network.state_dict(), path)
    else:
        save_weights(path, network)
    load_weights(path, fresh)
    assert same_tensors(fresh, network)


def test_missing_damaged_or_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="no weights file"):
        load_weights(tmp_path / "nowhere.safetensors", tiny_net())
    for name in ("bad.safetensors", "bad.pt"):
        (tmp_path / name).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
        with pytest.raises(UnderstudyError, match="cannot be read as weights"):
            load_weights(tmp_path / name, tiny_net())
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UnderstudyError, match="holds no weights: it is a list"):
        load_weights(tmp_path / "list.pt", tiny_net())
    save_weights(tmp_path / "five.safetensors", tiny_net(num_classes=5))
    with pytest.raises(UnderstudyError, match=r"does not fit the network.*fc.weight") as caught:
        load_weights(tmp_path / "five.safetensors", tiny_net())
    assert "\n" not in str(caught.value)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_weights_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the environment makes unpickling the default of ``torch.load``."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"weight": Bomb(tmp_path / "hacked")}, tmp_path / "bomb.pt")
    with pytest.raises(UnderstudyError, match="cannot be read as weights"):
        load_weights(tmp_path / "bomb.pt", nn.Linear(2, 2))
    assert not (tmp_path / "hacked").exists()


def test_weights_of_every_type_are_written_under_their_own_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = tiny_net(seed=4)
    network.bn.num_batches_tracked += 7
    save_weights(tmp_path / "w.safetensors", network)
    found = load_file(tmp_path / "w.safetensors")
    assert sorted(found) == sorted(network.state_dict()) and found["bn.num_batches_tracked"] == 7
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_must_have_the_names_of_the_network(tmp_path: Path, change: str) -> None:
    state = tiny_net(seed=1).state_dict()
    if change == "missing":
        del state["fc.bias"]
    else:
        state["fc.scale"] = torch.ones(1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UnderstudyError, match=r"does not fit the network.*fc\.(bias|scale)"):
        load_weights(tmp_path / "w.pt", tiny_net(seed=2))
