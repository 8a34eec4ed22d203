"""Knowledge distillation for image classifiers: a large teacher, a small student, and the proof that the student can take over.

The public names below load what they need on first use: importing this package imports neither torch nor matplotlib.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.config import load_config as load_config
    from understudy.data import load_dataset as load_dataset
    from understudy.evaluate import evaluate as evaluate
    from understudy.experiment import run_experiment as run_experiment
    from understudy.models import build_model as build_model
    from understudy.report import write_report as write_report
    from understudy.sweep.sweep import run_sweep as run_sweep
    from understudy.train import distill as distill
    from understudy.train import train as train

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
    "distill": "understudy.train",
    "evaluate": "understudy.evaluate",
    "load_config": "understudy.config",
    "load_dataset": "understudy.data",
    "run_experiment": "understudy.experiment",
    "run_sweep": "understudy.sweep.sweep",
    "train": "understudy.train",
    "write_report": "understudy.report",
}
"""Public function -> the module that defines it (PEP 562)."""


class _Package(ModuleType):
    """Keeps ``understudy.train`` the function although ``understudy/train.py`` is a module of the same name.

    Python binds a submodule in its package once it is imported; for a public name we bind the function instead. The
    module stays in ``sys.modules``: ``from understudy.train import ...`` works, and so does
    ``importlib.import_module("understudy.train")``. Only ``import understudy.train as t`` gives the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LAZY and isinstance(value, ModuleType):
            value = getattr(value, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
