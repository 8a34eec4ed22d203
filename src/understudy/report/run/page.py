"""From a run directory to ``report.html``: one file that needs nothing else, for a reader who was not there."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError
from understudy.files import to_json, write_bytes
from understudy.report.render import render
from understudy.report.run.table import (
    ABSENT,
    COLUMNS,
    Results,
    arm_of_role,
    latency,
    mean_interval,
    number,
    paired_per_class,
    percent,
    points,
    present,
    significant,
    write_csv,
)
from understudy.runs.results import load_results, read_history, read_results

MAX_VERDICTS = 7  # more are counted first
MAX_ROWS = 30  # longer tables are folded

GLOSSARY = {
    "Teacher": "the large network whose outputs the student learns from.",
    "Baseline": "the student trained on the labels alone, everything else equal.",
    "Distilled": "the same student trained on the labels and on the teacher's outputs.",
    "Top-1 accuracy": "share of test images whose highest-scoring class is the right one.",
    "NLL": "mean negative log-likelihood of the right class, in nats; lower is better.",
    "ECE": "expected calibration error: mean gap between confidence and accuracy over 15 bins of confidence; lower is better.",
    "Agreement": "share of test images for which the model and the teacher predict the same class, right or wrong.",
    "KL to teacher": "mean Kullback–Leibler divergence from the teacher's class probabilities to the model's, in nats.",
    "MACs": "multiply–accumulate operations for one image.",
    "Size": "parameters and buffers in memory, in MB of 2²⁰ bytes.",
    "Compression": "size of the teacher divided by the size of the model.",
    "Latency": "median time to classify one batch, in milliseconds.",
    "Accuracy / ms": "accuracy in percent divided by the latency of a batch of 128.",
    "Accuracy / (ms·MB)": "accuracy in percent divided by that latency and by the size.",
    "Seed": "the number that fixes initial weights and data order; arms with one seed share both, so their difference is paired.",
    "95 % interval": "range that holds the true mean in 95 of 100 repetitions (Student's t over seeds); one seed gives none.",
    "Validation": "images held out from training to choose the epoch; the test images are used once, at the end.",
}


def write_report(run: Path, *, figures: bool = True) -> Path:
    """Write ``results.csv``, ``figures/*.png``, ``figures/*.svg`` and ``report.html`` into a run directory.

    A sweep's directory gets the report of a sweep (:func:`understudy.report.sweep.page.write_sweep_report`).
    Reads ``results.json`` and, where present, ``history.csv``, ``config.yaml`` and ``arms/*/predictions.npz``. With
    ``figures=False`` nothing is drawn and matplotlib is not loaded. The same run directory gives the same bytes.
    Returns the path of ``report.html``. Raises UnderstudyError where results.json is missing or broken.
    """
    run = Path(run)
    if load_results(run).get("kind") == "sweep":
        from understudy.report.sweep.page import write_sweep_report

        return write_sweep_report(run, figures=figures)
    results = to_json(read_results(run))
    drawings: list[Any] = []
    if figures:
        from understudy.report.run.figures import draw_all

        drawings = draw_all(results, read_history(run), run / "figures")
    write_csv(results, run / "results.csv")
    page = run / "report.html"
    text = _render(
        results, drawings, config_text(run, results), _outcomes(run, results), read_diagnosis(run)
    )
    write_bytes(page, text.encode())
    return page


def read_diagnosis(run: Path) -> dict[str, Any] | None:
    """Headline and findings of ``diagnosis.json`` that are not fine; None where the run was not diagnosed."""
    path = run / "diagnosis.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        findings = [
            {key: str(f[key]) for key in ("title", "severity", "evidence")}
            for f in content["findings"]
        ]
        return {
            "headline": str(content["headline"]),
            "findings": [f for f in findings if f["severity"] != "fine"],
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UnderstudyError(
            f"{path} is not a diagnosis ({type(error).__name__}): run understudy diagnose again"
        ) from None


def _outcomes(run: Path, results: Results) -> dict[str, Any] | None:
    """Which test images distillation fixed and broke, split by whether the teacher has them right; means over seeds.

    Needs ``predictions.npz`` of teacher, baseline and distilled; None where one is missing. A shared teacher stands beside
    every seed.
    """
    names = [arm_of_role(results, role) for role in ("teacher", "baseline", "distilled")]
    if None in names:
        return None
    teacher, baseline, distilled = (str(name) for name in names)
    first_teacher_seed = results["arms"][teacher]["runs"][0]["seed"]
    with_baseline, with_distilled = (
        {r["seed"] for r in results["arms"][name]["runs"]} for name in (baseline, distilled)
    )
    seeds = sorted(with_baseline & with_distilled)
    counts: dict[str, list[list[int]]] = {"right": [], "wrong": []}
    for seed in seeds:
        own = run / "arms" / f"{teacher}-seed{seed}" / "predictions.npz"
        paths = [
            own
            if own.exists()
            else run / "arms" / f"{teacher}-seed{first_teacher_seed}" / "predictions.npz",
            run / "arms" / f"{baseline}-seed{seed}" / "predictions.npz",
            run / "arms" / f"{distilled}-seed{seed}" / "predictions.npz",
        ]
        if not all(path.exists() for path in paths):
            return None
        taught, before, after = (_right(path) for path in paths)
        if not taught.shape == before.shape == after.shape:
            raise UnderstudyError(
                f"{paths[0]}, {paths[1]} and {paths[2]} hold different numbers of images; run again"
            )
        for key, mask in (("right", taught), ("wrong", ~taught)):
            parts = (
                mask,
                mask & before,
                mask & after,
                mask & after & ~before,
                mask & before & ~after,
            )
            counts[key].append([int(part.sum()) for part in parts])
    if not seeds:
        return None
    return {
        key: [number(sum(column) / len(column), 0) for column in zip(*rows, strict=True)]
        for key, rows in counts.items()
    }


def _right(path: Path) -> Any:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return file["logits"].argmax(1) == file["labels"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UnderstudyError(
            f"{path} cannot be read ({type(error).__name__}); delete it to report without it"
        ) from None


def config_text(run: Path, results: Results) -> str:
    """The resolved configuration as saved beside the results; JSON, which is YAML too, where that file is gone."""
    path = run / "config.yaml"
    if path.exists():
        return path.read_text(encoding="utf-8")
    return json.dumps(results.get("config") or {}, indent=2, ensure_ascii=False)


# -- the page -----------------------------------------------------------------------------------------------------------


def _render(
    results: Results,
    drawings: list[Any],
    config: str,
    outcomes: Mapping[str, Any] | None,
    diagnosis: Mapping[str, Any] | None,
) -> str:
    return render(
        "run.html.j2",
        drawings,
        name=results.get("name") or "run",
        lead=_lead(results),
        **_verdicts(results),
        num_seeds=max(len(arm["runs"]) for arm in results["arms"].values()),
        main=_main_table(results),
        per_seed=_per_seed_table(results),
        max_rows=MAX_ROWS,
        per_class=_per_class_table(results),
        outcomes=outcomes,
        diagnosis=diagnosis,
        facts=_facts(results),
        command=results.get("command"),
        config=config,
        glossary=GLOSSARY,
    )


def _verdicts(results: Results) -> dict[str, Any]:
    """The verdicts in the order of the run; where they are many, how they fall out, and then they themselves folded away."""
    comparisons = [c for c in results.get("comparisons") or [] if (c.get("verdict") or "").strip()]
    verdicts = [
        {"text": _sentence(c["verdict"], results), "better": present(c.get("low")) and c["low"] > 0}
        for c in comparisons
    ]
    if len(verdicts) <= MAX_VERDICTS:
        return {"verdicts": verdicts, "folded": []}
    better = sum(present(c.get("low")) and c["low"] > 0 for c in comparisons)
    worse = sum(present(c.get("high")) and c["high"] < 0 for c in comparisons)
    counts = f"Of {len(verdicts)} comparisons, {better} have their 95 % interval above zero, {worse} below, and "
    counts += f"{len(verdicts) - better - worse} allow neither. Without any effect one in twenty would lie apart from zero by chance."
    ranked = sorted(zip(comparisons, verdicts, strict=True), key=lambda pair: -pair[0]["mean"])
    return {
        "verdicts": [{"text": counts, "better": False}],
        "folded": [verdict for _, verdict in ranked],
    }


def _sentence(verdict: str, results: Results) -> str:
    """With a capital first letter, unless it opens with the name of an arm, which is written as it is."""
    return verdict if verdict.split()[0] in results["arms"] else verdict[0].upper() + verdict[1:]


def _lead(results: Results) -> str:
    """One sentence that puts student and teacher beside each other, from whatever of it was measured."""
    teacher, student = (
        arm_of_role(results, "teacher"),
        arm_of_role(results, "distilled") or arm_of_role(results, "baseline"),
    )
    if teacher is None or student is None:
        return ""
    small, large = results["arms"][student], results["arms"][teacher]

    def top1(arm: Mapping[str, Any]) -> str:
        return percent(mean_interval([run["test"]["accuracy"] for run in arm["runs"]])[0], 1)

    taught = "distilled student" if small.get("role") == "distilled" else "student"
    sentence = f"The {taught} classifies {top1(small)} % of the test images right, its teacher {top1(large)} %"
    compared = []
    if present(small.get("compression")):
        compared.append(f"{significant(small['compression'])} times smaller")
    slow, fast = latency(large, 128), latency(small, 128)
    if slow and fast:
        faster = slow >= fast
        compared.append(
            f"{significant(slow / fast if faster else fast / slow, 2)} times {'faster' if faster else 'slower'}"
        )
    return sentence + (f"; it is {' and '.join(compared)}." if compared else ".")


def _main_table(results: Results) -> dict[str, Any]:
    reference = results.get("reference") or {}
    return {
        "headings": [column.heading for column in COLUMNS],
        "rows": [
            {
                "arm": name,
                "model": arm.get("model"),
                "role": arm.get("role"),
                "cells": [column.ours(arm) for column in COLUMNS],
            }
            for name, arm in results["arms"].items()
        ],
        "published": [
            {"arm": name, "cells": [column.published(row) for column in COLUMNS]}
            for name, row in reference.items()
        ],
    }


def _per_seed_table(results: Results) -> dict[str, Any]:
    rows = []
    for name, arm in results["arms"].items():
        for run in arm["runs"]:
            test, val = run["test"], run.get("val") or {}
            cells = [
                number(run.get("best_epoch"), 0),
                percent(val.get("accuracy")),
                percent(test["accuracy"]),
                number(test.get("nll"), 3),
                percent(test.get("ece")),
                percent(test.get("agreement")),
                number(test.get("teacher_kl"), 3),
                number(run.get("seconds"), 0),
                number(run.get("images_per_second"), 0),
            ]
            rows.append({"arm": name, "seed": run["seed"], "cells": cells})
    headings = [
        "best epoch",
        "validation top-1 %",
        "test top-1 %",
        "NLL",
        "ECE %",
        "agreement %",
        "KL to teacher",
    ]
    headings += ["seconds", "images/s"]
    return {"headings": headings, "rows": rows}


def _per_class_table(results: Results) -> dict[str, Any] | None:
    """Mean test accuracy of each class and arm, percent, and the paired change from baseline to distilled."""
    arms = results["arms"]
    if not any(run["test"].get("per_class") for arm in arms.values() for run in arm["runs"]):
        return None
    distilled, baseline = arm_of_role(results, "distilled"), arm_of_role(results, "baseline")
    changes = paired_per_class(results, distilled, baseline) if distilled and baseline else []
    rows = []
    for index, class_name in enumerate(results["data"]["class_names"]):
        cells = []
        for arm in arms.values():
            values = [
                v
                for run in arm["runs"]
                if run["test"].get("per_class") and present(v := run["test"]["per_class"][index])
            ]
            cells.append(percent(mean_interval(values)[0], 1) if values else ABSENT)
        if changes:
            mean, half = mean_interval(changes[index]) if changes[index] else (math.nan, None)
            cells.append(points(mean, 1) + (f" ± {percent(half, 1)}" if half is not None else ""))
        rows.append({"name": class_name, "cells": cells})
    headings = [*arms] + (["change, points (± 95 %)"] if changes else [])
    return {"headings": headings, "rows": rows}


def _facts(results: Results) -> list[tuple[str, str]]:
    """How the run was done, as term and text; only what is recorded."""
    conditions, seconds = results.get("latency_conditions") or {}, results.get("seconds") or {}
    seeds = sorted({run["seed"] for arm in results["arms"].values() for run in arm["runs"]})
    return stated(
        [
            *data_facts(results),
            ("Seeds", [str(seed) for seed in seeds]),
            (
                "Methods",
                [
                    f"{name}: {arm['method']}"
                    for name, arm in results["arms"].items()
                    if arm.get("method")
                ],
            ),
            ("Finished", [results.get("created")]),
            (
                "Time",
                [f"{key} {duration(value)}" for key, value in seconds.items() if present(value)],
            ),
            *place_facts(results),
            (
                "Latency measured with",
                [f"{str(key).replace('_', ' ')} {value}" for key, value in conditions.items()],
            ),
        ]
    )


Fact = tuple[str, list[Any]]


def data_facts(results: Results) -> list[Fact]:
    """The images of a run or sweep, as term and parts of a text."""
    data = results["data"]
    shape = "×".join(map(str, data.get("image_shape") or []))
    shown = shape and f"images of {shape} (channels × height × width)"
    splits = {"train": "training", "val": "validation", "test": "test"}
    return [
        ("Data", [data.get("name"), f"{len(data['class_names'])} classes", shown]),
        (
            "Splits",
            [
                f"{number(data[f'num_{split}'], 0)} {label}"
                for split, label in splits.items()
                if f"num_{split}" in data
            ],
        ),
        ("Data fingerprint", [data.get("fingerprint")]),
    ]


def place_facts(results: Results) -> list[Fact]:
    """The machine and the versions of a run or sweep, as term and parts of a text."""
    place = results.get("environment") or {}
    versions = {key: place.get(key) for key in ("understudy", "python", "torch")} | (
        place.get("packages") or {}
    )
    cores = {
        "cores": place.get("cores"),
        "workers": place.get("workers"),
        "threads per worker": place.get("threads_per_worker"),
    }
    return [
        (
            "Hardware",
            [
                place.get("cpu"),
                place.get("accelerator"),
                *(f"{k} {v}" for k, v in cores.items() if v is not None),
            ],
        ),
        ("Device", [place.get("device"), place.get("precision"), place.get("os")]),
        ("Versions", [f"{key} {value}" for key, value in versions.items() if value]),
    ]


def stated(facts: Sequence[Fact]) -> list[tuple[str, str]]:
    """Term and text of the facts that say something."""
    texts = [(term, ", ".join(str(part) for part in parts if part)) for term, parts in facts]
    return [(term, text) for term, text in texts if text]


def duration(seconds: float) -> str:
    """A time as people say it: ``6.1 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return (
        f"{whole // 60} min {whole % 60} s"
        if whole < 3600
        else f"{whole // 3600} h {whole % 3600 // 60} min"
    )
