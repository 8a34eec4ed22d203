"""The queue in a database: each place is taken once, by whoever asks, also after a kill; a finished
one gives nothing."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from understudy.errors import UnderstudyError
from understudy.sweep.optuna_study import Heartbeats, quiet, trial_id
from understudy.sweep.search import (
    Search,
    SearchSpec,
    default_storage,
    hide_password,
    make_search_spec,
)
from understudy.sweep.space import make_space

GRID = make_search_spec(
    make_space({"method.temperature": [1, 2], "train.step_milestones": [[1], [2]]}),
    "grid",
    "none",
    None,
    3,
)


def join(folder: Path, plan: SearchSpec = GRID, driver: str = "here", **options: Any) -> Search:
    return Search(plan, default_storage(folder), "study", {"plan": plan.search}, driver, **options)


def drain(search: Search) -> list[dict[str, Any]]:
    """Take all, each worth its number."""
    seen = []
    while taken := search.take():
        seen.append(taken.values)
        search.complete(taken, [], float(taken.number))
    return seen


def test_a_grid_is_walked_once_in_order(tmp_path: Path):
    search = join(tmp_path)
    assert drain(search) == [
        {"method.temperature": t, "train.step_milestones": m} for t in (1, 2) for m in ([1], [2])
    ]
    search.close()
    again = join(tmp_path)
    assert again.take() is None and again.left() == 0
    assert [(r.number, r.state, r.value) for r in again.records()] == [
        (n, "complete", float(n)) for n in range(4)
    ]
    assert again.records()[1].values == {"method.temperature": 1, "train.step_milestones": [2]}
    again.close()


@pytest.mark.slow
def test_only_a_killed_sweep_takes_its_own_trials_up_again(tmp_path: Path):
    program = f"""
import os, signal
from pathlib import Path
from tests.sweep.test_search import join
search = join(Path({str(tmp_path)!r}))
search.take()
search.report(search.take(), 0, 0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False
        ).returncode
        == -9
    )
    other = join(tmp_path, driver="elsewhere")
    assert not other.is_leader
    assert other.take().number == 2
    mine = join(tmp_path)
    assert mine.is_leader
    assert [mine.take().number for _ in range(3)] == [0, 1, 3]
    assert mine.take() is None and mine.left() == 4
    mine.close(), other.close()


def test_a_trial_of_a_silent_machine_is_queued_again(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Heartbeats, "_loop", lambda self: None)
    silent = join(tmp_path, driver="gone", heartbeat=1)
    assert silent.take().number == 0
    with sqlite3.connect(tmp_path / "study.db") as database:  # long ago
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    other = join(tmp_path, driver="elsewhere", heartbeat=1)
    other.requeue_lost()
    assert other.left() == 4
    assert sorted(v["method.temperature"] for v in drain(other)) == [1, 1, 2, 2]
    assert [(r.number, r.state) for r in other.records()] == [(n, "complete") for n in range(4)]
    silent.close(), other.close()


def test_a_trial_without_any_sign_of_life_is_queued_again(tmp_path: Path, monkeypatch):
    """Optuna leaves out of account whoever has never been heard of: such a trial would be waited
    for without end."""
    monkeypatch.setattr(Heartbeats, "_loop", lambda self: None)
    silent = join(tmp_path, driver="gone", heartbeat=1)
    with quiet(silent.optuna):
        silent.study.ask()  # and then the lights went out
    other = join(tmp_path, driver="elsewhere", heartbeat=1)
    other.requeue_lost()
    with sqlite3.connect(tmp_path / "study.db") as database:
        ids = database.execute("SELECT trial_id FROM trial_heartbeats").fetchall()
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    assert len(ids) == 1, "one was given in its stead"
    other.requeue_lost()
    assert (
        sorted(v["method.temperature"] for v in drain(other)) == [1, 1, 2, 2] and other.left() == 0
    )
    silent.close(), other.close()


def test_an_ended_trial_gives_no_more_signs_of_life(tmp_path: Path):
    search = join(tmp_path)
    ended, running = search.take(), search.take()
    search.complete(ended, [], 0.5)
    assert search.heartbeats.ids() == [trial_id(running.trial)]
    search.close()


def test_a_trial_that_was_lost_meanwhile_is_left_to_others(tmp_path: Path, monkeypatch):
    """A machine that slept for too long goes on; its trial has been queued again by then."""
    monkeypatch.setattr(Heartbeats, "_loop", lambda self: None)
    slept = join(tmp_path, driver="slept", heartbeat=1)
    trials = [slept.take() for _ in range(2)]
    with sqlite3.connect(tmp_path / "study.db") as database:  # long ago
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    other = join(tmp_path, driver="elsewhere", heartbeat=1)
    other.requeue_lost()
    slept.report(trials[0], 0, 0.5)
    slept.complete(trials[0], [], 0.5)
    slept.give_up(trials[1], "failed", "no luck", [])
    assert slept.heartbeats.ids() == [] and other.left() == 4
    drain(other)
    assert [(r.number, r.state, r.value) for r in slept.records()] == [
        (n, "complete", float(n)) for n in range(4)
    ]
    slept.close(), other.close()


def test_a_trial_that_ends_between_two_writes_is_left_alone(tmp_path: Path, monkeypatch):
    search, other = join(tmp_path), join(tmp_path, driver="elsewhere")
    late = search.take()
    write = late.trial.set_user_attr

    def write_and_lose(key: str, value: Any) -> None:
        write(key, value)
        other.study.tell(late.trial.number, 0.25)

    monkeypatch.setattr(late.trial, "set_user_attr", write_and_lose)
    search.complete(late, [], 0.75)
    assert search.records()[0].value == 0.25
    search.close(), other.close()


def test_random_draws_are_distinct_and_repeatable(tmp_path: Path):
    space = make_space(
        {"train.lr": "log:1e-4..1e-2", "train.epochs": "1..9", "method.temperature": [1, 2]}
    )
    plan = make_search_spec(space, "random", "none", 6, 3)
    seen = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        search = join(folder, plan)
        seen.append(drain(search))
        search.close()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 6 and all(
        1e-4 <= v["train.lr"] <= 1e-2 and 1 <= v["train.epochs"] <= 9 for v in seen[0]
    )
    small = make_search_spec(make_space({"train.epochs": "1..3"}), "random", "none", 4, 3)
    (tmp_path / "c").mkdir()
    with pytest.raises(UnderstudyError, match="about 3 different trials"):
        join(tmp_path / "c", small)


def test_tpe_goes_on_after_a_stop_with_what_it_would_have_drawn(tmp_path: Path):
    plan = make_search_spec(make_space({"train.lr": "log:1e-4..1e-2"}), "tpe", "none", 8, 3)
    (tmp_path / "whole").mkdir()
    whole = join(tmp_path / "whole", plan)
    expected = drain(whole)
    whole.close()
    seen = []
    for take in (3, 8):
        search = join(tmp_path, plan)
        for _ in range(take):
            if taken := search.take():
                seen.append(taken.values)
                search.complete(taken, [], float(taken.number))
        search.close()
    assert seen == expected and len(seen) == 8


def test_the_median_pruner_ends_what_lags_behind(tmp_path: Path):
    plan = make_search_spec(make_space({"train.lr": "0.1..0.9"}), "random", "median", 4, 4)
    search = join(tmp_path, plan)
    for _ in range(3):
        good = search.take()
        assert not any(search.report(good, epoch, 0.8) for epoch in range(4))
        search.complete(good, [], 0.8)
    bad = search.take()
    assert search.report(bad, 0, 0.1) and search.report(bad, 0, 0.1), (
        "an epoch may be told again after a resume"
    )
    search.give_up(bad, "pruned", "too low", [])
    assert [(r.state, r.reason) for r in search.records()][3] == ("pruned", "too low")
    search.close()


def test_a_logarithmic_range_is_drawn_by_ratios(tmp_path: Path):
    """Of a range over four decades half of the draws lie below the middle one; of equal differences
    one in a hundred would."""
    plan = make_search_spec(
        make_space({"train.lr": "log:1e-4..1.0", "train.epochs": "log:1..10000"}),
        "random",
        "none",
        10,
        3,
    )
    search = join(tmp_path, plan)
    drawn = drain(search)
    search.close()
    assert (
        sum(v["train.lr"] < 1e-2 for v in drawn) >= 2
        and sum(v["train.epochs"] < 100 for v in drawn) >= 2
    )
    (tmp_path / "plain").mkdir()
    search = join(
        tmp_path / "plain",
        make_search_spec(make_space({"train.lr": "0.0001..1.0"}), "random", "none", 6, 3),
    )
    assert sum(v["train.lr"] < 1e-2 for v in drain(search)) <= 1
    search.close()


def test_the_median_pruner_waits_for_trials_and_epochs(
    tmp_path: Path,
):
    plan = make_search_spec(make_space({"train.lr": "0.1..0.9"}), "random", "median", 5, 10)
    search = join(tmp_path, plan)
    for accuracy in (0.8, 0.1, 0.9):
        taken = search.take()
        assert not any(search.report(taken, epoch, accuracy) for epoch in range(10)), (
            "fewer than three are through"
        )
        search.complete(taken, [], accuracy)
    bad = search.take()
    assert [search.report(bad, epoch, 0.2) for epoch in range(4)] == [False, False, True, True]
    search.give_up(bad, "pruned", "too low", [])
    good = search.take()
    assert not any(search.report(good, epoch, 0.85) for epoch in range(10)), "above the median"
    search.close()


def test_without_a_pruner_no_trial_ends_early(tmp_path: Path):
    search = join(
        tmp_path, make_search_spec(make_space({"train.lr": "0.1..0.9"}), "random", "none", 5, 10)
    )
    for accuracy in (0.9, 0.9, 0.9, 0.9, 0.0):
        taken = search.take()
        assert not any(search.report(taken, epoch, accuracy) for epoch in range(10))
        search.complete(taken, [], accuracy)
    search.close()


def test_what_is_known_of_a_trial_is_its_state_runs_and_reason(tmp_path: Path):
    search = join(tmp_path)
    done, failed, pruned, running = (search.take() for _ in range(4))
    runs = [{"seed": 0, "val": {"accuracy": 0.25}}]
    search.complete(done, runs * 2, 0.25)
    search.give_up(failed, "failed", "no luck", [])
    search.give_up(pruned, "pruned", "too low", runs)
    assert [(r.number, r.state, r.reason, r.runs, r.value) for r in search.records()] == [
        (0, "complete", None, runs * 2, 0.25),
        (1, "failed", "no luck", [], None),
        (2, "pruned", "too low", runs, None),
        (3, "running", None, [], None),
    ]
    assert running.number == 3 and search.left() == 1 and search.take() is None
    search.set_attr("teacher", "abc")
    assert search.attrs()["teacher"] == "abc"
    search.close()


@pytest.mark.parametrize(
    ("values", "told"), [([1.0, 2.0, 3.0], False), ([0.5] * 4, False), ([0.5] * 3 + [0.6], True)]
)
def test_importance_needs_four_trials_that_differ(tmp_path: Path, values: list[float], told: bool):
    search = join(tmp_path)
    for value in values:
        search.complete(search.take(), [], value)
    assert (search.importance() is not None) == told
    search.close()


def test_importance_names_what_matters(tmp_path: Path):
    plan = make_search_spec(
        make_space({"train.lr": [1.0, 2.0, 3.0], "method.temperature": [1, 2]}),
        "grid",
        "none",
        None,
        3,
    )
    search = join(tmp_path, plan)
    assert search.importance() is None
    while taken := search.take():
        search.complete(taken, [], taken.values["train.lr"])
    shares = search.importance()
    assert shares["train.lr"] > 0.9 and sum(shares.values()) == pytest.approx(1)
    search.close()


def test_a_study_of_another_sweep_is_refused(tmp_path: Path):
    join(tmp_path).close()
    with pytest.raises(UnderstudyError, match="of another sweep"):
        Search(GRID, default_storage(tmp_path), "study", {"plan": "another"}, "here")


@pytest.mark.parametrize(
    "url",
    [
        "no url",
        "nosuchdatabase://x/y",
        "sqlite:////nowhere/at/all.db",
        "postgresql+psycopg://a:secret@127.0.0.1:1/x",
    ],
)
def test_an_unusable_database_gets_one_line_and_no_password(url: str):
    with pytest.raises(UnderstudyError, match="cannot use the database") as caught:
        Search(GRID, url, "study", {}, "here")
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_passwords_are_hidden():
    assert (
        hide_password("postgresql+psycopg://me:secret@host/db")
        == "postgresql+psycopg://me:***@host/db"
    )


@pytest.mark.parametrize(
    ("search", "pruner", "trials", "says"),
    [
        ("gird", "none", None, "unknown search"),
        ("grid", "medium", None, "unknown pruner"),
        ("grid", "none", 3, "4 cells"),
        ("tpe", "none", None, "needs a number"),
        ("random", "none", 0, "at least 1"),
    ],
)
def test_plans_that_make_no_sense_are_refused(
    search: str, pruner: str, trials: int | None, says: str
):
    with pytest.raises(UnderstudyError, match=says):
        make_search_spec(GRID.space, search, pruner, trials, 3)


def test_a_plan_has_as_many_trials_as_cells_or_as_requested():
    assert (
        make_search_spec(GRID.space, "grid", "none", None, 3)
        == make_search_spec(GRID.space, "grid", "none", 4, 3)
        == GRID
    )
    assert (GRID.trials, GRID.epochs, GRID.search, GRID.pruner) == (4, 3, "grid", "none")
    assert make_search_spec(GRID.space, "random", "median", 1, 5) == SearchSpec(
        GRID.space, "random", "median", 1, 5
    )
