"""Device, precision and ranks."""

import pytest
import torch

from understudy.errors import UnderstudyError
from understudy.training.device import Ranks, ranks, resolve_device, resolve_precision


@pytest.mark.parametrize(
    "device", ["gpu", "cudaa", "cuda:x", "cuda:", "cuda:-1", "cuda:01", "cpu:3", "CPU", "mps", ""]
)
def test_unknown_device_is_refused_in_one_line(device: str):
    with pytest.raises(UnderstudyError, match=r"^--device must be auto, cpu, cuda or cuda:N, not "):
        resolve_device(device)


@pytest.mark.parametrize(
    ("gpus", "device", "means"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
        (2, "cuda:7", "--device cuda:7: this machine has cuda:0, cuda:1"),
        (0, "cuda", "--device cuda: torch sees no GPU here: use --device cpu, or auto"),
        (0, "cuda:0", "--device cuda:0: torch sees no GPU here: use --device cpu, or auto"),
    ],
)
def test_device_must_exist_on_this_machine(
    gpus: int, device: str, means: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if means.startswith("--device"):
        with pytest.raises(UnderstudyError, match=f"^{means}$"):
            resolve_device(device)
    else:
        assert resolve_device(device) == torch.device(means)


def test_auto_precision_is_bf16_only_if_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert resolve_precision("auto", torch.device("cpu")) == "bf16"
    assert resolve_precision("bf16", torch.device("cpu")) == "bf16"


def test_private_bf16_checks_of_torch_exist() -> None:
    """Seen in torch 2.13; they are private, so another version may rename them."""
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        assert isinstance(getattr(torch.cpu, name)(), bool), f"{name}, seen in torch 2.13"


@pytest.mark.slow
def test_without_torchrun_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ranks() == Ranks(rank=0, world_size=1, local_world_size=1)
    assert ranks().is_first and not ranks().is_distributed


@pytest.mark.slow
def test_ranks_are_read_from_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert ranks() == Ranks(5, 8, 8) and ranks().machines == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    found = ranks()
    assert (found.machines, found.is_first, found.is_distributed) == (2, False, True)
