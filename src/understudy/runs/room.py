"""Whether a run's folder can be written, and its disk has room for what the run will write."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.runs.plan import ArmRun
from understudy.runs.precheck import Precheck

_CHECKPOINT = 4
"""Copies of the weights in a checkpoint, at most: method, two moments of Adam, average."""


def require_room(out: Path, runs: Iterable[ArmRun], at_once: int, checked: Precheck) -> None:
    """Refuse a folder that cannot be written, or a disk without room for weights and checkpoints.

    Args:
        out: the run's folder, which need not exist.
        runs: all its trainings.
        at_once: how many train side by side.
        checked: knows the sizes of the networks.

    Raises:
        UnderstudyError: naming the folder, and what is needed and free.
    """
    there = out.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UnderstudyError(f"{there} is a file: choose another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UnderstudyError(f"{there} cannot be written: choose another --out")
    sizes = sorted((checked.num_bytes(run.arm) for run in runs), reverse=True)
    needed = sum(sizes) + _CHECKPOINT * sum(sizes[: max(at_once, 1)])
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UnderstudyError(
            f"{out} needs {_gigabytes(needed)} for weights and checkpoints, and the disk has "
            f"{_gigabytes(free)} free: make room, or choose another --out"
        )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
