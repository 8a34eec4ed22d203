"""From a sweep's directory to ``report.html``: one file that needs nothing else, for a reader who was not there."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.files import write_bytes
from understudy.report.render import render
from understudy.report.run.table import number, percent, points, present
from understudy.report.sweep.importance import Importance, importance
from understudy.report.sweep.results import (
    Dimension,
    Sweep,
    described,
    estimate,
    parse_sweep,
    written,
)
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

GLOSSARY = {
    "Trial": "one combination of settings, trained once for each seed.",
    "Plain student": "the student trained on the labels alone, everything else equal; also called the baseline.",
    "Gain": "validation accuracy of a trial minus that of the plain student with the same seed, in percentage points.",
    "95 % interval": "range that holds the true mean in 95 of 100 repetitions (Student's t over seeds); one seed gives none.",
    "Validation": "images held out from training; trials are compared and the winner is chosen on them.",
    "Test": "images that nothing was chosen on; opened once, for the winner and the plain student trained on fresh seeds.",
    "Pruned": "stopped early because other trials were ahead at the same epoch.",
    "Importance": "share of the spread in validation accuracy between trials that a setting accounts for.",
    "Main effect": "what a setting changes on average over all values of the others.",
    "Seed": "the number that fixes initial weights and data order; students of one seed share both and are compared as a pair.",
}


def write_sweep_report(folder: Path, *, figures: bool = True) -> Path:
    """Write ``figures/*.png``, ``figures/*.svg`` and ``report.html`` into a sweep's directory, from its ``results.json``.

    With ``figures=False`` nothing is drawn and matplotlib is not loaded. The same directory gives the same bytes.

    Returns:
        the path of ``report.html``.

    Raises:
        UnderstudyError: where results.json is missing or broken.
    """
    from understudy.report.run.page import config_text
    from understudy.runs.results import load_results  # which sends sweeps here

    folder = Path(folder)
    sweep = parse_sweep(load_results(folder), str(folder / "results.json"))
    found = importance(sweep)
    drawings: list[Any] = []
    if figures:
        from understudy.report.sweep.figures import draw_sweep

        drawings = draw_sweep(sweep, found, folder / "figures")
    page = folder / "report.html"
    write_bytes(page, _render(sweep, found, drawings, config_text(folder, sweep.results)).encode())
    return page


def _render(sweep: Sweep, found: Importance | None, drawings: Sequence[Any], config: str) -> str:
    trials = ordered(sweep)
    rows = [
        {
            "number": trial.number,
            "state": trial.state,
            "winner": sweep.best is not None and trial.number == sweep.best.number,
            "cells": trial_cells(sweep, trial),
        }
        for trial in trials
    ]
    finished = len(sweep.complete)
    return render(
        "sweep.html.j2",
        drawings,
        name=sweep.results.get("name") or "sweep",
        verdicts=[{"text": text, "better": better} for text, better in conclusions(sweep)],
        headings=trial_headings(sweep),
        top=rows[: min(TOP, finished)],
        everything=rows if len(rows) > min(TOP, finished) else [],
        baselines=baseline_rows(sweep),
        final=_final(sweep),
        shares=_shares(sweep, found),
        chance_known=found is not None and found.chance is not None,
        importance_how=found.how if found else "",
        failed=[
            {
                "number": t.number,
                "values": described(t.values, sweep.dimensions),
                "reason": t.reason or "no reason was recorded",
            }
            for t in trials
            if t.state == "failed"
        ],
        num_seeds=max((len(trial.accuracies) for trial in sweep.trials), default=0),
        facts=_facts(sweep),
        command=without_password(sweep.results.get("command") or ""),
        config=config,
        glossary=GLOSSARY,
    )


def _final(sweep: Sweep) -> dict[str, Any] | None:
    """Test accuracies and gain of each fresh seed, and their means with intervals."""
    tested = sweep.tested
    if not tested:
        return None
    plain, best, gains = ([values[k] for values in tested.values()] for k in range(3))
    return {
        "rows": [
            (seed, percent(before), percent(after), points(gain))
            for seed, (before, after, gain) in tested.items()
        ],
        "mean": (
            with_half(estimate(plain)),
            with_half(estimate(best)),
            with_interval(estimate(gains)),
        ),
    }


def _shares(sweep: Sweep, found: Importance | None) -> list[tuple[str, str, str]]:
    """Setting, share and the share that chance alone would give, percent."""
    if found is None or len(sweep.dimensions) < 2:
        return []
    chance = found.chance or {}
    rows = [
        (key, percent(share, 1), percent(chance.get(key), 1)) for key, share in found.shares.items()
    ]
    return (
        [*rows, ("together, and noise of seeds", percent(found.rest, 1), percent(None))]
        if found.rest is not None
        else rows
    )


def _facts(sweep: Sweep) -> list[tuple[str, str]]:
    """How the sweep was done, as term and text; only what is recorded."""
    from understudy.report.run.page import data_facts, duration, place_facts, stated

    results = sweep.results
    search, backend, seconds = (results.get(key) or {} for key in ("search", "backend", "seconds"))
    measured = (
        f"{name} {number(rate, 0)} images/s"
        for name, rate in (backend.get("measured") or {}).items()
    )
    spent = [f"{key} {duration(value)}" for key, value in seconds.items() if present(value)]
    chosen = {"given": "as asked for", "measured": "chosen by measuring"}.get(
        str(backend.get("chosen")), ""
    )
    return stated(
        [
            (
                "Settings swept",
                [
                    _range(entry, d)
                    for entry, d in zip(results["space"], sweep.dimensions, strict=True)
                ],
            ),
            (
                "Search",
                [search.get("name"), f"pruner {search['pruner']}" if search.get("pruner") else ""],
            ),
            ("Storage", [without_password(str(search.get("storage") or ""))]),
            ("Chosen by", [results.get("objective"), "mean over seeds"]),
            ("Seeds", [", ".join(map(str, results.get("seeds") or []))]),
            (
                "Trials",
                [
                    f"{n} {state}"
                    for state in ("complete", "pruned", "failed")
                    if (n := _count(sweep, state))
                ],
            ),
            (
                "Backend",
                [
                    backend.get("name"),
                    chosen,
                    f"{backend['capacity']} at a time" if backend.get("capacity") else "",
                ],
            ),
            ("Backends measured", list(measured)),
            ("Time", spent),
            ("Cost", _cost(sweep)),
            ("Started", [results.get("created")]),
            *data_facts(results),
            *place_facts(results),
        ]
    )


def _count(sweep: Sweep, state: str) -> int:
    return sum(trial.state == state for trial in sweep.trials)


def _range(entry: dict[str, Any], dimension: Dimension) -> str:
    if entry["kind"] == "choice":
        return f"{dimension.key}: {' | '.join(written(level) for level in dimension.levels or ())}"
    return f"{dimension.key}: {written(entry['low'])} to {written(entry['high'])}{' (logarithmic)' if dimension.log else ''}"


def _cost(sweep: Sweep) -> list[str]:
    """Trainings, seconds of each trial and training, and the images per second that the whole sweep came to."""
    entries = [*(sweep.results.get("trials") or []), *(sweep.results.get("baselines") or [])]
    runs = [run for entry in entries for run in entry.get("runs") or []]
    timed = [trial.seconds for trial in sweep.trials if trial.seconds is not None]
    training = [run["seconds"] for run in runs if present(run.get("seconds"))]
    parts = [f"{len(runs)} trainings with the plain students"]
    if timed:
        parts.append(f"{number(sum(timed) / len(timed), 1)} s a trial")
    if training:
        parts.append(f"{number(sum(training) / len(training), 1)} s a training")
    epochs, wall = (
        [run.get("epochs") for run in runs],
        (sweep.results.get("seconds") or {}).get("trials"),
    )
    images = sweep.results["data"].get("num_train")
    if (
        runs
        and present(wall)
        and wall > 0
        and present(images)
        and all(present(count) for count in epochs)
    ):
        parts.append(f"{number(images * sum(e for e in epochs if e) / wall, 0)} images/s overall")
    return parts


def without_password(text: str) -> str:
    """A command or database address without user name and password."""
    return re.sub(r"(\w://)[^\s/@]+@", r"\1…@", text)
