"""The machine that numbers were measured on."""

import os
import platform
from typing import Any

from understudy import __version__


def hardware(device: str = "cpu") -> dict[str, Any]:
    """The machine and the versions, for the ``environment`` of ``results.json``.

    Returns:
        ``understudy``, ``python``, ``torch`` (versions), ``device``, ``cpu`` (model name), ``cores`` (that this process may
        use), ``memory_gb`` (2^30 bytes; None where unknown), ``accelerator`` (name; None on CPU), ``os``, ``packages``
        (versions of the numerical packages that are installed).
    """
    from importlib import metadata

    import torch

    packages = {}
    for name in ("numpy", "safetensors", "lightning-fabric", "timm", "torchvision", "transformers"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "understudy": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        "memory_gb": _memory_gb(),
        "accelerator": _accelerator_name(device),
        "os": platform.platform(),
        "packages": packages,
    }


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
