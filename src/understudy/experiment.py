"""A run: teacher, baseline, distilled student and further arms over several seeds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from understudy.config.schema import RunConfig
from understudy.cores import available_cores
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.environment import this_machine
from understudy.events import SILENT, Observer
from understudy.execution.backend import Training
from understudy.execution.sequential import SequentialBackend
from understudy.execution.wave import finish_all, wave_backend
from understudy.files import to_json, write_json
from understudy.runs.folder import (
    RunFolder,
    earlier_config,
    load_run,
    record_config,
    require_same_images,
)
from understudy.runs.given_inputs import resolved_plan
from understudy.runs.inspected import headline, record_inspection
from understudy.runs.plan import ArmRun, RunPlan, resolve_plan
from understudy.runs.precheck import Precheck
from understudy.runs.results import ArmResult, RunEnvironment, RunResults
from understudy.runs.room import require_room
from understudy.runs.student import with_student
from understudy.runs.summary import assemble, measure_costs
from understudy.runs.teacher_check import measured_line, teacher_advantage
from understudy.training.device import ranks, resolve_device, resolve_precision


@dataclass(frozen=True)
class ExperimentOptions:
    """How the trainings of a run are carried out.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: trainings side by side on a CPU; by default one per core. 1 runs them one after the
            other in this process, with the same numbers.
        resume: use finished trainings and the checkpoints of the others.
        together: students of one seed take steps in turn in one process, on shared batches and
            outputs of a live teacher. The numbers are the same, to the bit; it pays if many arms
            read a teacher's features.
        command: as typed, for the record.
        cache: folder of teacher outputs; the user's cache folder by default.
        go_on: let a teacher teach that is no better than the student without it.
    """

    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    together: bool = False
    command: str = ""
    cache: str | None = None
    go_on: bool = False


@dataclass(frozen=True)
class _Placement:
    """Where the trainings of a run take place.

    Attributes:
        device: as given.
        processes: most worker processes; 0 trains in this process.
        distributed: this process is one of several ranks.
        together: students of one seed take steps in turn in one process.
    """

    device: str
    processes: int
    distributed: bool
    together: bool


def run_experiment(
    config: RunConfig, out: Path, *, observer: Observer = SILENT, **options: Any
) -> RunResults | None:
    """Run all arms on all seeds and write the run directory.

    Args:
        config: what to do.
        out: the run's directory.
        observer: follows the trainings.
        options: fields of :class:`ExperimentOptions`: ``device``, ``workers``, ``resume``,
            ``together``, ``command``, ``cache``, ``go_on``.

    Returns:
        the contents of ``results.json``; ``None`` on any but the first rank of a distributed run.

    Raises:
        UnderstudyError: if a training fails, the configuration does not fit, or the teacher is no
            better than the student without it; what has finished stays, and ``resume`` goes on from
            it.
    """
    given = ExperimentOptions(**options)
    start = time.perf_counter()
    kind, here = resolve_device(given.device).type, ranks()
    observer = observer if here.is_first else SILENT
    folder = RunFolder(out)
    resolve_plan(config)  # a bad option is refused before any image is decoded
    # Decoded before any worker starts, and refused here if there is something wrong with it.
    data, test = prepare_data(config.data, observer=observer)
    earlier = earlier_config(folder) if given.resume else None
    config = with_student(config, data, earlier, observer)
    plan = resolved_plan(config, data, observer, earlier)
    config = plan.config
    waves = plan.waves(config.seeds)
    in_processes = kind == "cpu" and not here.is_distributed and given.workers != 1
    processes = (given.workers or len(available_cores())) if in_processes else 0
    trained = [run for wave in waves for run in wave]
    checked = _precheck(plan, data, trained, observer, given)
    if here.is_first:  # after the checks: a run that was refused leaves no folder behind
        require_room(out, trained, processes, checked)
        record_config(config, folder, given.resume, data.fingerprint)
        _show_images(data, folder, observer)
    placement = _Placement(given.device, processes, here.is_distributed, given.together)
    for wave in waves:
        for run in wave:
            observer.expect(run.arm.epochs, run.name)
    finished: dict[str, ArmResult] = {}
    after_teachers = start
    # Of a run that had ended, as before a further seed, that was decided then.
    has_ended = given.resume and folder.results.exists()
    goes_on = given.go_on or config.teacher.go_on or has_ended
    judge = _Judge(plan, goes_on, observer)
    for wave in waves:
        trainings = [
            Training(run.name, plan, run, folder, folder, given.cache, True, given.resume)
            for run in wave
        ]
        finished |= _carry_out(trainings, placement, observer, judge)
        if any(run.arm.name == "teacher" for run in wave):
            after_teachers = time.perf_counter()
    after_students = time.perf_counter()
    if not here.is_first:
        return None
    costs = measure_costs(plan, folder, data)
    results = assemble(plan, folder, finished, data, len(test), costs, given.command)
    seconds = {
        "teacher": after_teachers - start,
        "students": after_students - after_teachers,
        "total": time.perf_counter() - start,
    }
    environment = RunEnvironment(
        **to_json(this_machine(kind)),
        workers=max(processes, 1),
        threads_per_worker=1 if kind == "cpu" else None,
        precision=resolve_precision(config.train.precision, torch.device(kind)),
    )
    results = replace(results, seconds=seconds, environment=environment)
    created = {"command": given.command, "created": results.created}
    write_json(folder.environment, to_json(environment) | created)
    write_json(folder.results, results)
    return results


def _precheck(
    plan: RunPlan,
    data: TrainingData,
    runs: Sequence[ArmRun],
    observer: Observer,
    options: ExperimentOptions,
) -> Precheck:
    """Assemble the arms of these trainings and run each on one batch.

    Raises:
        UnderstudyError: for the first that cannot be trained, before anything is written.
    """
    checked = Precheck(data, observer, read_files=not options.resume, cache=options.cache)
    checked.check(plan, {run.arm.name: run.arm for run in runs}.values())
    return checked


def _show_images(data: TrainingData, folder: RunFolder, observer: Observer) -> None:
    """What was read as what: in the folder, and in a few lines."""
    if data.inspection is None:
        return
    record_inspection(data, folder)
    for line in headline(data.inspection):
        observer.message(line)


@dataclass
class _Judge:
    """Compares the teacher with the baseline as soon as both have finished.

    Attributes:
        plan: of the run.
        goes_on: a teacher that is worse may teach.
        observer: gets a line about each teacher, and one about the comparison.
        finished: results by name.
        has_compared: whether the comparison was made.
    """

    plan: RunPlan
    goes_on: bool
    observer: Observer
    finished: dict[str, ArmResult] = field(default_factory=dict)
    has_compared: bool = False

    def __call__(self, results: Mapping[str, ArmResult]) -> None:
        """Take note of the results of a wave so far.

        Raises:
            UnderstudyError: if the teacher is worse than the baseline, and the run is not to go on.
        """
        new = {name: result for name, result in results.items() if name not in self.finished}
        self.finished |= new
        for run in self._runs("teacher"):
            if run.name in new:
                self.observer.message(measured_line(run, new[run.name].val))
        if not self.has_compared and any(
            map(self.plan.learns_from_teacher, self.plan.arms.values())
        ):
            self._compare()

    def _runs(self, arm: str) -> list[ArmRun]:
        """The trainings of an arm, one or one for each seed."""
        runs = [self.plan.arm_run(arm, seed) for seed in self.plan.config.seeds]
        return list({run.name: run for run in runs}.values())

    def _compare(self) -> None:
        teachers, plain = self._runs("teacher"), self._runs("baseline")
        if not all(run.name in self.finished for run in (*teachers, *plain)):
            return
        self.has_compared = True
        advantage = teacher_advantage(
            [self.finished[run.name].val for run in teachers],
            [self.finished[run.name].val for run in plain],
        )
        if advantage.is_worse and not self.goes_on:
            raise UnderstudyError(advantage.refusal)
        self.observer.message(advantage.line)


def _carry_out(
    trainings: Sequence[Training], placement: _Placement, observer: Observer, judge: _Judge
) -> dict[str, ArmResult]:
    """Train, or read, the trainings of a wave, which are independent of each other."""
    # Given weights are only measured, and may be refused: before the others have taken their time.
    # So is a teacher that turns out to be worse than the baseline.
    trainings = sorted(
        trainings, key=lambda t: (not t.run.arm.is_given, t.run.arm.role != "baseline")
    )
    together = placement.together and not any(t.run.arm.is_shared for t in trainings)
    if together:
        trainings = _dealt_by_features(trainings)
    backend = wave_backend(
        len(trainings),
        device=placement.device,
        processes=placement.processes,
        distributed=placement.distributed,
        together=together,
        observer=observer,
    )
    with backend:
        return finish_all(trainings, backend, observer, judge)


def _dealt_by_features(trainings: Sequence[Training]) -> list[Training]:
    """Those that read a live teacher's features first, so that each process gets as many of
    them."""
    return sorted(trainings, key=lambda training: training.run.arm.needs != "features")


def train_arm(
    config: RunConfig,
    arm: str,
    seed: int,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    observer: Observer = SILENT,
) -> ArmResult:
    """Train one arm on one seed, after what it needs and is not there yet: its teacher, members,
    assistants.

    Returns:
        the contents of the arm's ``result.json``, on every rank of a distributed training.

    Raises:
        UnderstudyError: if a training fails, or the folder holds a run of another configuration.
    """
    resolve_device(device)  # refused before anything is written
    first = ranks().is_first
    observer = observer if first else SILENT
    folder = RunFolder(out)
    resolve_plan(config).arm(arm)  # a bad option is refused before any image is decoded
    data, _ = prepare_data(config.data, observer=observer)
    earlier = earlier_config(folder)
    config = with_student(config, data, earlier, observer)
    plan = resolved_plan(config, data, observer, earlier)
    config = plan.config
    own = plan.arm_run(arm, seed)
    if arm == "teacher":
        own = ArmRun(own.arm, seed, None)  # this seed, even if all students share one teacher
    runs = [own]
    if own.arm.members or own.arm.uses_teacher:
        runs = [*(plan.arm_run(other.name, seed) for other in plan.needed_by(own.arm)), own]
    options = ExperimentOptions(device=device, resume=resume)
    checked = _precheck(plan, data, runs, observer, options)
    if first:
        require_room(out, runs, 1, checked)
    if first and (resume or not folder.config.exists()):
        record_config(config, folder, resume, data.fingerprint)
    elif first:
        require_same_images(data.fingerprint, folder, "cannot train in", "give another --out")
        if load_run(out) != config:
            raise UnderstudyError(f"{out} holds a run of another configuration: give another --out")
    if first:
        _show_images(data, folder, observer)
    for run in runs:
        observer.expect(run.arm.epochs, run.name)
    # What comes before the arm itself is used if it is there, not trained again.
    trainings = [
        Training(run.name, plan, run, folder, folder, final=True, resume=resume or run is not own)
        for run in runs
    ]
    judge = _Judge(plan, True, observer)
    with SequentialBackend(device=device, threads=None, observer=observer) as backend:
        return finish_all(trainings, backend, observer, judge)[own.name]
