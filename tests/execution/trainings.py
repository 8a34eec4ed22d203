"""A data set of three colours, a teacher trained on it once, and trainings on both: what the tests
of the backends share."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.execution.backend import Backend, Event, Failed, Finished, Training
from understudy.files import to_json
from understudy.runs.arm import ArmOptions, run_arm
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan

TEACHER = {
    "model": {"name": "fast_teacher", "options": {"widths": [8, 8, 8], "stem_width": 4}},
    "train": {"epochs": 1},
}


def config_for(
    images: Path,
    method: dict[str, Any] | None = None,
    student: dict[str, Any] | None = None,
    **train: Any,
) -> RunConfig:
    """Two epochs of four batches, the last of them smaller, on the founding student with
    dropout."""
    values: dict[str, Any] = {
        "name": "colours",
        "data": {
            "source": "npz",
            "path": str(images),
            "val_fraction": 0.2,
            "augment": {"padding": 1},
        },
        "teacher": TEACHER,
        "student": {"model": student or {"name": "founding_student"}},
        "train": {"epochs": 2, "batch_size": 15, "lr": 3e-3, "precision": "fp32"} | train,
        "method": method or {"name": "kd"},
    }
    return parse(RunConfig, values)


def train_teacher(images: Path, run: Path) -> Path:
    """The run directory of a teacher."""
    plan = resolve_plan(config_for(images))
    options = ArmOptions("cpu", cache=str(run / "cache"))
    run_arm(plan, plan.arm_run("teacher", 0), RunFolder(run), options, final=False)
    return run


def training_for(
    config: RunConfig, name: str, folder: Path, teachers: Path, seed: int = 0, **options: Any
) -> Training:
    """A distilled student of this configuration."""
    plan, place = resolve_plan(config), RunFolder(folder / name)
    run, cache = plan.arm_run("distilled", seed), str(teachers / "cache")
    return Training(name, plan, run, place, RunFolder(teachers), cache, **options)


def alone(training: Training, resume: bool = False, device: str = "cpu") -> dict[str, Any]:
    """What :func:`understudy.runs.arm.run_arm` makes of a training."""
    torch.manual_seed(999)  # whatever the generators did before must not matter
    result = run_arm(
        training.plan,
        training.run,
        training.folder,
        ArmOptions(device, resume=resume, cache=training.cache),
        final=training.final,
        teachers=training.teachers,
    )
    return dict(to_json(result))


def drain(backend: Backend) -> list[Event]:
    """All events until nothing is left."""
    events: list[Event] = []
    while new := backend.wait():
        events += new
    return events


def results(events: list[Event]) -> dict[str, dict[str, Any]]:
    """The results by training; no training may have failed."""
    assert [event for event in events if isinstance(event, Failed)] == []
    return {e.training: to_json(e.result) for e in events if isinstance(e, Finished)}


def weights(training: Training) -> dict[str, torch.Tensor]:
    """The final weights that a training wrote."""
    return load_file(training.folder.weights(training.run.name))


def measured(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what depends on the clock."""
    return {
        k: v
        for k, v in result.items()
        if k not in ("seconds", "images_per_second", "label_seconds")
    }
