"""Measure a finished run again: its accuracy on the test images, its latency on this machine."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import efficiency
from understudy.evaluation.metrics import Metrics, metrics, predict
from understudy.files import write_json
from understudy.runs.folder import (
    RunFolder,
    load_run,
    require_same_images,
    split_training_name,
    training_name,
)
from understudy.runs.networks import arm_data, trained_network
from understudy.runs.plan import ArmRun, RunPlan, resolve_plan
from understudy.runs.results import ArmCost, ArmSummary, read_results
from understudy.runs.summary import measure_costs
from understudy.training.device import resolve_device


def evaluate_run(
    path: Path, *, data: str | None = None, device: str = "auto"
) -> dict[str, Metrics]:
    """Measure the weights of a run on the test split.

    Args:
        path: a run's directory, or one safetensors file in it.
        data: a local copy of the images.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        ``{arm-seed: metrics}``.

    Raises:
        UnderstudyError: if there is nothing to measure, or the images of the run have changed.
    """
    target = resolve_device(device)
    folder = _folder_of(path)
    config = load_run(folder.path)
    if data is not None:
        config = replace(config, data=replace(config.data, path=data))
    plan = resolve_plan(config)
    prepared, sealed = prepare_data(config.data)
    if data is None:  # with --data other images are meant
        remedy = f"measure on these all the same by --data {config.data.path}"
        require_same_images(prepared.fingerprint, folder, "cannot evaluate", remedy)
    test = sealed.open_for_final_evaluation()
    files = folder.all_weights() if path.is_dir() else [path]
    if not files:
        raise UnderstudyError(f"{folder.path} has no trained weights yet")
    runs = {file.stem: _run_of(plan, file.stem) for file in files}
    logits = {}
    for name, run in runs.items():
        network = trained_network(plan, run, folder, prepared).to(target)
        seen = arm_data(prepared, sealed, run.arm)[1].open_for_final_evaluation()
        logits[name] = predict(network, seen, run.arm.inputs, target)
    measured = {}
    for name, run in runs.items():
        teacher = None
        if run.teacher_seed is not None:
            teacher = logits.get(training_name("teacher", run.teacher_seed))
        measured[name] = metrics(logits[name], test.labels, teacher)
    return measured


def class_names(path: Path) -> tuple[str, ...]:
    """The names of a run's classes, index = label; empty if the run has not finished.

    Args:
        path: a run's directory, or one safetensors file in it.

    Raises:
        UnderstudyError: if its ``results.json`` is damaged.
    """
    folder = _folder_of(path)
    return read_results(folder.path).data.class_names if folder.results.exists() else ()


def _folder_of(path: Path) -> RunFolder:
    return RunFolder(path if path.is_dir() else path.parent.parent)


def _run_of(plan: RunPlan, name: str) -> ArmRun:
    """The training of that name; a teacher may have been trained on another seed than the
    plan's."""
    arm, seed = split_training_name(name)
    return replace(plan.arm_run(arm, seed), seed=seed)


def benchmark_run(run: Path, *, threads: int = 1) -> dict[str, ArmCost]:
    """Measure size, multiply-accumulates and latency of a finished run's networks again.

    The new numbers replace those in its ``results.json``, if there is one.

    Returns:
        name of the arm -> what its network costs.
    """
    config = load_run(run)
    data, _ = prepare_data(config.data)
    folder = RunFolder(run)
    costs = measure_costs(resolve_plan(config), folder, data, threads)
    if folder.results.exists():
        _replace_costs(run, costs, max(config.benchmark.batch_sizes), threads)
    return costs


def _replace_costs(run: Path, costs: Mapping[str, ArmCost], batch_size: int, threads: int) -> None:
    results = read_results(run)
    conditions = results.latency_conditions
    results = replace(
        results,
        arms={name: _with_cost(arm, costs[name], batch_size) for name, arm in results.arms.items()},
        latency_conditions=conditions and replace(conditions, threads=threads),
    )
    write_json(RunFolder(run).results, results)


def _with_cost(arm: ArmSummary, cost: ArmCost, batch_size: int) -> ArmSummary:
    assert arm.summary is not None, "every run writes the summary of its arms"
    accuracy = 100 * arm.summary.accuracy.mean
    latency_ms = cost.latency[str(batch_size)].median_ms
    return replace(
        arm,
        size=cost.size,
        latency=cost.latency,
        efficiency=efficiency(accuracy, latency_ms, cost.size.size_mb),
    )
