"""What Optuna does not document, as it was seen in Optuna 5.0.0 with SQLAlchemy 2.1.9.

A newer version that changes one of these fails here, and not in the middle of a sweep.
"""

import inspect
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

import optuna

from understudy.errors import UnderstudyError
from understudy.sweep.optuna_study import (
    Heartbeats,
    ids_with_heartbeat,
    join_or_create_study,
    make_distribution,
    make_pruner,
    open_storage,
    quiet,
    resume_trial,
    suggest,
    to_stored,
    trial_id,
)
from understudy.sweep.space import Choice, Range


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Any]:
    opened = open_storage(optuna, f"sqlite:///{tmp_path / 'study.db'}", 60)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


def study_in(storage: Any, driver: str = "here", identity: str = "sweep") -> Any:
    pruner = make_pruner(optuna, "none", 3)
    return join_or_create_study(optuna, storage, "study", {"of": identity}, driver, pruner)


def ask(study: Any) -> Any:
    with quiet(optuna):
        return study.ask()


def test_trial_has_the_databases_number_frozen_or_not(storage: Any):
    ask(optuna.create_study(study_name="first", storage=storage))
    study = study_in(storage)
    trial = ask(study)
    (frozen,) = study.get_trials(deepcopy=False)
    assert (trial.number, frozen.number) == (0, 0)
    assert trial_id(trial) == trial_id(frozen) == 2, "the second in the database"


def test_signs_of_life_are_in_a_table_of_their_own(storage: Any, tmp_path: Path):
    study = study_in(storage)
    silent, alive = ask(study), ask(study)
    storage.record_heartbeat(trial_id(alive))
    assert ids_with_heartbeat(storage) == {trial_id(alive)}
    with sqlite3.connect(tmp_path / "study.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(trial_heartbeats)")]
    assert {"trial_id", "heartbeat"} <= set(columns)
    assert trial_id(silent) not in ids_with_heartbeat(storage)


def test_running_trial_is_continued_under_its_number(storage: Any):
    study = study_in(storage)
    trial = ask(study)
    trial.suggest_float("train.lr", 0.0, 1.0)
    again = resume_trial(optuna, study, trial_id(trial))
    assert list(inspect.signature(optuna.trial.Trial).parameters) == ["study", "trial_id"]
    assert again.number == trial.number and again.params == trial.params
    study.tell(again, 0.5)
    assert study.best_value == 0.5


def test_study_has_the_leader_that_created_it(storage: Any):
    assert study_in(storage).user_attrs["leader"] == "here"
    assert study_in(storage, driver="elsewhere").user_attrs["leader"] == "here"
    with pytest.raises(UnderstudyError, match="is of another sweep: give this one a name"):
        study_in(storage, identity="another")


@pytest.mark.slow
def test_study_whose_creator_was_killed_at_once_gets_another_leader(storage: Any):
    optuna.create_study(study_name="study", storage=storage, direction="maximize")
    assert study_in(storage, driver="second").user_attrs["leader"] == "second"
    assert study_in(storage, driver="third").user_attrs["leader"] == "second"


def test_sqlite_appends_to_a_log(storage: Any, tmp_path: Path):
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with storage.engine.connect() as connection:
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    assert synchronous == 1, "NORMAL"


@pytest.mark.parametrize(
    ("dimension", "stored"),
    [
        (Choice("k", ([1], {"a": 2}, None, "x", 3)), ["[1]", '{"a": 2}', None, "x", 3]),
        (Range("k", "int", 1, 3), [1, 2, 3]),
        (Range("k", "float", 0.5, 0.75), None),
    ],
)
def test_value_is_drawn_from_its_dimension(storage: Any, dimension: Any, stored: list[Any] | None):
    study = study_in(storage)
    distribution = make_distribution(optuna, dimension)
    drawn = [suggest(ask(study), dimension, distribution) for _ in range(12)]
    if stored is None:
        assert all(0.5 <= value <= 0.75 for value in drawn) and len(set(drawn)) > 1
    else:
        assert all(value in stored for value in drawn) and len(set(drawn)) > 1


def test_lists_and_sections_are_stored_as_text():
    given = [1, 0.5, True, None, "a", [1, 2], {"b": [3]}]
    assert [to_stored(value) for value in given] == [
        1,
        0.5,
        True,
        None,
        "a",
        "[1, 2]",
        '{"b": [3]}',
    ]


class Recorder:
    """A storage that notes for whom it was given a sign of life, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.ids: list[int] = []
        self.error, self.removed = error, False

    def record_heartbeat(self, id_: int) -> None:
        if self.error is not None:
            raise self.error
        self.ids.append(id_)

    def remove_session(self) -> None:
        self.removed = True


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_only_running_trials_are_kept_alive():
    storage = Recorder()
    heartbeats = Heartbeats(storage, 0.001)
    heartbeats.add(0, 17)
    heartbeats.add(1, 18)
    heartbeats.remove(0)
    wait_until(lambda: 18 in storage.ids)
    storage.ids.clear()
    wait_until(lambda: storage.ids)
    assert heartbeats.ids() == [18] and set(storage.ids) == {18}
    heartbeats.close()
    assert storage.removed and heartbeats.error is None


def test_error_of_the_thread_is_kept_for_the_sweep():
    error = OSError("the database is gone")
    heartbeats = Heartbeats(Recorder(error), 0.001)
    heartbeats.add(0, 17)
    wait_until(lambda: heartbeats.error)
    heartbeats.close()
    assert heartbeats.error is error
