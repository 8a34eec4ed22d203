"""The backends by name."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.execution.backend import Backend

BACKENDS = {
    "sequential": "understudy.execution.sequential:SequentialBackend",
    "processes": "understudy.execution.processes:ProcessBackend",
    "fused": "understudy.execution.processes:FusedProcessBackend",
    "ray": "understudy.execution.ray:RayBackend",
}
"""Backend -> its class, imported when it is chosen."""


def open_backend(
    name: str,
    folder: Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    observer: Observer = SILENT,
) -> Backend:
    """A backend by name, made with those of the other arguments that it has parameters for.

    Args:
        name: one of :data:`BACKENDS`.
        folder: the sweep's.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: trainings side by side; ``None`` is the backend's own choice.
        observer: gets the progress within epochs.

    Raises:
        UnderstudyError: if there is no such backend, or it is not in this installation.
    """
    if name not in BACKENDS:
        raise UnderstudyError(f"unknown backend {name!r}: there are auto, {', '.join(BACKENDS)}")
    module_name, _, class_name = BACKENDS[name].partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise UnderstudyError(
            f"the backend {name} is not in this installation: it has no module {error.name}"
        ) from error
    offered: dict[str, Any] = {
        "folder": folder,
        "device": device,
        "workers": workers,
        "observer": observer,
    }
    parameters = inspect.signature(kind).parameters
    backend: Backend = kind(**{key: value for key, value in offered.items() if key in parameters})
    return backend
