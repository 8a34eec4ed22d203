"""A run: a teacher, a plain and a distilled student (and further arms) over several seeds, measured and compared."""

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.config.schema import RunConfig
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.environment import this_machine
from understudy.execution.workers import Job, Tell, available_cores, run_jobs
from understudy.files import to_json, write_json
from understudy.runs.arm import RunOptions, run_arm
from understudy.runs.folder import RunFolder, load_run, record_config
from understudy.runs.networks import build
from understudy.runs.plan import ArmRun, RunPlan, resolve_plan
from understudy.runs.results import ArmResult, RunEnvironment, RunResults
from understudy.runs.summary import assemble, measure_costs
from understudy.training.device import resolve_device, resolve_precision


def run_experiment(
    config: RunConfig,
    out: Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    resume: bool = False,
    command: str = "",
    cache: str | None = None,
    display: bool = True,
    together: bool = False,
) -> RunResults | None:
    """Run all arms on all seeds and write the run directory.

    Args:
        config: what to do.
        out: the run's directory.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: trainings side by side on a CPU; by default one per core. 1 runs them one after the other, with the same numbers.
        resume: keep what is finished and go on from the last checkpoints.
        command: what was typed, for the record.
        cache: folder of teacher outputs.
        display: show progress on standard error.
        together: students of one seed take turns in one process, on batches made once and a live teacher asked once. The same
            numbers, to the bit; worth it where many arms read a teacher's features.

    Returns:
        the contents of ``results.json``; ``None`` on any but the first rank of a distributed run.

    Raises:
        UnderstudyError: for what is wrong outside the program; everything finished so far stays, ``resume`` goes on from it.
    """
    import torch

    from understudy.terminal.progress import RunDisplay

    began = time.perf_counter()
    on_cpu = resolve_device(device).type == "cpu"
    plan, folder = resolve_plan(config), RunFolder(out)
    rank = int(os.environ.get("RANK", "0"))
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    waves = plan.waves(config.seeds)
    data, test = prepare_data(
        config.data
    )  # decoded before any worker starts, and refused here if it is not in order
    for model, stages in {
        repr((arm.model, arm.stages)): (arm.model, arm.stages) for arm in plan.arms.values()
    }.values():
        build(model, data, stages)
    if rank == 0:
        record_config(
            config, folder, resume
        )  # after the checks: a run that was refused leaves no folder behind
    cores = len(available_cores())
    side_by_side = 0 if not on_cpu or distributed or workers == 1 else (workers or cores)
    epochs = {run.name: run.arm.epochs for wave in waves for run in wave}
    shown = RunDisplay(epochs)

    def stage(runs: list[ArmRun]) -> dict[str, Any]:
        alone = (
            len(runs) == 1 and on_cpu and not distributed
        )  # ranks share the cores: one thread each
        threads = (cores if alone else 1) if on_cpu else None
        options = RunOptions(device, threads, resume, cache)
        jobs = [Job(run.name, run_arm, (plan, run, folder, options)) for run in runs]
        return run_jobs(jobs, min(side_by_side, len(jobs)), tell, bind_all=alone)

    def companies(runs: list[ArmRun]) -> dict[str, Any]:
        from understudy.execution.company import run_company

        parts = _companies(plan, runs, max(side_by_side, 1))
        jobs = [
            Job(
                part[0].name,
                run_company,
                (plan, part, folder, device, 1 if on_cpu else None, cache),
            )
            for part in parts
        ]
        finished = run_jobs(jobs, min(side_by_side, len(jobs)), lambda _, news: tell(*news))
        return {name: result for company in finished.values() for name, result in company.items()}

    display = display and rank == 0
    tell: Tell = shown.tell if display else (lambda name, message: None)
    with shown if display else contextlib.nullcontext():
        finished: dict[str, ArmResult] = {}
        after_teachers = began
        for wave in waves:
            takes_turns = together and not any(run.arm.is_shared for run in wave)
            finished |= companies(wave) if takes_turns else stage(wave)
            if any(run.arm.name == "teacher" for run in wave):
                after_teachers = time.perf_counter()
        after_students = time.perf_counter()
    if rank != 0:
        return None
    costs = measure_costs(plan, folder, data)
    results = assemble(plan, folder, finished, data, len(test), costs, command)
    seconds = {
        "teacher": after_teachers - began,
        "students": after_students - after_teachers,
        "total": time.perf_counter() - began,
    }
    kind = "cpu" if on_cpu else "cuda"
    environment = RunEnvironment(
        **to_json(this_machine(kind)),
        workers=max(side_by_side, 1),
        threads_per_worker=1 if on_cpu else None,
        precision=resolve_precision(config.train.precision, torch.device(kind)),
    )
    results = replace(results, seconds=seconds, environment=environment)
    write_json(
        folder.environment,
        to_json(environment) | {"command": command, "created": results.created},
    )
    write_json(folder.results, results)
    return results


def _companies(plan: RunPlan, runs: list[ArmRun], parts: int) -> list[list[ArmRun]]:
    """Students that take turns: for each seed, its arms dealt out to so many companies, those that read features evenly."""
    arms = sorted(
        {run.arm.name: None for run in runs},
        key=lambda arm: plan.arm(arm).needs != "features",
    )
    dealt = [arms[part::parts] for part in range(min(parts, len(arms)))]
    return [
        [run for run in runs if run.seed == seed and run.arm.name in part]
        for seed in plan.config.seeds
        for part in dealt
    ]


def train_arm(
    config: RunConfig, arm: str, seed: int, out: Path, *, device: str = "auto", resume: bool = False
) -> ArmResult:
    """Train one arm on one seed; what it needs (its teacher, members, assistants) is trained first where it is not there yet.

    Returns:
        the contents of the arm's ``result.json``, on every rank of a distributed training.
    """
    from understudy.terminal.progress import RunDisplay

    resolve_device(device)  # refused before anything is written
    first = (
        int(os.environ.get("RANK", "0")) == 0
    )  # of a distributed training: the one that writes and shows
    plan, folder = resolve_plan(config), RunFolder(out)
    if first and (resume or not folder.config.exists()):
        record_config(config, folder, resume)
    elif first and load_run(out) != config:
        raise UnderstudyError(f"{out} holds a run of another configuration: give another --out")
    run = plan.arm_run(arm, seed)
    if arm == "teacher":
        run = ArmRun(run.arm, seed, None)  # this seed, also where all students share one teacher
    runs = [run]
    if run.arm.members or run.arm.uses_teacher:
        runs = [*(plan.arm_run(other.name, seed) for other in plan.needed_by(run.arm)), run]
    # A teacher that is there already is used, not trained again.
    jobs = [
        Job(
            each.name,
            run_arm,
            (plan, each, folder, RunOptions(device, resume=resume or each is not run)),
        )
        for each in runs
    ]
    shown = RunDisplay({each.name: each.arm.epochs for each in runs})
    with shown if first else contextlib.nullcontext():
        tell = shown.tell if first else lambda name, message: None
        result: ArmResult = run_jobs(jobs, 0, tell)[run.name]
        return result
