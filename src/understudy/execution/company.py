"""The students of a run that take turns in one process: one job of ``understudy run --together``."""

from collections.abc import Sequence
from typing import Any

from understudy.errors import UnderstudyError
from understudy.execution.backend import Epoch, Failed, Finished, Training
from understudy.execution.fused.backend import FusedBackend
from understudy.runs.folder import RunFolder
from understudy.runs.plan import ArmRun, RunPlan


def run_company(
    plan: RunPlan,
    runs: Sequence[ArmRun],
    folder: RunFolder,
    device: str,
    threads: int | None,
    cache: str | None,
    report: Any,
) -> dict[str, Any]:
    """Train students of a run together, going on from the checkpoints that are there, and evaluate each as it ends.

    Args:
        plan, folder, device, threads, cache: as for :func:`understudy.runs.arm.run_arm`.
        runs: the students.
        report: called with (the student's name, its news).

    Returns:
        the contents of each student's ``result.json``, by name.

    Raises:
        UnderstudyError: if a student's training fails; the others' checkpoints stay.
    """
    results: dict[str, Any] = {}
    trainings = [
        Training(run.name, plan, run, folder, teachers=folder, cache=cache, final=True)
        for run in runs
    ]
    with FusedBackend(
        device=device, engine="interleaved", capacity=len(trainings), threads=threads
    ) as backend:
        backend.submit(trainings)
        while len(results) < len(trainings):
            for event in backend.wait():
                if isinstance(event, Failed):
                    raise UnderstudyError(f"{event.training}: {event.reason}")
                if isinstance(event, Epoch):
                    report(event.training, ("epoch", event.result))
                elif isinstance(event, Finished):
                    results[event.training] = event.result
    return results
