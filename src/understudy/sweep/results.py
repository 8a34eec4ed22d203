"""What a sweep found, as ``results.json`` and ``trials.csv`` hold it: figures of validation; test only for the winner."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.evaluation.statistics import paired_gain, summarise, verdict
from understudy.files import write_bytes
from understudy.sweep.search import Record
from understudy.sweep.space import Dimension, plain_values

Run = dict[str, Any]


def trial_run(result: Mapping[str, Any], final: bool = False) -> Run:
    """What is kept of a training's ``result.json`` beside its trial."""
    kept = (
        ("seed", "val", "test")
        if final
        else ("seed", "val", "seconds", "images_per_second", "epochs")
    )
    return {key: result[key] for key in kept}


def accuracy_of(runs: Sequence[Run], split: str = "val") -> dict[str, Any] | None:
    """Mean, standard deviation, count and 95 % t interval of the runs' accuracy; ``None`` without runs."""
    values = [run[split]["accuracy"] for run in runs]
    summary = summarise(values)
    if summary is None:
        return None
    around_zero = paired_gain(values, [0.0] * len(values))
    return summary | {"low": around_zero["low"], "high": around_zero["high"]}


def gain_over(
    runs: Sequence[Run], plain: Sequence[Run], split: str = "val"
) -> dict[str, Any] | None:
    """Paired gain in accuracy over the plain student on the same seeds; ``None`` where either is not complete."""
    here, there = ({run["seed"]: run[split]["accuracy"] for run in side} for side in (runs, plain))
    if not here or here.keys() != there.keys():
        return None
    return paired_gain(
        [here[seed] for seed in sorted(here)], [there[seed] for seed in sorted(here)]
    )


def best_of(records: Sequence[Record]) -> Record | None:
    """The complete trial with the highest mean validation accuracy; of equals the first."""
    complete = [record for record in records if record.value is not None]
    return min(
        complete, key=lambda record: (-float(record.value or 0), record.number), default=None
    )


def plain_key(values: Mapping[str, Any]) -> str:
    """Names the plain student that belongs to a trial: the values that change it as well."""
    return json.dumps(plain_values(values), sort_keys=True)


def trial_entries(
    records: Sequence[Record], plain: Mapping[str, Sequence[Run]], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """The trials that have ended, each with its gain over its plain student."""
    entries = []
    for record in records:
        if record.state == "running":
            continue
        done = record.state == "complete"
        runs = sorted(record.runs, key=lambda run: list(seeds).index(run["seed"]))
        entries.append(
            {
                "number": record.number,
                "values": record.values,
                "state": record.state,
                "reason": record.reason,
                "runs": runs,
                "summary": accuracy_of(runs) if done else None,
                "gain": gain_over(runs, plain.get(plain_key(record.values), [])) if done else None,
            }
        )
    return entries


def baseline_entries(
    records: Sequence[Record], plain: Mapping[str, Sequence[Run]]
) -> list[dict[str, Any]]:
    """The plain students, in the order of the trials they belong to."""
    keys = dict.fromkeys(plain_key(record.values) for record in records)
    return [
        {"values": json.loads(key), "runs": list(plain[key]), "summary": accuracy_of(plain[key])}
        for key in keys
        if key in plain
    ]


def final_entry(
    seeds: Sequence[int], baseline: Sequence[Run], best: Sequence[Run]
) -> dict[str, Any]:
    """Winner and plain student on fresh seeds, on the test images."""
    gain = gain_over(best, baseline, "test")
    assert gain is not None, "both were trained on all final seeds"
    arms = {"baseline": baseline, "best": best}
    return {
        "seeds": list(seeds),
        "arms": {
            arm: {"runs": list(runs), "summary": accuracy_of(runs, "test")}
            for arm, runs in arms.items()
        },
        "gain": gain,
        "verdict": verdict("distilled", gain),
    }


def write_trials(
    path: Path, space: Sequence[Dimension], trials: Sequence[Mapping[str, Any]]
) -> None:
    """One row per trial, atomically."""
    keys = [dimension.key for dimension in space]
    text = io.StringIO()
    columns = [
        "number",
        *keys,
        "state",
        "seeds",
        "val_accuracy",
        "std",
        "low",
        "high",
        "gain",
        "gain_low",
        "gain_high",
    ]
    writer = csv.DictWriter(text, [*columns, "seconds", "reason"], lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        summary, gain = trial["summary"] or {}, trial["gain"] or {}
        row = {
            key: json.dumps(v) if isinstance(v, (list, dict)) else v
            for key, v in trial["values"].items()
        }
        row |= {
            "number": trial["number"],
            "state": trial["state"],
            "reason": trial["reason"],
            "seeds": len(trial["runs"]),
        }
        row |= {
            "val_accuracy": summary.get("mean"),
            **{key: summary.get(key) for key in ("std", "low", "high")},
        }
        row |= {
            "gain": gain.get("mean"),
            "gain_low": gain.get("low"),
            "gain_high": gain.get("high"),
        }
        writer.writerow(row | {"seconds": sum(run["seconds"] for run in trial["runs"])})
    write_bytes(path, text.getvalue().encode())
