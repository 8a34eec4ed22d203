"""From a sweep's directory to ``report.html``: one file that needs nothing else."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.evaluation.statistics import estimate
from understudy.evaluation.verdict import over
from understudy.files import write_bytes
from understudy.report.facts import (
    config_text,
    data_facts,
    drop_empty,
    machine_facts,
    time_spent,
)
from understudy.report.format import number, percent, points
from understudy.report.render import render
from understudy.report.sweep.importance import Importance, importance
from understudy.report.sweep.table import (
    TOP,
    baseline_rows,
    conclusions,
    ordered,
    trial_cells,
    trial_headings,
    with_half,
    with_interval,
)
from understudy.report.sweep.view import SweepView, described, written
from understudy.sweep.recompute import recomputed
from understudy.sweep.results import SweepResults, Trial, read_sweep
from understudy.sweep.space import Choice, Dimension

if TYPE_CHECKING:
    from understudy.report.drawing import Drawing

GLOSSARY = {
    "Trial": "one combination of settings, trained once for each seed.",
    "Baseline": "the student trained on the labels alone, everything else equal.",
    "Gain": "validation accuracy of a trial minus that of the baseline with the same seed, in "
    "percentage points.",
    "95 % interval": "range that holds the true mean in 95 of 100 repetitions: of an accuracy over "
    "seeds (Student's t), of a gain over seeds and images, where it is recorded which images were "
    "right; one seed gives none.",
    "Holm's correction": "gains that are looked at together need smaller p values, the more there "
    "are: without any effect, at most one sweep in twenty has a wrong mark.",
    "Validation": "images held out from training; trials are compared and the winner is chosen on "
    "them.",
    "Test": "images that nothing was chosen on; opened once, for the winner and the baseline "
    "trained on fresh seeds.",
    "Pruned": "stopped early because other trials were ahead at the same epoch.",
    "Importance": "share of the spread in validation accuracy between trials that a setting "
    "accounts for.",
    "Main effect": "what a setting changes on average over all values of the others.",
    "Seed": "the number that fixes initial weights and data order; students of one seed share both "
    "and are compared as a pair.",
}


def write_sweep_report(folder: Path, *, figures: bool = True) -> Path:
    """Write ``figures/*.png``, ``figures/*.svg`` and ``report.html`` into a sweep's directory.

    Reads ``results.json`` and, if it is there, ``config.yaml``. The same directory gives the same
    bytes.

    Args:
        folder: the sweep's directory.
        figures: ``False`` draws nothing and does not load matplotlib.

    Returns:
        the path of ``report.html``.

    Raises:
        UnderstudyError: if ``results.json`` is missing or damaged.
    """
    view = SweepView.of(recomputed(folder, read_sweep(folder)))
    found = importance(view)
    drawings: Sequence[Drawing] = ()
    if figures:
        from understudy.report.sweep.figures import draw_sweep

        drawings = draw_sweep(view, found, folder / "figures")
    page = folder / "report.html"
    config = config_text(folder, view.results.config)
    write_bytes(page, _render(view, found, drawings, config).encode())
    return page


def _render(
    view: SweepView, found: Importance | None, drawings: Sequence["Drawing"], config: str
) -> str:
    rows = [_row(view, trial) for trial in ordered(view)]
    num_top = min(TOP, len(view.complete))
    return render(
        "sweep.html.j2",
        drawings,
        name=view.results.name or "sweep",
        verdicts=[{"text": text, "better": better} for text, better in conclusions(view)],
        headings=trial_headings(view),
        top=rows[:num_top],
        everything=rows if len(rows) > num_top else [],
        baselines=baseline_rows(view),
        final=_final(view),
        shares=_shares(view, found),
        chance_known=found is not None and found.chance is not None,
        importance_how=found.how if found else "",
        failed=[_failed(view, trial) for trial in view.trials if trial.state == "failed"],
        covers=view.covers if view.paired else "",
        num_seeds=max((len(trial.accuracies) for trial in view.trials), default=0),
        facts=_facts(view),
        command=without_password(view.results.command),
        config=config,
        glossary=GLOSSARY,
    )


def _row(view: SweepView, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "winner": view.is_best(trial),
        "cells": trial_cells(view, trial),
    }


def _failed(view: SweepView, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "values": described(trial.values, view.settings),
        "reason": trial.reason or "no reason was recorded",
    }


def _final(view: SweepView) -> dict[str, Any] | None:
    """Test accuracies and gain of each fresh seed, and their means with intervals."""
    tested, final = view.tested, view.results.final
    if final is None or not tested:
        return None
    rows = [
        (each.seed, percent(each.baseline), percent(each.winner), points(each.gain))
        for each in tested
    ]
    mean = (
        with_half(estimate([each.baseline for each in tested])),
        with_half(estimate([each.winner for each in tested])),
        with_interval(final.gain),
    )
    return {"rows": rows, "mean": mean, "over": over(final.gain)}


def _shares(view: SweepView, found: Importance | None) -> list[tuple[str, str, str]]:
    """Setting, share and the share that chance alone would give, percent."""
    if found is None or len(view.settings) < 2:
        return []
    chance = found.chance or {}
    rows = [
        (key, percent(share, 1), percent(chance.get(key), 1)) for key, share in found.shares.items()
    ]
    if found.rest is not None:
        rows.append(("together, and noise of seeds", percent(found.rest, 1), percent(None)))
    return rows


def _facts(view: SweepView) -> list[tuple[str, str]]:
    """How the sweep was done, as term and text; only what is recorded."""
    results = view.results
    search = results.search
    pairs = zip(results.space, view.settings, strict=True)
    return drop_empty(
        [
            ("Settings swept", [_range(dimension, setting.levels) for dimension, setting in pairs]),
            ("Search", [search.name, f"pruner {search.pruner}" if search.pruner else ""]),
            ("Storage", [without_password(search.storage)]),
            ("Chosen by", [results.objective, "mean over seeds"]),
            ("Seeds", [", ".join(map(str, results.seeds))]),
            ("Trials", _counts(view)),
            ("Backend", _backend(results)),
            ("Backends measured", _rates(results)),
            ("Time", time_spent(results.seconds)),
            ("Cost", _cost(results)),
            ("Started", [results.created]),
            *data_facts(results.data),
            *machine_facts(results.environment),
        ]
    )


def _range(dimension: Dimension, levels: Sequence[Any] | None) -> str:
    if isinstance(dimension, Choice):
        return f"{dimension.key}: {' | '.join(written(level) for level in levels or ())}"
    low, high = dimension.low, dimension.high
    if dimension.kind == "int":
        low, high = int(low), int(high)
    scale = " (logarithmic)" if dimension.log else ""
    return f"{dimension.key}: {written(low)} to {written(high)}{scale}"


def _counts(view: SweepView) -> list[str]:
    states = [trial.state for trial in view.trials]
    kinds = ("complete", "pruned", "failed")
    return [f"{states.count(kind)} {kind}" for kind in kinds if kind in states]


def _backend(results: SweepResults) -> list[str]:
    backend = results.backend
    if backend is None:
        return []
    how = {"given": "as given in the command", "measured": "chosen by measuring"}[backend.chosen]
    return [backend.name, how, f"{backend.capacity} at a time" if backend.capacity else ""]


def _rates(results: SweepResults) -> list[str]:
    measured = results.backend.measured if results.backend else {}
    return [f"{name} {number(rate, 0)} images/s" for name, rate in measured.items()]


def _cost(results: SweepResults) -> list[str]:
    """Trainings, seconds of a trial and of a training, images per second of the whole sweep."""
    runs = [run for trial in results.trials for run in trial.runs]
    runs += [run for baseline in results.baselines for run in baseline.runs]
    timed = [trial.seconds for trial in results.trials if trial.seconds is not None]
    training = [run.seconds for run in runs if run.seconds is not None]
    parts = [f"{len(runs)} trainings with the baselines"]
    if timed:
        parts.append(f"{number(sum(timed) / len(timed), 1)} s a trial")
    if training:
        parts.append(f"{number(sum(training) / len(training), 1)} s a training")
    epochs = [run.epochs for run in runs if run.epochs is not None]
    wall = results.seconds.get("trials", 0.0)
    if runs and len(epochs) == len(runs) and wall > 0:
        images = results.data.num_train * sum(epochs)
        parts.append(f"{number(images / wall, 0)} images/s overall")
    return parts


def without_password(text: str) -> str:
    """A command or database address without user name and password."""
    return re.sub(r"(\w://)[^\s/@]+@", r"\1…@", text)
