"""Knowledge distillation for image classifiers: a large teacher, a small student, and the proof.

The proof is that the student can take the teacher's place. The public names below load what they
need on first use: importing this package imports neither torch nor matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

from understudy.errors import UnderstudyError
from understudy.version import __version__

if TYPE_CHECKING:
    from understudy.api import DistillationBatches as DistillationBatches
    from understudy.api import RunOptions as RunOptions
    from understudy.api import Student as Student
    from understudy.api import TaughtBatch as TaughtBatch
    from understudy.api import Teacher as Teacher
    from understudy.api import create_model as create_model
    from understudy.api import distill as distill
    from understudy.api import evaluate as evaluate
    from understudy.api import predict as predict
    from understudy.api import train as train
    from understudy.config.recipe import load_config as load_config
    from understudy.config.schema import TrainConfig as TrainConfig
    from understudy.data import load_dataset as load_dataset
    from understudy.data.spec import ImageSpec as ImageSpec
    from understudy.experiment import run_experiment as run_experiment
    from understudy.methods.base import Method as Method
    from understudy.methods.base import MethodConfig as MethodConfig
    from understudy.methods.registry import list_methods as list_methods
    from understudy.models import build_model as build_model
    from understudy.models import list_models as list_models
    from understudy.report import write_report as write_report
    from understudy.sweep.driver import run_sweep as run_sweep

_LAZY = {
    "DistillationBatches": "understudy.api",
    "ImageSpec": "understudy.data.spec",
    "Method": "understudy.methods.base",
    "MethodConfig": "understudy.methods.base",
    "RunOptions": "understudy.api",
    "Student": "understudy.api",
    "TaughtBatch": "understudy.api",
    "Teacher": "understudy.api",
    "TrainConfig": "understudy.config.schema",
    "build_model": "understudy.models",
    "create_model": "understudy.api",
    "distill": "understudy.api",
    "evaluate": "understudy.api",
    "list_methods": "understudy.methods.registry",
    "list_models": "understudy.models",
    "load_config": "understudy.config.recipe",
    "load_dataset": "understudy.data",
    "predict": "understudy.api",
    "run_experiment": "understudy.experiment",
    "run_sweep": "understudy.sweep.driver",
    "train": "understudy.api",
    "write_report": "understudy.report",
}
"""Public name -> the module that defines or re-exports it (PEP 562)."""

__all__ = [
    "DistillationBatches",
    "ImageSpec",
    "Method",
    "MethodConfig",
    "RunOptions",
    "Student",
    "TaughtBatch",
    "Teacher",
    "TrainConfig",
    "UnderstudyError",
    "__version__",
    "build_model",
    "create_model",
    "distill",
    "evaluate",
    "list_methods",
    "list_models",
    "load_config",
    "load_dataset",
    "predict",
    "run_experiment",
    "run_sweep",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
