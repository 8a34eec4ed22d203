"""A data set of three colours, a teacher trained on it once, and trainings on both: what the tests of the backends share."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.execution.backend import Backend, Event, Failed, Finished, Training
from understudy.runs.arm import run_arm
from understudy.runs.plan import ArmSpec

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
    """Two epochs of four batches, the last of them smaller, on the founding student with dropout."""
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
    run_arm(
        config_for(images),
        ArmSpec("teacher", 0, None),
        run,
        device="cpu",
        cache=str(run / "cache"),
        final=False,
    )
    return run


def training_for(
    config: RunConfig, name: str, folder: Path, teachers: Path, seed: int = 0, **options: Any
) -> Training:
    """A distilled student of this configuration."""
    cache = str(teachers / "cache")
    return Training(name, config, "distilled", seed, folder / name, teachers, cache, **options)


def alone(training: Training, resume: bool = False, device: str = "cpu") -> dict[str, Any]:
    """What :func:`understudy.runs.arm.run_arm` makes of a training."""
    spec = ArmSpec(training.arm, training.seed, 0)
    torch.manual_seed(999)  # whatever the generators did before must not matter
    return run_arm(
        training.config,
        spec,
        training.folder,
        device=device,
        cache=training.cache,
        final=training.final,
        teachers=training.teachers,
        resume=resume,
    )


def drain(backend: Backend) -> list[Event]:
    """All events until nothing is left."""
    events: list[Event] = []
    while new := backend.wait():
        events += new
    return events


def results(events: list[Event]) -> dict[str, dict[str, Any]]:
    """The results by training; no training may have failed."""
    assert [event for event in events if isinstance(event, Failed)] == []
    return {event.training: event.result for event in events if isinstance(event, Finished)}


def weights(training: Training) -> dict[str, torch.Tensor]:
    """The kept weights that a training wrote."""
    return load_file(training.folder / "models" / f"{training.arm}-seed{training.seed}.safetensors")


def measured(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what depends on the clock."""
    return {
        k: v
        for k, v in result.items()
        if k not in ("seconds", "images_per_second", "label_seconds")
    }
