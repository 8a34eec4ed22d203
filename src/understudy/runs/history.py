"""What an epoch measured, and the CSV file that keeps it."""

import csv
import io
from pathlib import Path

from understudy.events import EpochResult
from understudy.files import write_bytes


def write_history(path: Path, entries: list[tuple[str, int, EpochResult]]) -> None:
    """The epochs of one or more arms as CSV, one row each, atomically."""
    terms = sorted({name for _, _, e in entries for name in e.losses} - {"loss", "ce", "kd"})
    columns = [
        "arm",
        "seed",
        "epoch",
        "lr",
        "train_loss",
        "train_ce",
        "train_kd",
        *(f"train_{t}" for t in terms),
    ]
    columns += [
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "seconds",
        "images_per_second",
        "label_seconds",
    ]
    columns += sorted({name for _, _, e in entries for name in e.measures})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for arm, seed, e in entries:
        row = {"arm": arm, "seed": seed} | {k: getattr(e, k) for k in columns if hasattr(e, k)}
        writer.writerow(
            row | {f"train_{name}": value for name, value in e.losses.items()} | e.measures
        )
    write_bytes(path, text.getvalue().encode())
