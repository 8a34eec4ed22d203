"""How long an image takes each of several networks on a runtime, in a process of its own.

Runtimes leave threads and settings behind, and the process that trains should have neither. What
is measured there is :mod:`understudy.export.timed_students`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from understudy.config.networks import ModelConfig
from understudy.errors import UnderstudyError
from understudy.files import from_json, write_json

_PROGRAM = "understudy.export.timed_students"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to measure.

    Attributes:
        models: the networks, in the order in which they are preferred.
        macs: multiply-accumulates of each.
        image: ``[C, H, W]``.
        num_classes: number of logits.
        runtime: as in ``understudy benchmark --runtimes``.
        limit: milliseconds of an image that are allowed.
    """

    models: tuple[ModelConfig, ...]
    macs: tuple[int, ...]
    image: tuple[int, int, int]
    num_classes: int
    runtime: str
    limit: float


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What was measured.

    Attributes:
        chosen: position of the first network that is fast enough; ``None`` if none is.
        milliseconds: position -> median time of an image, of the networks that were measured.
    """

    chosen: int | None
    milliseconds: Mapping[str, float]


def time_students(job: Job) -> Timed:
    """Find the first network that is fast enough; the others are measured only as far as needed.

    Raises:
        UnderstudyError: if the runtime is unknown or missing here, or the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="understudy-stopwatch-") as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        write_json(job_file, job)
        ended = subprocess.run(
            # -P: a file in the user's working folder must not take the place of a package.
            [sys.executable, "-P", "-m", _PROGRAM, str(job_file), str(result_file)],
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if ended.returncode:
            lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["no reason"]
            raise UnderstudyError(f"students cannot be timed on {job.runtime}: {lines[-1]}")
        content = json.loads(result_file.read_bytes())
        return from_json(Timed, content, str(result_file), "this is a mistake in understudy")


def _environment() -> dict[str, str]:
    """Of the process: this package, and one thread."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **changes}
