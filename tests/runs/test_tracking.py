"""Trackers get every epoch of every training and the final numbers, and never end a training."""

import sys
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.worlds import SeenEvents

from understudy.errors import UnderstudyError
from understudy.events import EpochResult, NamedObserver
from understudy.runs import tracking as module
from understudy.runs.history import read_history
from understudy.runs.tracking import Tracking, epoch_numbers, tracker_names, tracking

EPOCH = EpochResult(0, 0.1, {"ce": 1.0, "loss": 1.0}, 0.5, 0.9, 0.6, 1.0, 24.0, 0.0, {"gap": 2.0})


def test_names_are_checked_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracker_names(" csv, csv ") == tracker_names(["csv"]) == ("csv",)
    assert tracker_names("") == ()
    monkeypatch.setattr(module, "TRACKERS", {"csv": "", "other": "no_such_package"})
    with pytest.raises(UnderstudyError, match=r"needs no_such_package: pip install 'understudy\[o"):
        tracker_names("csv,other")
    with pytest.raises(UnderstudyError, match="unknown tracker 'cvs': did you mean csv"):
        tracker_names("cvs")


def test_folder_of_the_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "TRACKERS", {"other": "no_such_package"})
    with pytest.raises(UnderstudyError, match="needs no_such_package"):
        tracker_names("other")


def test_every_number_of_an_epoch_has_a_name() -> None:
    assert epoch_numbers(EPOCH) == {
        "train/ce": 1.0,
        "train/loss": 1.0,
        "train/accuracy": 0.5,
        "val/loss": 0.9,
        "val/accuracy": 0.6,
        "lr": 0.1,
        "images_per_second": 24.0,
        "seconds": 1.0,
        "measures/gap": 2.0,
    }


def test_csv_has_a_file_for_each_training(tmp_path: Path) -> None:
    with tracking(["csv"], tmp_path, "run", SeenEvents()) as tracker:
        assert tracker is not None
        for name in ("distilled-seed1", "fold1/teacher-seed0"):
            own = NamedObserver(name, tracker)
            own.epoch(EPOCH)
            own.epoch(replace(EPOCH, epoch=1))
            own.epoch(replace(EPOCH, epoch=1, val_accuracy=0.7))  # repeated after a resume
        tracker.finish("distilled-seed1", {"final/val_accuracy": 0.7})
    (tmp_path / "csv" / "distilled-seed1.csv").rename(tmp_path / "history.csv")
    rows = read_history(tmp_path)
    assert [(row.arm, row.seed, row.epoch.epoch) for row in rows] == [
        ("distilled", 1, 0),
        ("distilled", 1, 1),
    ]
    assert rows[1].epoch.val_accuracy == 0.7
    assert (tmp_path / "csv" / "fold1" / "teacher-seed0.csv").is_file()


def test_nothing_is_written_before_the_first_epoch(tmp_path: Path) -> None:
    folder = tmp_path / "tracking"
    with tracking(["csv"], folder, "run", SeenEvents()):
        pass
    with tracking([], folder, "run", SeenEvents()) as tracker:
        assert tracker is None
    assert not folder.exists()


class Failing:
    def epoch(self, training: str, result: EpochResult, numbers: Mapping[str, float]) -> None:
        raise ConnectionError("no route")

    def finish(self, training: str, numbers: Mapping[str, float]) -> None:
        pytest.fail("called after it failed")

    def close(self) -> None:
        pytest.fail("called after it failed")


def test_tracker_that_fails_is_left_out_with_a_line() -> None:
    seen = SeenEvents()
    tracker = Tracking({"server": Failing()}, seen)
    tracker.epoch(EPOCH, "a")
    tracker.finish("a", {})
    tracker.close()
    assert seen.lines == ["tracking to server has ended: ConnectionError: no route"]


def test_tracker_that_cannot_be_opened_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, experiment: str) -> None:
        raise ConnectionError("no route")

    monkeypatch.setitem(module._OPEN, "csv", refuse)  # type: ignore[arg-type]
    with (
        pytest.raises(UnderstudyError, match=r"cannot track to csv \(ConnectionError: no route\)"),
        tracking(["csv"], tmp_path, "run", SeenEvents()),
    ):
        pass


@pytest.mark.filterwarnings("ignore")  # of tensorboard and protobuf
def test_tensorboard_shows_each_training_as_a_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with tracking(["tensorboard"], tmp_path, "run", SeenEvents()) as tracker:
        assert tracker is not None
        tracker.epoch(EPOCH, "a-seed0")
        tracker.epoch(replace(EPOCH, epoch=1, val_accuracy=0.7), "a-seed0")
        tracker.finish("a-seed0", {"final/test_accuracy": 0.65})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard" / "a-seed0")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("val/accuracy")]
    assert found == [(0, pytest.approx(0.6)), (1, pytest.approx(0.7))]
    assert events.Scalars("final/test_accuracy")[0].step == 1


class FakeClient:
    """MLflow's client, as far as it is used."""

    made: ClassVar[list["FakeClient"]] = []

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self.logged, self.ended = tracking_uri, [], []
        self.made.append(self)

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self.experiment = name, artifact_location
        return "7"

    def create_run(self, experiment: str, run_name: str | None) -> Any:
        info = types.SimpleNamespace(run_id=f"id of {run_name}")
        return types.SimpleNamespace(info=info)

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        self.logged += [(run, *metric) for metric in metrics]

    def set_terminated(self, run: str) -> None:
        self.ended.append(run)


def test_mlflow_has_a_run_for_each_training_in_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    fake.MlflowClient = FakeClient  # type: ignore[attr-defined]
    entities.Metric = lambda name, value, time, step: (name, value, step)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with tracking(["mlflow"], tmp_path / "t", "digits", SeenEvents()) as tracker:
        assert tracker is not None and not (tmp_path / "t").exists()
        tracker.epoch(EPOCH, "a-seed0")
        tracker.epoch(EPOCH, "a-seed1")
        tracker.finish("a-seed0", {"final/val_accuracy": 0.6})
    (client,) = FakeClient.made
    assert client.uri == f"sqlite:///{tmp_path / 't' / 'mlflow.db'}"
    assert client.experiment == ("digits", (tmp_path / "t" / "mlflow-artifacts").as_uri())
    assert ("id of a-seed1", "val/accuracy", 0.6, 0) in client.logged
    assert client.logged[-1] == ("id of a-seed0", "final/val_accuracy", 0.6, 0)
    assert client.ended == ["id of a-seed0", "id of a-seed1"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    with tracking(["mlflow"], tmp_path / "u", "digits", SeenEvents()):
        assert FakeClient.made[1].uri == "http://server:5000"
        assert FakeClient.made[1].experiment == ("digits", None)
    FakeClient.made.clear()
