"""Where a training runs: device, precision and ranks."""

import atexit
import functools
import re
from typing import TYPE_CHECKING, Any

import torch

from understudy.errors import UnderstudyError
from understudy.kernels.allocator import keep_freed_memory

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def resolve_precision(precision: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``: ``auto`` is bf16 where the hardware multiplies bf16 matrices at speed."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.backends.mkldnn.is_available() and (
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    )
    return "bf16" if device.type == "cpu" and fast else "fp32"


def resolve_device(device: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means here.

    Raises:
        UnderstudyError: for anything else, and for a GPU that this machine does not have.
    """
    form = re.fullmatch(r"auto|cpu|cuda(?::(0|[1-9]\d*))?", device, re.ASCII)
    if form is None:
        raise UnderstudyError(f"--device must be auto, cpu, cuda or cuda:N, not {device!r}")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if device != "cpu" and not gpus:
        raise UnderstudyError(
            f"--device {device}: torch sees no GPU here: use --device cpu, or auto"
        )
    if int(form[1] or 0) >= gpus > 0:
        raise UnderstudyError(
            f"--device {device}: this machine has {', '.join(f'cuda:{n}' for n in range(gpus))}"
        )
    return torch.device(device)


def make_fabric(device: str, precision: str) -> "Fabric":
    """A launched Fabric: one device, or DDP when started by ``torchrun`` (whose strategy and count it does not see by itself)."""
    import os

    from lightning_fabric import Fabric

    accelerator = resolve_device(device).type
    if accelerator == "cpu":
        keep_freed_memory()
    if accelerator == "cuda":
        torch.backends.cudnn.deterministic = (
            True  # the same seed gives the same bits; its fastest kernels add in any order
        )
    resolved = resolve_precision(precision, torch.device(accelerator))
    plugin: Any = "bf16-mixed" if resolved == "bf16" else "32-true"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        fabric = Fabric(
            accelerator=accelerator,
            strategy="ddp",
            devices=local,
            num_nodes=world // local,
            precision=plugin,
        )
    else:
        which: Any = [int(device.partition(":")[2])] if ":" in device else 1
        fabric = Fabric(accelerator=accelerator, devices=which, precision=plugin)
    fabric.launch()
    if world > 1:
        _leave_at_exit()
    return fabric


@functools.cache
def _leave_at_exit() -> None:
    """Leave the group of ranks before the interpreter ends: gloo's threads abort a process that still has them by then."""
    atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
