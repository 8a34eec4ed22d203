"""A small made-up run directory; every metric is computed from the logits that it writes."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from understudy.evaluation.metrics import metrics
from understudy.files import from_json, to_json
from understudy.runs.results import RunResults

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARMS = {  # role, model, method, skill of the logits, parameters, MB, MACs, ms at batch 1 and 128
    "teacher": ("teacher", "founding_teacher", "ce", 3.9, 4_664_970, 17.81, 97_000_000, 2.1, 104.0),
    "baseline": ("baseline", "founding_student", "ce", 2.9, 106_826, 0.41, 4_100_000, 0.41, 24.9),
    "distilled": ("distilled", "founding_student", "kd", 3.0, 106_826, 0.41, 4_100_000, 0.41, 25.1),
    "dkd": ("extra", "tiny_wide", "dkd", 3.1, 131_402, 0.50, 6_300_000, 0.52, 31.4),
}
REFERENCE = {
    "teacher": {"accuracy": 0.8313, "latency_ms": 111.29, "size_mb": 17.81},
    "baseline": {"accuracy": 0.7270, "latency_ms": 27.76},
    "distilled": {"accuracy": 0.7086, "latency_ms": 25.82},
}
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def typed(results: Mapping[str, Any]) -> RunResults:
    """The mapping of a ``results.json`` as the report reads it."""
    return from_json(RunResults, results, "here", "run again")


def many_methods(count: int) -> dict[str, tuple[Any, ...]]:
    """Teacher, baseline, distilled, and ``count`` further methods on one student."""
    names = (
        "lskd",
        "dkd",
        "dist",
        "fitnets",
        "at",
        "sp",
        "rkd",
        "cc",
        "pkt",
        "vid",
        "nst",
        "ft",
        "reviewkd",
        "simkd",
        "crd",
    )
    names += ("adversarial", "dml", "born_again", "at+kd", "curriculum+assistant")
    extra = {
        n: ("extra", "founding_student", n, 2.8 + 0.04 * k, *ARMS["baseline"][4:])
        for k, n in enumerate(names[:count])
    }
    return {name: arm for name, arm in ARMS.items() if name != "dkd"} | extra


def write_example_run(
    run: Path,
    *,
    named_arms: Mapping[str, tuple[Any, ...]] = MappingProxyType(ARMS),
    name: str = "cifar10-founding",
    class_names: Sequence[str] = CLASSES,
    num_seeds: int = 3,
    reference: bool = True,
    num_test: int = 1200,
    epochs: int = 15,
) -> dict[str, Any]:
    """Fill ``run`` as ``understudy run`` would.

    Returns the mapping written to results.json. The same arguments give the same bytes.
    """
    random = np.random.default_rng(7)
    num_classes = len(class_names)
    labels = np.arange(num_test) % num_classes
    hardness = random.uniform(0.5, 1.5, num_classes)  # some classes are harder for every model
    shared = random.normal(
        size=(num_test, num_classes)
    )  # images that are odd are odd for every model
    arms: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    teacher_logits = np.zeros_like(shared)
    for arm, (
        role,
        model,
        method,
        skill,
        parameters,
        size_mb,
        macs,
        ms_1,
        ms_128,
    ) in named_arms.items():
        runs: list[dict[str, Any]] = []
        for seed in range(1 if role == "teacher" else num_seeds):
            logits: Any = shared + 0.8 * random.normal(size=shared.shape)
            logits[np.arange(num_test), labels] += (skill + 0.06 * random.normal()) * hardness[
                labels
            ]
            if role == "distilled":
                logits = 0.93 * logits + 0.07 * teacher_logits
            logits = np.float16(logits * (1.3 if method == "ce" else 1.0)).astype(np.float64)
            if role == "teacher":
                teacher_logits = logits
            folder = run / "arms" / f"{arm}-seed{seed}"
            folder.mkdir(parents=True)
            np.savez(folder / "predictions.npz", logits=np.float16(logits), labels=labels)
            test = _metrics(logits, labels, None if role == "teacher" else teacher_logits)
            run_of_seed: dict[str, Any] = {
                "seed": seed,
                "best_epoch": epochs - 1,
                "seconds": 100.0 + 7 * seed,
                "images_per_second": 1300.0,
            }
            runs.append(run_of_seed | {"val": test, "test": test})
            for epoch in range(epochs):
                done = 1 - math.exp(-(epoch + 1) / 4)
                history.append(
                    {
                        "arm": arm,
                        "seed": seed,
                        "epoch": epoch,
                        "lr": 1e-3 * 0.5 ** (epoch // 5),
                        "train_loss": (2.3 if method == "ce" else 4.1) * (1 - 0.7 * done)
                        + 0.05 * random.normal() / (epoch + 1),
                        "train_ce": 2.3 * (1 - 0.7 * done),
                        "train_kd": "" if method == "ce" else 5 * (1 - 0.7 * done),
                        "train_accuracy": test["accuracy"] * done,
                        "val_loss": 2.3 - 1.5 * done,
                        "val_accuracy": test["accuracy"] * (0.3 + 0.7 * done)
                        + 0.02 * random.normal() / (epoch + 1),
                        "seconds": 7.0,
                        "images_per_second": 1300.0,
                    }
                )
        metrics = ("accuracy", "nll", "ece", "agreement", "teacher_kl")
        summary = {metric: _summary([r["test"][metric] for r in runs]) for metric in metrics}
        accuracy = 100 * summary["accuracy"]["mean"]
        arms[arm] = {
            "role": role,
            "model": model,
            "method": method,
            "runs": runs,
            "summary": summary,
            "size": {
                "parameters": parameters,
                "buffers": 483,
                "size_mb": size_mb,
                "macs": macs,
                "file_bytes": int(size_mb * 2**20),
            },
            "latency": {
                "1": {"median_ms": ms_1, "p95_ms": ms_1 * 1.15},
                "128": {"median_ms": ms_128, "p95_ms": ms_128 * 1.1},
            },
            "compression": ARMS["teacher"][5] / size_mb,
            "efficiency": {
                "accuracy_per_ms": accuracy / ms_128,
                "accuracy_per_ms_mb": accuracy / (ms_128 * size_mb),
            },
        }
    results = {
        "schema": 1,
        "name": name,
        "command": f"understudy run {name} --seeds 0,1,2",
        "created": "2026-11-22T13:00:00+00:00",
        "seconds": {"teacher": 812.3, "students": 1045.6, "total": 1890.1},
        "environment": {
            "understudy": "0.1.0",
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "device": "cpu",
            "precision": "fp32",
            "cpu": "AMD EPYC 7763 64-Core Processor",
            "cores": 2,
            "workers": 2,
            "threads_per_worker": 1,
            "os": "Linux-6.1-x86_64",
            "packages": {"numpy": "2.3.1"},
        },
        "data": {
            "name": "cifar10-jpeg",
            "num_train": 45000,
            "num_val": 5000,
            "num_test": num_test,
            "num_classes": num_classes,
            "class_names": list(class_names),
            "image_shape": [3, 32, 32],
            "fingerprint": "3b1f" * 16,
        },
        "config": {
            "name": name,
            "method": {"name": "kd", "temperature": 4.0, "alpha": 0.7},
            "train": {"epochs": epochs},
        },
        "arms": arms,
        "latency_conditions": {
            "threads": 1,
            "repeats": 30,
            "warmup": 5,
            "runtime": "torch eager",
            "precision": "fp32",
        },
        "comparisons": [
            _comparison(arms, arm, "distillation" if arm == "distilled" else arm)
            for arm in arms
            if arm not in ("teacher", "baseline")
        ],
        "reference": REFERENCE if reference else {},
    }
    (run / "results.json").write_text(json.dumps(results))
    config = (
        f"name: {json.dumps(name)}\nmethod:\n  name: kd\n  temperature: 4.0\n  alpha: 0.7\n"
        f"train:\n  epochs: {epochs}\n"
    )
    (run / "config.yaml").write_text(config)
    with open(run / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    return results


def _metrics(logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray | None) -> dict[str, Any]:
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    predicted, confidence = log_p.argmax(1), np.exp(log_p.max(1))
    right = predicted == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    count = np.bincount(bins, minlength=15)
    mean = [
        [float(v[bins == b].mean()) if count[b] else None for b in range(15)]
        for v in (confidence, right)
    ]
    metrics: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "per_class": [float(right[labels == k].mean()) for k in range(logits.shape[1])],
        "nll": float(-log_p[np.arange(len(labels)), labels].mean()),
        "ece": float(
            sum(n * abs(c - a) for n, c, a in zip(count, *mean, strict=True) if n) / len(labels)
        ),
        "agreement": None,
        "teacher_kl": None,
        "reliability": {"confidence": mean[0], "accuracy": mean[1], "count": count.tolist()},
    }
    if teacher is not None:
        log_t = teacher - np.log(np.exp(teacher).sum(1, keepdims=True))
        metrics["agreement"] = float((predicted == log_t.argmax(1)).mean())
        metrics["teacher_kl"] = float((np.exp(log_t) * (log_t - log_p)).sum(1).mean())
    return metrics


def _summary(values: list[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "std": std, "n": len(known)}


def _comparison(
    arms: dict[str, Any], arm: str, subject: str, reference: str = "baseline"
) -> dict[str, Any]:
    pairs = zip(arms[arm]["runs"], arms[reference]["runs"], strict=True)
    gains = [new["test"]["accuracy"] - old["test"]["accuracy"] for new, old in pairs]
    n, mean = len(gains), float(np.mean(gains))
    half = T975[n - 1] * float(np.std(gains, ddof=1)) / math.sqrt(n) if n > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    seeds = f"over {n} seeds" if n > 1 else "with one seed"
    gain = f"{100 * mean:+.1f} points{interval} {seeds}"
    verdict = (
        f"{subject} helped by {gain}"
        if low is not None and low > 0
        else f"no evidence that {subject} helped: {gain}"
    )
    stated = {"arm": arm, "reference": reference, "metric": "accuracy", "verdict": verdict}
    return stated | {"gains": gains, "mean": mean, "low": low, "high": high, "p": None, "n": n}


def skew_classes(run: Path, share: float = 0.2) -> dict[str, Any]:
    """Leave a share of the odd classes' test images, and compute the metrics again.

    Returns the mapping written to results.json.
    """
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    for name, arm in results["arms"].items():
        for one in arm["runs"]:
            with np.load(run / "arms" / f"{name}-seed{one['seed']}" / "predictions.npz") as file:
                logits, labels = (torch.from_numpy(file[key]) for key in ("logits", "labels"))
            rows = torch.arange(len(labels))
            stays = (labels % 2 == 0) | (rows < share * len(labels))
            one["test"] = to_json(metrics(logits[stays].float(), labels[stays]))
        for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
            arm["summary"][metric] = _summary([one["test"][metric] for one in arm["runs"]])
    (run / "results.json").write_text(json.dumps(results))
    return results
