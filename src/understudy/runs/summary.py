"""All arms of a run together: sizes, latencies, gains, as ``results.json`` holds them."""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.config.recipe import to_mapping
from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData
from understudy.evaluation.latency import count_macs, efficiency, measure_latency, model_size
from understudy.evaluation.statistics import paired_gain, summarise, verdict
from understudy.events import EpochResult
from understudy.models import deployed
from understudy.runs.folder import arm_folder, weights_path
from understudy.runs.history import write_history
from understudy.runs.networks import trained_network
from understudy.runs.plan import Link, chain_of, spec_of

Latencies = dict[str, dict[str, Any]]


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


def describe_data(data: TrainingData, num_test: int) -> dict[str, Any]:
    """The ``data`` of ``results.json``."""
    return {
        "name": data.name,
        "num_train": len(data.train),
        "num_val": len(data.val),
        "num_test": num_test,
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "fingerprint": data.fingerprint,
    }
