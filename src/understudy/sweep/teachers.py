"""The teacher of a sweep, its members and assistants: trained once for all trials, the same on all
machines."""

import hashlib
from collections.abc import Sequence

from understudy.errors import UnderstudyError
from understudy.evaluation.results import Metrics
from understudy.events import Observer
from understudy.execution.backend import Training
from understudy.execution.one_training import on_cpu
from understudy.execution.wave import finish_all, wave_backend
from understudy.runs.plan import Arm
from understudy.runs.results import read_result
from understudy.runs.teacher_check import measured_line
from understudy.sweep.search import Search
from understudy.sweep.spec import SweepSpec


def train_teachers(spec: SweepSpec, seeds: Sequence[int], observer: Observer) -> None:
    """Train (or read) the teachers of these seeds, each with all cores; the test split stays
    sealed."""
    if not spec.needs_teacher:
        return
    plan, folder, options = spec.plan, spec.folder.run, spec.options
    shared = [arm for arm in plan.needed_by(plan.arm("distilled")) if arm.is_shared]
    runs = [plan.arm_run(arm.name, seed) for seed in seeds for arm in shared]
    # In a process of its own, whose threads are bound to the cores.
    processes = int(on_cpu(options.device) and options.workers != 1)
    for run in {run.name: run for run in runs}.values():
        if folder.result(run.name).exists():
            continue
        observer.message(origin(run.arm, run.seed))
        observer.expect(run.arm.epochs, run.name)
        training = Training(run.name, plan, run, folder, folder, options.cache)
        with wave_backend(
            1, device=options.device, processes=processes, observer=observer
        ) as backend:
            finished = finish_all([training], backend, observer)
        observer.message(measured_line(run, finished[run.name].val))


def measured_teachers(spec: SweepSpec, seeds: Sequence[int]) -> list[Metrics]:
    """What the teachers of these seeds reach on validation; empty if none is needed."""
    if not spec.needs_teacher:
        return []
    names = dict.fromkeys(spec.plan.arm_run("teacher", seed).name for seed in seeds)
    found = [spec.folder.run.result(name) for name in names]
    return [read_result(path).val for path in found if path.exists()]


def agree_on_teacher(spec: SweepSpec, search: Search) -> None:
    """Machines that share a study must share the teacher, bit for bit.

    Raises:
        UnderstudyError: if the study's other trials were taught by another one.
    """
    if not spec.needs_teacher:
        return
    seeds, folder = spec.config.seeds, spec.folder.run
    names = dict.fromkeys(spec.plan.arm_run("teacher", seed).name for seed in seeds)
    digest = hashlib.sha256()
    for name in names:
        digest.update(folder.require_weights(name).read_bytes())
    recorded = search.attrs().get("teacher")
    if recorded is None:
        search.set_attr("teacher", digest.hexdigest())
    elif recorded != digest.hexdigest():
        raise UnderstudyError(
            "this machine's teacher is not the one that taught the study's other trials: copy "
            f"models/{next(iter(names))}.safetensors from the sweep that began the study, and give "
            "it as teacher.path=FILE"
        )


def origin(arm: Arm, seed: int) -> str:
    """Where a teacher, a member or an assistant of the sweep comes from: a line for people."""
    if arm.is_given:
        return f"reading the {arm.role} from {arm.path}, once for all trials"
    if arm.members:
        return f"building the {arm.role} from its {len(arm.members)} members"
    return f"training the {arm.role} (seed {seed}), once for all trials"
