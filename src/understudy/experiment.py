"""A run: a teacher, a plain and a distilled student (and further arms) over several seeds, measured and compared."""

import contextlib
import csv
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.config.recipe import from_yaml, to_mapping
from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.environment import hardware
from understudy.evaluation.latency import count_macs, efficiency, measure_latency, model_size
from understudy.evaluation.statistics import paired_gain, summarise, verdict
from understudy.execution.workers import Job, Tell, available_cores, run_jobs
from understudy.files import write_json
from understudy.methods import method_config, needs_of
from understudy.models import deployed
from understudy.runs.arm import build, run_arm, shown_to, spec_of, trained_network
from understudy.runs.folder import ArmSpec, arm_folder, load_run, record_config, weights_path
from understudy.runs.plan import Link, chain_of, depths, needed_by
from understudy.runs.results import describe_data
from understudy.training.device import resolve_device, resolve_precision
from understudy.training.history import EpochResult, write_history

Latencies = dict[str, dict[str, Any]]


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
) -> dict[str, Any]:
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
        the contents of ``results.json``; nothing on any but the first rank of a distributed run.

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
        finished: dict[str, Any] = {}
        after_teachers = began
        for wave in waves:
            takes_turns = together and not any(links[spec.arm].teaches_all for spec in wave)
            finished |= companies(wave) if takes_turns else stage(wave)
            if any(spec.arm == "teacher" for spec in wave):
                after_teachers = time.perf_counter()
        after_students = time.perf_counter()
    if rank != 0:
        return {}
    latencies = _latencies(config, out, arms, data)
    results = assemble(config, out, arms, finished, data, len(test), latencies, command)
    results["seconds"] = {
        "teacher": after_teachers - began,
        "students": after_students - after_teachers,
        "total": time.perf_counter() - began,
    }
    results["environment"] = hardware("cpu" if on_cpu else "cuda") | {
        "workers": max(side_by_side, 1),
        "threads_per_worker": 1 if on_cpu else None,
        "precision": resolve_precision(
            config.train.precision, torch.device("cpu" if on_cpu else "cuda")
        ),
    }
    write_json(
        out / "environment.json",
        results["environment"] | {"command": command, "created": results["created"]},
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
) -> dict[str, Any]:
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
        return dict(
            run_jobs(jobs, 0, shown.tell if first else lambda name, message: None)[specs[-1].name]
        )


def _latencies(
    config: RunConfig, out: Path, arms: list[str], data: TrainingData, threads: int | None = None
) -> Latencies:
    """Size, multiply-adds and latency of one network per arm, the networks taking turns."""
    networks = {}
    for arm in arms:
        spec = spec_of(config, arm, config.seeds[0])
        networks[arm] = (
            deployed(trained_network(config, spec, out, data)),
            weights_path(out, spec.name),
        )
    settings = config.benchmark
    latency = measure_latency(
        {arm: network for arm, (network, _) in networks.items()},
        data.image_shape,
        settings.batch_sizes,
        threads=threads or settings.threads,
        repeats=settings.repeats,
        warmup=settings.warmup,
    )
    return {
        arm: {
            "size": model_size(network)
            | {"file_bytes": path.stat().st_size, "macs": count_macs(network, data.image_shape)},
            "latency": latency[arm],
        }
        for arm, (network, path) in networks.items()
    }


def assemble(
    config: RunConfig,
    out: Path,
    arms: list[str],
    finished: Mapping[str, Any],
    data: TrainingData,
    num_test: int,
    latencies: Latencies,
    command: str,
) -> dict[str, Any]:
    """Everything that was measured, as ``results.json`` holds it; also writes the run's ``history.csv``."""
    links = chain_of(config)
    by_arm = {arm: [r for r in finished.values() if r["arm"] == arm] for arm in arms}
    entries = {}
    for arm, runs in by_arm.items():
        speed = latencies[arm]["latency"]
        size = latencies[arm]["size"]
        summary = {
            key: summarise([r["test"][key] for r in runs])
            for key in ("accuracy", "nll", "ece", "agreement", "teacher_kl")
        }
        largest = str(max(config.benchmark.batch_sizes))
        assert summary["accuracy"] is not None
        entries[arm] = {
            "role": arm if arm in ("teacher", "baseline", "distilled") else "extra",
            "part": links[arm].role,
            "taught_by": runs[0].get("taught_by"),
            "model": runs[0]["model"],
            "method": runs[0]["method"],
            "runs": [
                {k: v for k, v in r.items() if k not in ("arm", "model", "method", "taught_by")}
                for r in runs
            ],
            "summary": summary,
            "size": size,
            "latency": speed,
            "compression": latencies["teacher"]["size"]["size_mb"] / size["size_mb"],
            "efficiency": efficiency(
                100 * summary["accuracy"]["mean"], speed[largest]["median_ms"], size["size_mb"]
            ),
        }
    comparisons = []
    for arm, link in links.items():
        reference = _compared_with(link, links)
        if reference is not None:
            ours, theirs = (
                [r["test"]["accuracy"] for r in by_arm[name]] for name in (arm, reference)
            )
            gain = paired_gain(ours, theirs)
            sentence = verdict(arm, gain) + (
                f" (against {reference})" if reference != "baseline" else ""
            )
            comparisons.append(
                {
                    "arm": arm,
                    "reference": reference,
                    "metric": "accuracy",
                    **gain,
                    "verdict": sentence,
                }
            )
    _gather_history(out, [(arm, r["seed"]) for arm, runs in by_arm.items() for r in runs])
    return {
        "schema": 1,
        "name": config.name,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {},
        "environment": {},
        "data": describe_data(data, num_test),
        "config": to_mapping(config),
        "arms": entries,
        "latency_conditions": {
            "threads": config.benchmark.threads,
            "repeats": config.benchmark.repeats,
            "warmup": config.benchmark.warmup,
            "runtime": "torch eager",
            "precision": "fp32",
            "memory_format": "channels_last",
        },
        "comparisons": comparisons,
        "reference": to_mapping(config)["reference"],
    }


def _compared_with(link: Link, links: Mapping[str, Link]) -> str | None:
    """The arm whose plain training of the same network, seed by seed, shows what a taught arm has gained; ``None`` without one.

    A born-again network is like the teacher, so the baseline shows it only where the student is, too; else the teacher does,
    where there is one for each seed.
    """
    if link.role not in ("generation", "distilled", "extra"):
        return None
    baseline, teacher = links["baseline"], links["teacher"]
    if not link.generation or (link.model, link.stages, link.train) == (
        baseline.model,
        baseline.stages,
        baseline.train,
    ):
        return "baseline"
    same = (
        link.model == teacher.model
        and teacher.seed is None
        and not teacher.members
        and teacher.path is None
    )
    return "teacher" if same else None


def _gather_history(out: Path, names: list[tuple[str, int]]) -> None:
    entries = []
    for arm, seed in names:
        path = arm_folder(out, f"{arm}-seed{seed}") / "history.csv"
        for row in csv.DictReader(path.read_text().splitlines()):
            losses = {
                k.removeprefix("train_"): float(v)
                for k, v in row.items()
                if k.startswith("train_") and k != "train_accuracy" and v
            }
            numbers = {
                k: float(row[k])
                for k in (
                    "lr",
                    "train_accuracy",
                    "val_loss",
                    "val_accuracy",
                    "seconds",
                    "images_per_second",
                    "label_seconds",
                )
            }
            others = {
                k: float(v)
                for k, v in row.items()
                if k not in {"arm", "seed", "epoch", *numbers} and v
            }
            measures = {k: v for k, v in others.items() if not k.startswith("train_")}
            entries.append(
                (
                    arm,
                    seed,
                    EpochResult(
                        epoch=int(row["epoch"]), losses=losses, measures=measures, **numbers
                    ),
                )
            )
    write_history(out / "history.csv", entries)


def evaluate_run(path: Path, *, data: str | None = None, device: str = "auto") -> dict[str, Any]:
    """Measure the kept weights of a run (a directory), or of one arm in it (a safetensors file), on the test split.

    Returns:
        ``{arm-seed: metrics}``.

    Raises:
        UnderstudyError: if there is nothing to measure.
    """
    from understudy.evaluation.metrics import metrics, predict

    target = resolve_device(device)
    run = path if path.is_dir() else path.parent.parent
    config = load_run(run)
    if data is not None:
        config = replace(config, data=replace(config.data, path=data))
    prepared, sealed = prepare_data(config.data)
    test = sealed.open_for_final_evaluation()
    files = sorted((run / "models").glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise UnderstudyError(f"{run} has no trained weights yet")
    logits = {}
    for file in files:
        arm, _, seed = file.stem.rpartition("-seed")
        network = trained_network(
            config, replace(spec_of(config, arm, int(seed)), seed=int(seed)), run, prepared
        )
        logits[file.stem] = predict(network.to(target), test, shown_to(config, arm), target)
    taught = {}
    for name in logits:
        arm, _, seed = name.rpartition("-seed")
        compared = spec_of(config, arm, int(seed)).teacher_seed
        taught[name] = None if compared is None else logits.get(f"teacher-seed{compared}")
    return {name: metrics(value, test.labels, taught[name]) for name, value in logits.items()}


def benchmark_run(run: Path, *, threads: int = 1) -> dict[str, Any]:
    """Measure size, multiply-adds and latency of a finished run's networks again, and put them into its ``results.json``.

    Returns:
        ``{arm: {"size": ..., "latency": ...}}``.
    """
    config = load_run(run)
    data, _ = prepare_data(config.data)
    arms = list(chain_of(config))
    measured = _latencies(config, run, arms, data, threads)
    path = run / "results.json"
    if path.exists():
        results = json.loads(path.read_text())
        largest = str(max(config.benchmark.batch_sizes))
        for arm, entry in results["arms"].items():
            entry |= measured[arm]
            size = entry["size"]["size_mb"]
            entry["efficiency"] = efficiency(
                100 * entry["summary"]["accuracy"]["mean"],
                entry["latency"][largest]["median_ms"],
                size,
            )
        results["latency_conditions"]["threads"] = threads
        write_json(path, results)
    return measured
