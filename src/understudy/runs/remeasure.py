"""Measure a finished run again: its accuracy on the test images, its latency here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import efficiency
from understudy.files import write_json
from understudy.runs.folder import RunFolder, load_run, split_training_name, training_name
from understudy.runs.networks import trained_network
from understudy.runs.plan import ArmRun, RunPlan, resolve_plan
from understudy.runs.summary import _latencies
from understudy.training.device import resolve_device


def evaluate_run(path: Path, *, data: str | None = None, device: str = "auto") -> dict[str, Any]:
    """Measure the kept weights of a run (a directory), or of one arm in it (a safetensors file), on the test split.

    Returns:
        ``{arm-seed: metrics}``.

    Raises:
        UnderstudyError: if there is nothing to measure.
    """
    from understudy.evaluation.metrics import metrics, predict

    target = resolve_device(device)
    folder = RunFolder(path if path.is_dir() else path.parent.parent)
    config = load_run(folder.path)
    if data is not None:
        config = replace(config, data=replace(config.data, path=data))
    plan = resolve_plan(config)
    prepared, sealed = prepare_data(config.data)
    test = sealed.open_for_final_evaluation()
    files = folder.all_weights() if path.is_dir() else [path]
    if not files:
        raise UnderstudyError(f"{folder.path} has no trained weights yet")
    logits, runs = {}, {}
    for file in files:
        run = _run_of(plan, file)
        network = trained_network(plan, run, folder, prepared)
        logits[run.name] = predict(network.to(target), test, run.arm.inputs, target)
        runs[run.name] = run
    measured = {}
    for name, run in runs.items():
        of_teacher = None
        if run.teacher_seed is not None:
            of_teacher = logits.get(training_name("teacher", run.teacher_seed))
        measured[name] = metrics(logits[name], test.labels, of_teacher)
    return measured


def _run_of(plan: RunPlan, weights: Path) -> ArmRun:
    """The training that a weights file is of; a shared teacher may have been trained on another seed than the plan's."""
    arm, seed = split_training_name(weights.stem)
    return replace(plan.arm_run(arm, seed), seed=seed)


def benchmark_run(run: Path, *, threads: int = 1) -> dict[str, Any]:
    """Measure size, multiply-adds and latency of a finished run's networks again, and put them into its ``results.json``.

    Returns:
        ``{arm: {"size": ..., "latency": ...}}``.
    """
    config = load_run(run)
    data, _ = prepare_data(config.data)
    folder = RunFolder(run)
    measured = _latencies(resolve_plan(config), folder, data, threads)
    path = folder.results
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
