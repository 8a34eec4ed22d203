"""Knowledge distillation for image classifiers: a large teacher, a small student, and the proof that the student can take over.

The public names below load what they need on first use: importing this package imports neither torch nor matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.api import distill as distill
    from understudy.api import train as train
    from understudy.config.recipe import load_config as load_config
    from understudy.data import load_dataset as load_dataset
    from understudy.evaluation.metrics import evaluate as evaluate
    from understudy.experiment import run_experiment as run_experiment
    from understudy.models import build_model as build_model
    from understudy.report import write_report as write_report
    from understudy.sweep.driver import run_sweep as run_sweep

__version__ = "0.1.0"

__all__ = [
    "UnderstudyError",
    "__version__",
    "build_model",
    "distill",
    "evaluate",
    "load_config",
    "load_dataset",
    "run_experiment",
    "run_sweep",
    "train",
    "write_report",
]

_LAZY = {
    "build_model": "understudy.models",
    "distill": "understudy.api",
    "evaluate": "understudy.evaluation.metrics",
    "load_config": "understudy.config.recipe",
    "load_dataset": "understudy.data",
    "run_experiment": "understudy.experiment",
    "run_sweep": "understudy.sweep.driver",
    "train": "understudy.api",
    "write_report": "understudy.report",
}
"""Public function -> the module that defines it (PEP 562)."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
