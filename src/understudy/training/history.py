"""What an epoch measured, and the CSV file that keeps it."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from understudy.files import write_bytes


@dataclass(frozen=True)
class EpochResult:
    """One epoch, reduced over all ranks.

    Attributes:
        epoch: from 0.
        lr: learning rate of the last step.
        losses: mean of each weighted term over the epoch's images, and their sum as ``loss``.
        train_accuracy: of the training batches as they came, in [0, 1].
        val_loss: mean cross-entropy on the validation split, in nats; val_accuracy in [0, 1].
        seconds: wall time of the training part; images_per_second over it. label_seconds: time spent asking the teacher
            ahead of the epoch (0 for a live one).
        measures: what the method reports beside its losses (a discriminator's accuracy), at the epoch's end.
    """

    epoch: int
    lr: float
    losses: dict[str, float]
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_second: float
    label_seconds: float = 0.0
    measures: dict[str, float] = field(default_factory=dict)


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
