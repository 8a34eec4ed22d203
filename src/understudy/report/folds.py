"""From ``folds.json`` to the page of a cross-validated run."""

from pathlib import Path
from typing import Any

from understudy.data.names import counted
from understudy.evaluation.statistics import estimate
from understudy.files import write_bytes
from understudy.report.format import number, percent, points
from understudy.report.render import render
from understudy.runs.folds import FoldsFolder, FoldsResults, read_folds

GLOSSARY = {
    "Fold": "one of several parts of equal size that the images are cut into, class by class; its "
    "networks are trained on the other parts and tested on this one.",
    "Repeat": "the same with another shuffle of the folds and another seed.",
    "Teacher": "the large network whose outputs the student learns from; each fold has its own.",
    "Baseline": "the student trained on the labels alone, everything else equal.",
    "Distilled": "the same student trained on the labels and on the teacher's outputs.",
    "95 % interval": "folds share most of their training images, so their gains are not "
    "independent: the interval of Nadeau and Bengio (2003) is wider than a plain one, by 1/J + "
    "test/training images in place of 1/J for J folds.",
}


def write_folds_report(folder: Path) -> Path:
    """Write ``report.html`` of a cross-validated run; returns its path.

    Raises:
        UnderstudyError: if ``folds.json`` is missing or damaged.
    """
    results, paths = read_folds(folder), FoldsFolder(folder)
    text = render(
        "folds.html.j2",
        (),
        name=f"{results.name or 'run'}: {results.folds}-fold cross-validation",
        lead=_lead(results),
        verdicts=[
            {
                "text": _capital(comparison.verdict, comparison.arm),
                "better": comparison.gain.verdict == "helped",
            }
            for comparison in results.comparisons
        ],
        headings=_headings(results),
        rows=_rows(results),
        means=_means(results),
        command=results.command,
        glossary=GLOSSARY,
    )
    write_bytes(paths.report, text.encode())
    return paths.report


def _lead(results: FoldsResults) -> str:
    repeats = len(results.runs) // results.folds
    times = "once" if repeats == 1 else f"{repeats} times, once for each seed"
    skipped = ""
    if results.num_skipped:
        skipped = f" {counted(results.num_skipped, 'unreadable image')} left out."
    return (
        f"Each of the {results.num_images:,} images of {results.data_name} "
        f"({len(results.class_names)} classes) is tested {times}, by networks that were not "
        f"trained on it.{skipped}"
    )


def _capital(text: str, arm: str) -> str:
    """With a capital first letter, unless it opens with the name of an arm."""
    return text if text.startswith(arm) else text[0].upper() + text[1:]


def _headings(results: FoldsResults) -> list[str]:
    gains = [f"{each.arm} − {each.reference}, points" for each in results.comparisons]
    return ["seed", "train", "val", "test", *(f"{arm} %" for arm in results.arms), *gains]


def _rows(results: FoldsResults) -> list[dict[str, Any]]:
    rows = []
    for index, run in enumerate(results.runs):
        repeat, fold = divmod(index, results.folds)
        sizes = [number(size, 0) for size in (run.num_train, run.num_val, run.num_test)]
        rows.append(
            {
                "name": f"fold{index + 1}",
                "cells": [
                    str(run.seed),
                    *sizes,
                    *(percent(run.accuracies[arm]) for arm in results.arms),
                    *(points(each.gain.gains[repeat][fold]) for each in results.comparisons),
                ],
            }
        )
    return rows


def _means(results: FoldsResults) -> list[str]:
    accuracies = [
        percent(estimate([run.accuracies[arm] for run in results.runs]).mean)
        for arm in results.arms
    ]
    return ["", "", "", "", *accuracies, *(points(each.gain.mean) for each in results.comparisons)]
