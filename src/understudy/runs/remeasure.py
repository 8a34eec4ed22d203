"""Measure a finished run again: its accuracy on the test images, its latency here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import efficiency
from understudy.files import write_json
from understudy.runs.folder import load_run
from understudy.runs.networks import trained_network
from understudy.runs.plan import chain_of, shown_to, spec_of
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
