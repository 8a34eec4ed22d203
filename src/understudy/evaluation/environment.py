"""The machine that numbers were measured on."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from understudy.cores import available_cores
from understudy.version import __version__

_PACKAGES = (
    "numpy",
    "safetensors",
    "lightning-fabric",
    "timm",
    "torchvision",
    "transformers",
    "onnx",
    "onnxruntime",
    "openvino",
    "executorch",
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Hardware and versions, as under ``environment`` in ``results.json``.

    Attributes:
        understudy, python, torch: versions.
        device: ``cpu`` or ``cuda``.
        cpu: model name.
        cores: CPU cores that this process may use.
        memory_gb: in units of 2^30 bytes; ``None`` if unknown.
        accelerator: name of the GPU; ``None`` on a CPU.
        os: name and version.
        packages: versions of the numerical packages that are installed.
    """

    understudy: str | None = None
    python: str | None = None
    torch: str | None = None
    device: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_gb: float | None = None
    accelerator: str | None = None
    os: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)


def this_machine(device: str = "cpu") -> Machine:
    """The machine that this process runs on.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    import torch

    return Machine(
        understudy=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        device=device,
        cpu=_cpu_name(),
        cores=len(available_cores()),
        memory_gb=_memory_gb(),
        accelerator=_accelerator_name(device),
        os=platform.platform(),
        packages=_versions(),
    )


def _versions() -> dict[str, str]:
    from importlib import metadata

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                    return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _accelerator_name(device: str) -> str | None:
    import torch

    kind = torch.device(device).type
    if kind == "cpu":
        return None
    return str(torch.cuda.get_device_name(device)) if kind == "cuda" else kind
