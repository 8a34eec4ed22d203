"""Measure a finished run again: its accuracy on the test images, its latency on this machine."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from understudy.config.schema import RunConfig
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import efficiency
from understudy.evaluation.metrics import Metrics, metrics, predict
from understudy.files import write_json
from understudy.runs.folder import load_run
from understudy.runs.networks import trained_network
from understudy.runs.plan import ArmSpec, chain_of, shown_to, spec_of
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
        UnderstudyError: if there is nothing to measure.
    """
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
    specs = {file.stem: _spec(config, file.stem) for file in files}
    logits = {}
    for name, spec in specs.items():
        network = trained_network(config, spec, run, prepared).to(target)
        logits[name] = predict(network, test, shown_to(config, spec.arm), target)
    measured = {}
    for name, spec in specs.items():
        teacher = logits.get(f"teacher-seed{spec.teacher_seed}")
        measured[name] = metrics(logits[name], test.labels, teacher)
    return measured


def _spec(config: RunConfig, name: str) -> ArmSpec:
    arm, _, seed = name.rpartition("-seed")
    return replace(spec_of(config, arm, int(seed)), seed=int(seed))


def benchmark_run(run: Path, *, threads: int = 1) -> dict[str, ArmCost]:
    """Measure size, multiply-accumulates and latency of a finished run's networks again.

    The new numbers replace those in its ``results.json``, if there is one.

    Returns:
        name of the arm -> what its network costs.
    """
    config = load_run(run)
    data, _ = prepare_data(config.data)
    costs = measure_costs(config, run, list(chain_of(config)), data, threads)
    if (run / "results.json").exists():
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
    write_json(run / "results.json", results)


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
