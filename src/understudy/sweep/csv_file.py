"""``trials.csv``: one row for each trial of a sweep."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.files import write_bytes
from understudy.sweep.results import Trial
from understudy.sweep.space import Dimension


def write_trials(path: Path, space: Sequence[Dimension], trials: Sequence[Trial]) -> None:
    """``trials.csv``: one row per trial, atomically."""
    keys = [dimension.key for dimension in space]
    columns = ["number", *keys, "state", "seeds", "val_accuracy", "std", "low", "high"]
    columns += ["gain", "gain_low", "gain_high", "seconds", "reason"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        writer.writerow(_csv_row(trial))
    write_bytes(path, text.getvalue().encode())


def _csv_row(trial: Trial) -> dict[str, Any]:
    row = {key: _csv_value(value) for key, value in trial.values.items()}
    row |= {"number": trial.number, "state": trial.state, "reason": trial.reason}
    row |= {"seeds": len(trial.runs), "seconds": 0 if trial.seconds is None else trial.seconds}
    if trial.summary is not None:
        summary = trial.summary
        row |= {"val_accuracy": summary.mean, "std": summary.std}
        row |= {"low": summary.low, "high": summary.high}
    if trial.gain is not None:
        gain = trial.gain
        row |= {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
    return row


def _csv_value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
