"""From a run directory to ``report.html``: one file that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.errors import UnderstudyError
from understudy.evaluation.gain import corrected
from understudy.evaluation.proportions import Proportion
from understudy.evaluation.statistics import estimate
from understudy.files import from_json, write_bytes
from understudy.report.facts import (
    config_text,
    data_facts,
    drop_empty,
    machine_facts,
    time_spent,
)
from understudy.report.format import ABSENT, number, percent, points, significant
from understudy.report.render import render
from understudy.report.run.csv_file import write_csv
from understudy.report.run.device import device_section, latency_section
from understudy.report.run.outcomes import Outcomes, outcomes
from understudy.report.run.pictures import pictures_section
from understudy.report.run.slices import slice_section
from understudy.report.run.table import columns_of, latency_ms, paired_per_class
from understudy.runs.comparison import Comparison
from understudy.runs.history import read_history
from understudy.runs.recompute import recomputed
from understudy.runs.results import ArmSummary, RunResults, SeedResult, read_results

if TYPE_CHECKING:
    from understudy.report.drawing import Drawing

MAX_VERDICTS = 7
"""More verdicts than this are counted first and folded away."""
MAX_ROWS = 30
"""Longer tables are folded."""

GLOSSARY = {
    "Teacher": "the large network whose outputs the student learns from.",
    "Baseline": "the student trained on the labels alone, everything else equal.",
    "Distilled": "the same student trained on the labels and on the teacher's outputs.",
    "Top-1 accuracy": "share of test images whose highest-scoring class is the right one.",
    "Balanced accuracy": "mean of the accuracies on each class, so that small classes count as "
    "much as large ones; shown where test classes differ in size by more than half.",
    "Macro F1": "mean over classes of F1, the harmonic mean of precision and recall.",
    "NLL": "mean negative log-likelihood of the right class, in nats; lower is better.",
    "ECE": "expected calibration error: mean gap between confidence and accuracy over 15 bins of "
    "confidence; lower is better.",
    "Agreement": "share of test images for which the model and the teacher predict the same class, "
    "right or wrong.",
    "KL to teacher": "mean Kullback–Leibler divergence from the teacher's class probabilities to "
    "the model's, in nats.",
    "MACs": "multiply–accumulate operations for one image.",
    "Size": "parameters and buffers in memory, in MB of 2²⁰ bytes.",
    "Compression": "size of the teacher divided by the size of the model.",
    "Latency": "median time to classify one batch, in milliseconds.",
    "Accuracy / ms": "accuracy in percent divided by the latency of a batch of 128.",
    "Accuracy / (ms·MB)": "accuracy in percent divided by that latency and by the size.",
    "Seed": "the number that fixes initial weights and data order; arms with one seed share both, "
    "so their difference is paired.",
    "95 % interval": "range that holds the true mean in 95 of 100 repetitions: of an accuracy over "
    "seeds (Student's t), of a gain over seeds and test images; one seed gives none.",
    "Over seeds alone": "the interval takes the test images as given, because it "
    "is not recorded which of them were right.",
    "Holm's correction": "gains that are looked at together need smaller p values, the more there "
    "are: without any effect, at most one run in twenty has a wrong claim.",
    "Validation": "images held out from training to choose the epoch; the test images are used "
    "once, at the end.",
}


_OF_SKEWED_CLASSES = ("Balanced accuracy", "Macro F1")


def write_run_report(run: Path, *, figures: bool = True) -> Path:
    """Write ``results.csv``, ``figures/*.png``, ``figures/*.svg`` and ``report.html``.

    Reads ``results.json`` and, if they are there, ``data.json``, ``figures/contact-sheet.png``,
    ``history.csv``, ``config.yaml``, ``diagnosis.json``, ``deploy/export.json`` and
    ``arms/*/predictions.npz``. The same run directory gives the same bytes.

    Args:
        run: its directory.
        figures: ``False`` draws nothing and does not load matplotlib.

    Returns:
        the path of ``report.html``.

    Raises:
        UnderstudyError: if a file is damaged, or ``results.json`` is missing.
    """
    results = recomputed(run, read_results(run))
    drawings: Sequence[Drawing] = ()
    if figures:
        from understudy.report.run.figures import draw_all

        drawings = draw_all(results, read_history(run), run / "figures")
    write_csv(results, run / "results.csv")
    found = outcomes(run, results)
    text = render(
        "run.html.j2",
        drawings,
        name=results.name or "run",
        lead=_lead(results),
        at_chance=[note[0].upper() + note[1:] + "." for note in results.chance_notes],
        **_verdicts(results),
        num_seeds=max(len(arm.runs) for arm in results.arms.values()),
        main=_main_table(results),
        per_seed=_per_seed_table(results),
        max_rows=MAX_ROWS,
        per_class=_per_class_table(results),
        outcomes=found and {key: _outcome_cells(group) for key, group in found.items()},
        diagnosis=read_diagnosis(run),
        slices=slice_section(results),
        device=device_section(run),
        latency=latency_section(run),
        pictures=pictures_section(run),
        facts=_facts(results),
        command=results.command,
        config=config_text(run, results.config),
        glossary=_glossary(results),
    )
    page = run / "report.html"
    write_bytes(page, text.encode())
    return page


# -- diagnosis -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FindingNote:
    """One finding of a diagnosis, as the report shows it."""

    title: str
    severity: str
    evidence: str


@dataclass(frozen=True)
class DiagnosisNote:
    """Headline and findings of a ``diagnosis.json``."""

    headline: str
    findings: tuple[FindingNote, ...]


def read_diagnosis(run: Path) -> DiagnosisNote | None:
    """Headline and findings that are not fine; ``None`` if the run was not diagnosed.

    Raises:
        UnderstudyError: if ``diagnosis.json`` is damaged.
    """
    path = run / "diagnosis.json"
    if not path.exists():
        return None
    advice = "run understudy diagnose again"
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UnderstudyError(f"{path} cannot be read ({error}): {advice}") from None
    note = from_json(DiagnosisNote, content, str(path), advice)
    serious = tuple(finding for finding in note.findings if finding.severity != "fine")
    return DiagnosisNote(note.headline, serious)


# -- what is on the page --------------------------------------------------------------------------


def _verdicts(results: RunResults) -> dict[str, Any]:
    """Verdicts in the order of the run; of many only counts, and the verdicts folded away."""
    comparisons = [c for c in results.comparisons if c.verdict.strip()]
    if len(comparisons) <= MAX_VERDICTS:
        return {"verdicts": [_verdict(c, results) for c in comparisons], "folded": []}
    signs = [gain.sign for gain in corrected([comparison.gain for comparison in comparisons])]
    counts = (
        f"Of {len(comparisons)} comparisons, {signs.count(1)} show a gain, {signs.count(-1)} a "
        f"loss, and {signs.count(0)} are no evidence, with Holm's correction for their number."
    )
    ranked = sorted(comparisons, key=lambda comparison: -comparison.mean)
    return {
        "verdicts": [{"text": counts, "better": False}],
        "folded": [_verdict(c, results) for c in ranked],
    }


def _verdict(comparison: Comparison, results: RunResults) -> dict[str, Any]:
    """With a capital first letter, unless it opens with the name of an arm."""
    text = comparison.verdict
    if text.split()[0] not in results.arms:
        text = text[0].upper() + text[1:]
    return {"text": text, "better": _helped(comparison)}


def _helped(comparison: Comparison) -> bool:
    return comparison.gain.verdict == "helped"


def _lead(results: RunResults) -> str:
    """One sentence that compares student and teacher by whatever was measured."""
    teacher_name = results.arm_of_role("teacher")
    student_name = results.arm_of_role("distilled") or results.arm_of_role("baseline")
    if teacher_name is None or student_name is None:
        return ""
    student, teacher = results.arms[student_name], results.arms[teacher_name]
    name = "distilled student" if student.role == "distilled" else "student"
    sentence = (
        f"The {name} classifies {_top1(student)} % of the test images right, "
        f"its teacher {_top1(teacher)} %"
    )
    compared = []
    if student.compression is not None:
        compared.append(f"{significant(student.compression)} times smaller")
    slow, fast = latency_ms(teacher, 128), latency_ms(student, 128)
    if slow and fast:
        ratio = significant(max(slow, fast) / min(slow, fast), 2)
        compared.append(f"{ratio} times {'faster' if slow >= fast else 'slower'}")
    return sentence + (f"; it is {' and '.join(compared)}." if compared else ".")


def _top1(arm: ArmSummary) -> str:
    return percent(estimate(arm.accuracies).mean, 1)


def _glossary(results: RunResults) -> dict[str, str]:
    left_out = () if results.has_skewed_classes else _OF_SKEWED_CLASSES
    return {term: text for term, text in GLOSSARY.items() if term not in left_out}


def _main_table(results: RunResults) -> dict[str, Any]:
    columns = columns_of(results)
    rows = [
        {
            "arm": name,
            "model": arm.model,
            "role": arm.role,
            "cells": [column.measured(arm) for column in columns],
        }
        for name, arm in results.arms.items()
    ]
    published = [
        {"arm": name, "cells": [column.published(results.published(name)) for column in columns]}
        for name in results.reference
    ]
    headings = [column.heading for column in columns]
    return {"headings": headings, "rows": rows, "published": published}


def _per_seed_table(results: RunResults) -> dict[str, Any]:
    headings = ["best epoch", "validation top-1 %", "test top-1 %", "NLL", "ECE %"]
    headings += ["agreement %", "KL to teacher", "seconds", "images/s"]
    rows = []
    for name, arm in results.arms.items():
        rows += [{"arm": name, "seed": run.seed, "cells": _seed_cells(run)} for run in arm.runs]
    return {"headings": headings, "rows": rows}


def _seed_cells(run: SeedResult) -> list[str]:
    return [
        number(run.best_epoch, 0),
        percent(None if run.val is None else run.val.accuracy),
        percent(run.test.accuracy),
        number(run.test.nll, 3),
        percent(run.test.ece),
        percent(run.test.agreement),
        number(run.test.teacher_kl, 3),
        number(run.seconds, 0),
        number(run.images_per_second, 0),
    ]


def _per_class_table(results: RunResults) -> dict[str, Any] | None:
    """Mean test accuracy of each class and arm, and the paired change by distillation."""
    runs = [run for arm in results.arms.values() for run in arm.runs]
    if not any(run.test.per_class for run in runs):
        return None
    distilled, baseline = results.arm_of_role("distilled"), results.arm_of_role("baseline")
    changes: list[list[float]] = []
    if distilled and baseline:
        changes = paired_per_class(results, distilled, baseline)
    skewed = results.has_skewed_classes
    counts = next((run.test.class_counts for run in runs if run.test.class_counts), None)
    rows = []
    for index, class_name in enumerate(results.data.class_names):
        cells = [number(counts[index], 0)] if counts and skewed else []
        cells += [_class_cell(arm, index, interval=skewed) for arm in results.arms.values()]
        cells += [_change_cell(changes[index])] if changes else []
        rows.append({"name": class_name, "cells": cells})
    headings = [*(["images"] if skewed else []), *results.arms]
    headings += ["change, points (± 95 %)"] if changes else []
    return {"headings": headings, "rows": rows, "intervals": skewed}


def _class_cell(arm: ArmSummary, index: int, *, interval: bool) -> str:
    shares = [run.test.per_class[index] for run in arm.runs if run.test.per_class]
    known = [share for share in shares if share is not None]
    if not known:
        return ABSENT
    mean, counts = estimate(known).mean, arm.runs[0].test.class_counts
    if not interval or not counts:
        return percent(mean, 1)
    found = Proportion.of(mean * counts[index], counts[index])
    return f"{percent(mean, 1)} [{percent(found.low, 1)}, {percent(found.high, 1)}]"


def _change_cell(changes: Sequence[float]) -> str:
    if not changes:
        return ABSENT
    found = estimate(changes)
    interval = "" if found.half is None else f" ± {percent(found.half, 1)}"
    return points(found.mean, 1) + interval


def _outcome_cells(group: Outcomes) -> list[str]:
    return [number(count, 0) for count in astuple(group)]


def _facts(results: RunResults) -> list[tuple[str, str]]:
    """How the run was done, as term and text; only what is recorded."""
    seeds = sorted({run.seed for arm in results.arms.values() for run in arm.runs})
    methods = [f"{name}: {arm.method}" for name, arm in results.arms.items() if arm.method]
    return drop_empty(
        [
            *data_facts(results.data),
            ("Seeds", [str(seed) for seed in seeds]),
            ("Methods", methods),
            ("Finished", [results.created]),
            ("Time", time_spent(results.seconds)),
            *machine_facts(results.environment),
            ("Latency measured with", _latency_conditions(results)),
        ]
    )


def _latency_conditions(results: RunResults) -> list[str]:
    if results.latency_conditions is None:
        return []
    conditions: Mapping[str, Any] = vars(results.latency_conditions)
    return [f"{key.replace('_', ' ')} {value}" for key, value in conditions.items()]
