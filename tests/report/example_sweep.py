"""Made-up sweeps; every summary, gain and interval is computed from the runs next to it."""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from understudy.files import from_json
from understudy.report.sweep.view import SweepView
from understudy.sweep.results import SweepResults

T975 = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645}
GRID = (
    {"key": "method.temperature", "kind": "choice", "values": [1, 2, 3, 4, 5]},
    {"key": "method.alpha", "kind": "choice", "values": [0.1, 0.3, 0.5, 0.7, 0.9]},
)
LOG = {"key": "train.lr", "kind": "float", "low": 1e-4, "high": 1e-2, "log": True}


def typed(results: Mapping[str, Any]) -> SweepResults:
    """The mapping of a sweep's ``results.json`` as the report reads it."""
    return from_json(SweepResults, results, "here", "sweep again")


def view_of(results: Mapping[str, Any]) -> SweepView:
    """The same with its settings and ranked trials."""
    return SweepView.of(typed(results))


def founding_like(values: Mapping[str, Any]) -> float:
    """Gain of a configuration: best near temperature 4, harmful at high alpha and temperature 1."""
    temperature, alpha = (
        float(values.get("method.temperature", 4)),
        float(values.get("method.alpha", 0.7)),
    )
    rate = float(values.get("train.lr", 1e-3))
    return (
        0.012 * alpha * (1 - ((temperature - 4) / 2) ** 2 / 2) - 0.01 * math.log10(rate / 1e-3) ** 2
    )


def write_example_sweep(
    folder: Path,
    *,
    space: Sequence[Mapping[str, Any]] = GRID,
    seeds: Sequence[int] = (0, 1, 2),
    sampled: int = 0,
    failed: Mapping[int, str] | None = None,
    pruned: Sequence[int] = (),
    final: bool = True,
    noise: float = 0.002,
    effect: Callable[[Mapping[str, Any]], float] = founding_like,
    name: str = "cifar10-founding sweep",
) -> dict[str, Any]:
    """Write ``results.json`` as ``understudy sweep`` would: a whole grid, or random trials.

    Returns the mapping written. The same arguments give the same bytes.
    """
    random = np.random.default_rng(11)
    baseline = {seed: 0.712 + 0.004 * random.normal() for seed in [*seeds, 100, 101, 102, 103, 104]}
    if sampled:
        drawn: list[tuple[Any, ...]] = [
            tuple(_draw(entry, random) for entry in space) for _ in range(sampled)
        ]
    else:
        drawn = list(itertools.product(*(entry["values"] for entry in space)))
    own = [
        entry["key"]
        for entry in space
        if not entry["key"].startswith("method.") and entry["kind"] == "choice"
    ]
    trials = []
    for number, values in enumerate(drawn):
        chosen = {entry["key"]: value for entry, value in zip(space, values, strict=True)}
        trial: dict[str, Any] = {
            "number": number,
            "values": chosen,
            "state": "complete",
            "reason": None,
        }
        if failed and number in failed:
            trials.append(
                trial
                | {
                    "state": "failed",
                    "reason": failed[number],
                    "runs": [],
                    "summary": None,
                    "gain": None,
                }
            )
            continue
        accuracies = [baseline[seed] + effect(chosen) + noise * random.normal() for seed in seeds]
        runs = [
            _run(seed, accuracy, 90 + 5 * random.random())
            for seed, accuracy in zip(seeds, accuracies, strict=True)
        ]
        if number in pruned:
            runs = [run | {"seconds": run["seconds"] / 3, "epochs": 5} for run in runs[:1]]
            trials.append(trial | {"state": "pruned", "runs": runs, "summary": None, "gain": None})
            continue
        gain = _interval([a - baseline[seed] for a, seed in zip(accuracies, seeds, strict=True)])
        trials.append(trial | {"runs": runs, "summary": _interval(accuracies), "gain": gain})
    done = [trial for trial in trials if trial["state"] == "complete"]
    best = max(done, key=lambda trial: trial["summary"]["mean"]) if done else None
    baselines = [
        {
            "values": dict(zip(own, values, strict=True)),
            "runs": [_run(seed, baseline[seed], 80.0) for seed in seeds],
            "summary": _interval([baseline[seed] for seed in seeds]),
        }
        for values in itertools.product(
            *(entry["values"] for entry in space if entry["key"] in own)
        )
    ]
    results = {
        "schema": 1,
        "kind": "sweep",
        "name": name,
        "command": f"understudy sweep {name} --seeds 0,1,2",
        "created": "2026-11-22T13:00:00+00:00",
        "seconds": {"teacher": 812.0, "trials": 3900.0, "final": 480.0, "total": 5200.0},
        "environment": {
            "understudy": "0.1.0",
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "device": "cpu",
            "precision": "fp32",
            "cpu": "AMD EPYC",
            "cores": 2,
            "workers": 2,
            "threads_per_worker": 1,
            "accelerator": None,
            "os": "Linux",
            "packages": {"numpy": "2.3.1"},
        },
        "data": {
            "name": "cifar10-jpeg",
            "num_train": 45000,
            "num_val": 5000,
            "num_test": 10000,
            "num_classes": 10,
            "class_names": [f"class {k}" for k in range(10)],
            "image_shape": [3, 32, 32],
            "fingerprint": "3b1f" * 16,
        },
        "config": {"name": name, "method": {"name": "kd", "temperature": 4.0, "alpha": 0.7}},
        "space": list(space),
        "search": {
            "name": "random" if sampled else "grid",
            "pruner": "median" if pruned else "none",
            "storage": "study.db",
        },
        "backend": {
            "name": "processes",
            "capacity": 2,
            "chosen": "measured",
            "measured": {"sequential": 11800.0, "processes": 21900.0, "fused": 14100.0},
        },
        "objective": "val.accuracy",
        "seeds": list(seeds),
        "baselines": baselines,
        "trials": trials,
        "best": {"number": best["number"], "values": best["values"]} if best else None,
        "final": _final(baseline, effect(best["values"]), noise, random)
        if final and best
        else None,
        "importance": None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(f"name: {json.dumps(name)}\nmethod: {{name: kd}}\n")
    return results


def _draw(entry: Mapping[str, Any], random: np.random.Generator) -> Any:
    if entry["kind"] == "choice":
        return entry["values"][random.integers(len(entry["values"]))]
    if entry["kind"] == "int":
        return int(random.integers(entry["low"], entry["high"] + 1))
    if entry["log"]:
        return float(np.exp(random.uniform(np.log(entry["low"]), np.log(entry["high"]))))
    return float(random.uniform(entry["low"], entry["high"]))


def _run(seed: int, accuracy: float, seconds: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "val": {"accuracy": accuracy, "nll": 0.9},
        "seconds": seconds,
        "images_per_second": 7400.0,
        "epochs": 15,
    }


def _p_value(values: Sequence[float]) -> float | None:
    if len(values) == 1 or np.ptp(values) < 1e-12:
        return None
    return float(ttest_1samp(values, 0).pvalue)


def _interval(values: Sequence[float]) -> dict[str, Any]:
    n, mean = len(values), float(np.mean(values))
    half = T975[n - 1] * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    std = float(np.std(values, ddof=1)) if n > 1 else None
    return {
        "gains": list(values),
        "mean": mean,
        "std": std,
        "low": low,
        "high": high,
        "p": _p_value(values),
        "n": n,
    }


def _final(
    baseline: Mapping[int, float], gain: float, noise: float, random: np.random.Generator
) -> dict[str, Any]:
    seeds = [100, 101, 102, 103, 104]
    plain = [baseline[seed] - 0.004 for seed in seeds]
    best = [accuracy + 0.7 * gain + noise * random.normal() for accuracy in plain]
    arms = {}
    for name, values in (("baseline", plain), ("best", best)):
        runs = [
            {"seed": s, "test": {"accuracy": v}, "val": {"accuracy": v + 0.004}}
            for s, v in zip(seeds, values, strict=True)
        ]
        arms[name] = {"runs": runs, "summary": _interval(values)}
    found = _interval([after - before for before, after in zip(plain, best, strict=True)])
    interval = f"[{100 * found['low']:.1f}, {100 * found['high']:.1f}]"
    helped = "best helped by" if found["low"] > 0 else "no evidence that best helped or hurt:"
    verdict = f"{helped} {100 * found['mean']:+.1f} points {interval} over 5 seeds"
    return {"seeds": seeds, "arms": arms, "gain": found, "verdict": verdict}
