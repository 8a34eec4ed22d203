"""How a run or a sweep was done, as terms and texts: what both pages show in the same way."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.evaluation.environment import Machine
from understudy.report.format import duration, number
from understudy.runs.folder import RunFolder
from understudy.runs.results import DataFacts, RunEnvironment

Fact = tuple[str, Sequence[object]]
"""A term and the parts of its text; parts without a value are left out."""


def data_facts(data: DataFacts) -> list[Fact]:
    """The images of a run or sweep."""
    shape = "×".join(map(str, data.image_shape))
    skipped = data.num_skipped and f"{number(data.num_skipped, 0)} unreadable images left out"
    splits = {"training": data.num_train, "validation": data.num_val, "test": data.num_test}
    return [
        (
            "Data",
            [
                data.name,
                f"{len(data.class_names)} classes",
                f"images of {shape} (channels × height × width)",
                skipped,
            ],
        ),
        ("Splits", [f"{number(count, 0)} {split}" for split, count in splits.items()]),
        ("Data fingerprint", [data.fingerprint]),
    ]


def machine_facts(machine: Machine | None) -> list[Fact]:
    """The machine and the versions of a run or sweep."""
    if machine is None:
        return []
    cores = {"cores": machine.cores}
    precision = None
    if isinstance(machine, RunEnvironment):
        cores |= {"workers": machine.workers, "threads per worker": machine.threads_per_worker}
        precision = machine.precision
    versions = {
        "understudy": machine.understudy,
        "python": machine.python,
        "torch": machine.torch,
        **machine.packages,
    }
    counts = [f"{name} {count}" for name, count in cores.items() if count is not None]
    return [
        ("Hardware", [machine.cpu, machine.accelerator, *counts]),
        ("Device", [machine.device, precision, machine.os]),
        ("Versions", [f"{name} {version}" for name, version in versions.items() if version]),
    ]


def time_spent(seconds: Mapping[str, float]) -> list[str]:
    """Each phase with its duration."""
    return [f"{phase} {duration(value)}" for phase, value in seconds.items()]


def drop_empty(facts: Iterable[Fact]) -> list[tuple[str, str]]:
    """Term and text of the facts that have a value."""
    texts = [(term, ", ".join(str(part) for part in parts if part)) for term, parts in facts]
    return [(term, text) for term, text in texts if text]


def config_text(folder: Path, config: Mapping[str, Any]) -> str:
    """The resolved configuration as saved next to the results; JSON if that file is gone."""
    path = RunFolder(folder).config
    if path.exists():
        return path.read_text(encoding="utf-8")
    return json.dumps(config, indent=2, ensure_ascii=False)
