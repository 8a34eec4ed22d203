"""A run: a teacher, a plain and a distilled student (and further arms) over several seeds, measured and compared."""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.config.recipe import from_yaml
from understudy.config.schema import RunConfig
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.environment import this_machine
from understudy.execution.workers import Job, Tell, available_cores, run_jobs
from understudy.files import to_json, write_json
from understudy.methods import method_config, needs_of
from understudy.runs.arm import run_arm
from understudy.runs.folder import record_config
from understudy.runs.networks import build
from understudy.runs.plan import ArmSpec, Link, chain_of, depths, needed_by, spec_of
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
    links = chain_of(config)
    arms = list(links)
    for link in links.values():
        method_config(link.method)
    rank = int(os.environ.get("RANK", "0"))
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    waves = _waves(config, links)
    data, test = prepare_data(
        config.data
    )  # decoded before any worker starts, and refused here if it is not in order
    for model, stages in {
        repr((link.model, link.stages)): (link.model, link.stages) for link in links.values()
    }.values():
        build(model, data, stages)
    if rank == 0:
        record_config(
            config, out, resume
        )  # after the checks: a run that was refused leaves no folder behind
    cores = len(available_cores())
    side_by_side = 0 if not on_cpu or distributed or workers == 1 else (workers or cores)
    epochs = {spec.name: links[spec.arm].epochs for wave in waves for spec in wave}
    shown = RunDisplay(epochs)

    def stage(specs: list[ArmSpec]) -> dict[str, Any]:
        alone = (
            len(specs) == 1 and on_cpu and not distributed
        )  # ranks share the cores: one thread each
        threads = (cores if alone else 1) if on_cpu else None
        jobs = [
            Job(s.name, run_arm, (config, s, out, device, threads, resume, cache, True))
            for s in specs
        ]
        return run_jobs(jobs, min(side_by_side, len(specs)), tell, bind_all=alone)

    def companies(specs: list[ArmSpec]) -> dict[str, Any]:
        from understudy.execution.company import run_company

        parts = _companies(config, links, specs, max(side_by_side, 1))
        jobs = [
            Job(
                part[0].name, run_company, (config, part, out, device, 1 if on_cpu else None, cache)
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
            takes_turns = together and not any(links[spec.arm].teaches_all for spec in wave)
            finished |= companies(wave) if takes_turns else stage(wave)
            if any(spec.arm == "teacher" for spec in wave):
                after_teachers = time.perf_counter()
        after_students = time.perf_counter()
    if rank != 0:
        return None
    costs = measure_costs(config, out, arms, data)
    results = assemble(config, out, finished, data, len(test), costs, command)
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
        out / "environment.json",
        to_json(environment) | {"command": command, "created": results.created},
    )
    write_json(out / "results.json", results)
    return results


def _companies(
    config: RunConfig, links: Mapping[str, Link], specs: list[ArmSpec], parts: int
) -> list[list[ArmSpec]]:
    """Students that take turns: for each seed, its arms dealt out to so many companies, those that read features evenly."""
    arms = sorted(
        {s.arm: None for s in specs},
        key=lambda arm: needs_of(method_config(links[arm].method)) != "features",
    )
    dealt = [arms[part::parts] for part in range(min(parts, len(arms)))]
    return [
        [s for s in specs if s.seed == seed and s.arm in part]
        for seed in config.seeds
        for part in dealt
    ]


def _waves(config: RunConfig, links: Mapping[str, Link]) -> list[list[ArmSpec]]:
    """All trainings of a run, in groups that follow each other; those of a group are independent. Seed by seed, arm by arm."""
    depth = depths(links)
    specs = dict.fromkeys(spec_of(config, arm, seed) for seed in config.seeds for arm in links)
    return [
        [spec for spec in specs if depth[spec.arm] == level]
        for level in range(max(depth.values()) + 1)
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
    if first and (resume or not (out / "config.yaml").exists()):
        record_config(config, out, resume)
    elif first and from_yaml((out / "config.yaml").read_text(), str(out / "config.yaml")) != config:
        raise UnderstudyError(f"{out} holds a run of another configuration: give another --out")
    links = chain_of(config)
    own = spec_of(config, arm, seed) if arm != "teacher" else ArmSpec("teacher", seed, None)
    needs_others = (
        bool(links[arm].members) or needs_of(method_config(links[arm].method)) != "nothing"
    )
    specs = [spec_of(config, name, seed) for name in needed_by(links, arm)] if needs_others else []
    specs.append(own)
    epochs = {s.name: links[s.arm].epochs for s in specs}
    # Before the arm itself comes its teacher: one that is there is used, not trained anew.
    jobs = [
        Job(
            s.name,
            run_arm,
            (config, s, out, device, None, resume or s is not specs[-1], None, True),
        )
        for s in specs
    ]
    shown = RunDisplay(epochs)
    with shown if first else contextlib.nullcontext():
        tell = shown.tell if first else lambda name, message: None
        result: ArmResult = run_jobs(jobs, 0, tell)[specs[-1].name]
        return result
