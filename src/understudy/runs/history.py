"""``history.csv`` of an arm or of a whole run: one row for each epoch of each training."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.files import write_bytes


@dataclass(frozen=True)
class HistoryRow:
    """One epoch of one training."""

    arm: str
    seed: int
    epoch: EpochResult


_NUMBERS = ("lr", "train_accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second")


def read_history(run: Path) -> list[HistoryRow]:
    """The rows of ``run/history.csv``, of all arms and seeds; empty if there is no such file.

    Raises:
        UnderstudyError: if the file is damaged.
    """
    path = run / "history.csv"
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [_history_row(row) for row in csv.DictReader(file)]
    except (ValueError, TypeError, KeyError):
        raise UnderstudyError(
            f"{path} is not a history of a run; delete it to report without training curves"
        ) from None


def gather_history(out: Path, folders: Iterable[Path]) -> None:
    """Write the ``history.csv`` of a run from those of its arms, in this order."""
    rows: list[HistoryRow] = []
    for folder in folders:
        rows += read_history(folder)
    write_history(out / "history.csv", [(row.arm, row.seed, row.epoch) for row in rows])


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


def _history_row(row: Mapping[str, str]) -> HistoryRow:
    if not row["arm"]:
        raise ValueError("a row without an arm")
    filled = {column: text for column, text in row.items() if text}
    numbers = {column: float(row[column]) for column in _NUMBERS}
    others = set(filled) - {"arm", "seed", "epoch", "label_seconds", *_NUMBERS}
    losses = [column for column in filled if column in others and column.startswith("train_")]
    measures = [column for column in filled if column in others and column not in losses]
    epoch = EpochResult(
        epoch=int(row["epoch"]),
        losses={column.removeprefix("train_"): float(row[column]) for column in losses},
        measures={column: float(row[column]) for column in measures},
        label_seconds=float(filled.get("label_seconds", 0.0)),
        **numbers,
    )
    return HistoryRow(row["arm"], int(row["seed"]), epoch)


def epochs_of(history: Sequence[HistoryRow], arm: str) -> list[EpochResult]:
    """The epochs of an arm, over all its seeds."""
    return [row.epoch for row in history if row.arm == arm]
