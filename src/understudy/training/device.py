"""Where a training runs: device, precision and ranks."""

import atexit
import functools
import logging
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from understudy.errors import UnderstudyError
from understudy.kernels.allocator import keep_freed_memory

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Ranks:
    """The processes of a training started by ``torchrun``; a single process otherwise.

    Attributes:
        rank: of this process, from 0.
        world_size: processes on all machines.
        local_world_size: processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @property
    def is_distributed(self) -> bool:
        """Whether there are several processes."""
        return self.world_size > 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        """Machines, each with the same number of processes."""
        return self.world_size // self.local_world_size


def ranks() -> Ranks:
    """This process among those that ``torchrun`` started, read from its environment variables."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return Ranks(
        rank=int(os.environ.get("RANK", "0")),
        world_size=world,
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", world)),
    )


def resolve_precision(precision: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``: ``auto`` is bf16 if the hardware multiplies bf16 matrices at speed."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_multiplies_bf16() else "fp32"


def _cpu_multiplies_bf16() -> bool:
    """Whether the processor has bf16 matrix instructions; the names are private to torch."""
    return torch.backends.mkldnn.is_available() and (
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    )


def resolve_device(device: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means on this machine.

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
    """A launched Fabric: one device, or data parallel (DDP) when started by ``torchrun``.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.

    Raises:
        UnderstudyError: for a device that this machine does not have.
    """
    from lightning_fabric import Fabric

    # One line per process on its precision and ranks, which results.json records.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    accelerator = resolve_device(device).type
    if accelerator == "cpu":
        keep_freed_memory()
    if accelerator == "cuda":
        # The same seed gives the same bits: cuDNN's fastest kernels add in any order.
        torch.backends.cudnn.deterministic = True
    resolved = resolve_precision(precision, torch.device(accelerator))
    plugin: Any = "bf16-mixed" if resolved == "bf16" else "32-true"
    processes = ranks()
    if processes.is_distributed:
        # Fabric does not read torchrun's counts by itself.
        fabric = Fabric(
            accelerator=accelerator,
            strategy="ddp",
            devices=processes.local_world_size,
            num_nodes=processes.machines,
            precision=plugin,
        )
    else:
        which: Any = [int(device.partition(":")[2])] if ":" in device else 1
        fabric = Fabric(accelerator=accelerator, devices=which, precision=plugin)
    fabric.launch()
    if processes.is_distributed:
        _leave_group_at_exit()
    return fabric


@functools.cache
def _leave_group_at_exit() -> None:
    """Leave the process group before the interpreter ends.

    gloo's threads abort a process that still has them by then.
    """
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
