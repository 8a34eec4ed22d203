"""``results.csv``: every scalar of a run, one row for each arm and seed."""

import csv
import io
from pathlib import Path
from typing import Any

from understudy.files import to_json, write_bytes
from understudy.runs.results import ArmSummary, RunResults, SeedResult


def write_csv(results: RunResults, path: Path) -> None:
    """Write identity, ``val_*``, ``test_*``, size, latency and efficiency of every training.

    Units as in ``results.json``: accuracies in [0, 1], MB of 2^20 bytes, milliseconds. Absent
    numbers are empty cells; columns without any number are left out.
    """
    rows = []
    for name, arm in results.arms.items():
        costs = _costs(arm)
        rows += [_training(name, arm, run) | costs for run in arm.runs]
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = [key for key in keys if any(row.get(key) is not None for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _training(name: str, arm: ArmSummary, run: SeedResult) -> dict[str, Any]:
    row = {"arm": name, "role": arm.role, "model": arm.model, "method": arm.method}
    row |= _scalars(run)
    for split, metrics in (("val", run.val), ("test", run.test)):
        row |= {f"{split}_{key}": value for key, value in _scalars(metrics).items()}
    return row


def _costs(arm: ArmSummary) -> dict[str, Any]:
    costs = {**_scalars(arm.size), "compression": arm.compression, **_scalars(arm.efficiency)}
    for batch, latency in arm.latency.items():
        costs |= {f"latency_{batch}_{key}": value for key, value in _scalars(latency).items()}
    return costs


def _scalars(record: Any) -> dict[str, Any]:
    """The fields of a record that are no lists (``correct`` is one, packed) and no records."""
    fields = to_json(record) or {}
    return {
        key: value
        for key, value in fields.items()
        if not isinstance(value, dict | list) and key != "correct"
    }
