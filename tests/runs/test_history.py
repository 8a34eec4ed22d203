"""``history.csv`` is read as it was written, and those of the arms become that of the run."""

from pathlib import Path
from typing import Any

import pytest

from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.runs.history import epochs_of, gather_history, read_history, write_history


def epoch(number: int, **changes: Any) -> EpochResult:
    values: dict[str, Any] = {
        "epoch": number,
        "lr": 0.1,
        "losses": {"loss": 1.5, "ce": 0.5, "at": 1.0},
        "train_accuracy": 0.5,
        "val_loss": 1.25,
        "val_accuracy": 0.25,
        "seconds": 2.0,
        "images_per_second": 12.5,
        "label_seconds": 0.125,
        "measures": {"discriminator": 0.75},
    }
    return EpochResult(**(values | changes))


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    entries = [("distilled", 3, epoch(0)), ("distilled", 3, epoch(1, measures={}))]
    write_history(tmp_path / "history.csv", entries)
    rows = read_history(tmp_path)
    assert [(row.arm, row.seed, row.epoch) for row in rows] == entries


def test_histories_of_the_arms_are_gathered_in_order(tmp_path: Path) -> None:
    for arm, losses in (("b", {"loss": 1.0, "ce": 1.0}), ("a", {"loss": 2.0, "kd": 2.0})):
        (tmp_path / arm).mkdir()
        entry = (arm, 0, epoch(0, losses=losses, measures={}))
        write_history(tmp_path / arm / "history.csv", [entry])
    gather_history(tmp_path, [tmp_path / "b", tmp_path / "a"])
    rows = read_history(tmp_path)
    assert [row.arm for row in rows] == ["b", "a"]
    assert [row.epoch.losses for row in rows] == [
        {"loss": 1.0, "ce": 1.0},
        {"loss": 2.0, "kd": 2.0},
    ]


def test_run_without_history_has_no_rows(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []


def test_epochs_of_an_arm_are_those_of_all_its_seeds(tmp_path: Path) -> None:
    entries = [("a", 0, epoch(0)), ("b", 0, epoch(1)), ("a", 1, epoch(2))]
    write_history(tmp_path / "history.csv", entries)
    assert [found.epoch for found in epochs_of(read_history(tmp_path), "a")] == [0, 2]


@pytest.mark.parametrize("row", ["a,0,zero,0.1", ",0,0,0.1", "a,0,0,"])
def test_damaged_history_is_one_clear_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "history.csv").write_text(f"arm,seed,epoch,lr\n{row}\n")
    with pytest.raises(UnderstudyError, match=r"history\.csv is not a history of a run; delete it"):
        read_history(tmp_path)
