"""--track: checked before anything else, and written into the run's folder."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.worlds import SeenEvents

from understudy.cli import main
from understudy.cli.tracking import followed
from understudy.events import EpochResult
from understudy.runs.history import read_history

EPOCH = EpochResult(0, 0.1, {"ce": 1.0, "loss": 1.0}, 0.5, 0.9, 0.6, 1.0, 24.0)


@pytest.mark.parametrize("command", ["run", "train", "sweep"])
def test_unknown_tracker_is_refused_before_the_recipe_is_read(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "no-such-recipe", "--track", "csv,wandb"]) == 2
    assert capsys.readouterr().err == (
        "error: unknown tracker 'wandb': there are csv, tensorboard, mlflow\n"
    )


def test_display_and_trackers_see_the_same(tmp_path: Path) -> None:
    seen = SeenEvents()
    with followed(seen, ["csv"], tmp_path, "run") as observer:
        observer.epoch(EPOCH, "distilled-seed3")
        accuracy = SimpleNamespace(accuracy=0.5)
        result = SimpleNamespace(seed=3, val=accuracy, test=None)
        observer.finish("distilled", [result])  # type: ignore[list-item]
    assert seen.epochs == [("distilled-seed3", EPOCH)]
    (tmp_path / "tracking" / "csv" / "distilled-seed3.csv").rename(tmp_path / "history.csv")
    assert [row.seed for row in read_history(tmp_path)] == [3]


def test_other_ranks_and_plain_runs_track_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with followed(SeenEvents(), ["csv"], tmp_path, "run") as observer:
        observer.epoch(EPOCH, "a")
    monkeypatch.delenv("RANK")
    with followed(SeenEvents(), [], tmp_path, "run") as observer:
        observer.epoch(EPOCH, "a")
        observer.finish("a", [])
    assert list(tmp_path.iterdir()) == []
