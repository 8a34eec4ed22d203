"""The outcome of a sweep in words and as rows: for the terminal, and as cells for its page."""

from understudy.evaluation.statistics import Estimate, estimate
from understudy.report.format import ABSENT, number, percent, points
from understudy.report.sweep.view import (
    Measured,
    SweepView,
    accuracy,
    described,
    gain,
    written,
)
from understudy.sweep.results import Trial

TOP = 10
"""Trials in the short table."""


def conclusions(view: SweepView) -> list[tuple[str, bool]]:
    """What the sweep found: the test's verdict, the winner, trials without a result.

    Returns:
        sentences, each with whether it is evidence of a gain.
    """
    found = []
    final = view.results.final
    if final is not None:
        seeds = ", ".join(map(str, final.seeds))
        sentence = final.verdict[0].upper() + final.verdict[1:]
        helped = final.gain.verdict == "helped"
        found.append((f"{sentence} (test images, fresh seeds {seeds}).", helped))
    if view.best is not None:
        ending = "." if final else "; it was not tested on fresh seeds."
        found.append((_best_sentence(view, view.best) + ending, False))
    lost = _lost_sentence(view)
    return [*found, (lost, False)] if lost else found


def _best_sentence(view: SweepView, best: Trial) -> str:
    found = gain(best)
    over = (
        f", {with_interval(found)} points over the baseline (interval {view.covers})"
        if found
        else ""
    )
    return (
        f"Best of {len(view.complete)} finished trials on validation: "
        f"{described(best.values, view.settings)}, with {percent(accuracy(best).mean)} %{over}. "
        "Being the best of many is partly luck"
    )


def _lost_sentence(view: SweepView) -> str:
    failed = sum(trial.state == "failed" for trial in view.trials)
    pruned = sum(trial.state == "pruned" for trial in view.trials)
    lost = [f"{failed} failed"] if failed else []
    lost += [f"{pruned} {'was' if pruned == 1 else 'were'} pruned"] if pruned else []
    return f"Of {len(view.trials)} trials {' and '.join(lost)}." if lost else ""


def with_interval(found: Measured | None) -> str:
    """``+0.82 [0.31, 1.33]`` in points; without brackets for one seed."""
    if found is None:
        return ABSENT
    if found.half is None:
        return points(found.mean)
    return f"{points(found.mean)} [{percent(found.low)}, {percent(found.high)}]"


def with_half(found: Estimate) -> str:
    """``71.24 ± 0.40`` in percent; without ± for one seed."""
    if found.half is None:
        return percent(found.mean)
    return f"{percent(found.mean)} ± {percent(found.half)}"


def ordered(view: SweepView) -> list[Trial]:
    """Complete trials, the best first, then the others by number."""
    return [*view.complete, *(trial for trial in view.trials if trial.state != "complete")]


def trial_cells(view: SweepView, trial: Trial) -> list[str]:
    """The cells of a trial after its number: settings, accuracy, gain if there are any, seconds."""
    cells = [written(trial.values[setting.key]) for setting in view.settings]
    cells.append(with_half(accuracy(trial)) if trial.state == "complete" else trial.state)
    if view.paired:
        cells.append(with_interval(gain(trial)))
    return [*cells, number(trial.seconds, 0)]


def trial_headings(view: SweepView) -> list[str]:
    """The headings of :func:`trial_cells`."""
    gains = ["gain, points [95 %]"] if view.paired else []
    labels = [setting.label for setting in view.settings]
    return [*labels, "validation, % (± 95 %)", *gains, "seconds"]


def baseline_rows(view: SweepView) -> list[tuple[str, str]]:
    """Settings (empty if all trials share one baseline) and accuracy of each baseline."""
    rows = []
    for baseline in view.results.baselines:
        own = [setting for setting in view.settings if setting.key in baseline.values]
        accuracies = [run.val.accuracy for run in baseline.runs]
        if accuracies:
            rows.append((described(baseline.values, own), with_half(estimate(accuracies))))
    return rows
