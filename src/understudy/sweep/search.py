"""Which trial comes next: Optuna behind a queue that is kept in a database.

Every search is a queue of numbered places, filled once by the sweep that made the study: a grid's places hold its cells, a
random search's its draws, and those of TPE are empty until they are taken. So a search never tries a place twice or one too
many, whoever asks, and a finished one has nothing left to give.

A place that a killed sweep had taken is continued by that sweep when it resumes (each knows its own by the ``driver``
beside the trial). Those of a machine that never comes back are noticed by their missing heartbeat and queued again.
"""

import contextlib
import hashlib
import json
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError
from understudy.sweep.space import Choice, Dimension, Range, grid_cells

SEARCHES = ("grid", "random", "tpe")
PRUNERS = ("none", "median", "hyperband")
_SEED = 0
_RETRIES = 2
"""How often a trial is queued again after its machine has fallen silent."""


@dataclass(frozen=True)
class Plan:
    """What is searched, and how.

    Attributes:
        space: the dimensions.
        search: ``grid``, ``random`` or ``tpe``.
        pruner: ``none``, ``median`` or ``hyperband``.
        trials: how many.
        epochs: of a training; what Hyperband divides.
    """

    space: tuple[Dimension, ...]
    search: str
    pruner: str
    trials: int
    epochs: int


@dataclass(frozen=True)
class Taken:
    """A trial that this sweep is to carry out."""

    number: int
    values: dict[str, Any]
    trial: Any


@dataclass(frozen=True)
class Record:
    """What the study knows about a trial.

    Attributes:
        number: its place in the queue.
        values: dotted key -> value.
        state: ``complete``, ``pruned``, ``failed`` or ``running``.
        reason: why it is not complete.
        runs: one entry per finished training.
        value: mean accuracy on validation; ``None`` unless complete.
    """

    number: int
    values: dict[str, Any]
    state: str
    reason: str | None
    runs: list[dict[str, Any]]
    value: float | None


def make_plan(
    space: Sequence[Dimension], search: str, pruner: str, trials: int | None, epochs: int
) -> Plan:
    """Check what was asked for.

    Raises:
        UnderstudyError: for an unknown search or pruner, or a number of trials that does not go with the search.
    """
    if search not in SEARCHES:
        raise UnderstudyError(f"unknown search {search!r}: there are {', '.join(SEARCHES)}")
    if pruner not in PRUNERS:
        raise UnderstudyError(f"unknown pruner {pruner!r}: there are {', '.join(PRUNERS)}")
    if search == "grid":
        cells = len(grid_cells(space))
        if trials not in (None, cells):
            raise UnderstudyError(
                f"this grid has {cells} cells: --trials is for --search random and tpe"
            )
        return Plan(tuple(space), search, pruner, cells, epochs)
    if trials is None:
        raise UnderstudyError(f"--search {search} needs a number of --trials")
    if trials < 1:
        raise UnderstudyError(f"--trials must be at least 1, not {trials}")
    return Plan(tuple(space), search, pruner, trials, epochs)


def default_storage(folder: Path) -> str:
    """SQLite in the sweep's folder."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def hide_password(url: str) -> str:
    """A database URL as it may be shown."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


class Search:
    """A study, joined or made.

    Args:
        plan: what is searched.
        url: of the database.
        name: of the study: sweeps with the same name and database share it.
        identity: what must agree between all that share it, as plain values.
        driver: of this sweep; the same when it resumes.
        heartbeat: seconds between two signs of life; a trial without one for six times as long is queued again.

    Attributes:
        leads: whether this sweep made the study; the one that opens the test split at the end.

    Raises:
        UnderstudyError: if Optuna is not installed, the database cannot be reached, or the study is of another sweep.
    """

    def __init__(
        self,
        plan: Plan,
        url: str,
        name: str,
        identity: Mapping[str, Any],
        driver: str,
        heartbeat: int = 10,
    ) -> None:
        self.optuna = _import_optuna()
        self.plan, self.driver, self.heartbeat = plan, driver, heartbeat
        self.storage = self._open(url, heartbeat)
        self.study = self._join_or_make(name, dict(identity))
        self.distributions = {d.key: self._distribution(d) for d in plan.space}
        self.leads = self.study.user_attrs.get("leader") == driver
        self.alive: dict[int, int] = {}  # place -> Optuna's id of the trial that this sweep is at
        self.lock = threading.Lock()
        self.leaving = threading.Event()
        self.fault: Exception | None = None
        if self.leads and not self.study.user_attrs.get("queued"):
            self._fill_queue()
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.thread.start()

    def take(self) -> Taken | None:
        """The next trial: one of this sweep's own that was interrupted, else the next in the queue; ``None`` if none waits."""
        with self.lock:
            mine = set(self.alive.values())
        for frozen in self._trials("RUNNING"):
            if frozen.user_attrs.get("driver") == self.driver and frozen._trial_id not in mine:
                return self._hold(self.optuna.trial.Trial(self.study, frozen._trial_id))
        if not self._trials("WAITING"):
            return None  # before asking: Optuna would make up a trial of its own
        self.study.sampler = self._sampler()
        with _quiet(self.optuna):
            trial = self.study.ask()
        if "number" not in trial.user_attrs:
            # Another sweep was faster, the queue had run empty, and Optuna made a trial up.
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            return None
        return self._hold(trial)

    def left(self) -> int:
        """How many trials are still waiting or running, here or elsewhere."""
        if not self.study.user_attrs.get("queued"):
            return self.plan.trials
        return len(self._trials("WAITING", "RUNNING"))

    def revive(self) -> None:
        """Queue again what machines that have fallen silent had taken; raise what the heartbeat met.

        One that died between taking a trial and its first sign of life has given none, and Optuna would wait for it without
        end: it gets one from here, from which on it is silent.
        """
        if self.fault is not None:
            raise UnderstudyError(
                f"the study's database does not answer: {_first_line(self.fault)}"
            ) from self.fault
        for trial_id in {frozen._trial_id for frozen in self._trials("RUNNING")} - self._heard_of():
            self.storage.record_heartbeat(trial_id)
        with _quiet(self.optuna):
            self.optuna.storages.fail_stale_trials(self.study)

    def report(self, taken: Taken, epoch: int, accuracy: float) -> bool:
        """Note a trial's validation accuracy after an epoch, once; whether the trial should end here."""
        if epoch not in self.storage.get_trial(taken.trial._trial_id).intermediate_values:
            taken.trial.report(accuracy, epoch)
        return bool(taken.trial.should_prune())

    def complete(self, taken: Taken, runs: list[dict[str, Any]], value: float) -> None:
        """A trial has come through."""
        taken.trial.set_user_attr("runs", runs)
        self._tell(taken, "COMPLETE", value)

    def give_up(self, taken: Taken, state: str, reason: str, runs: list[dict[str, Any]]) -> None:
        """A trial has ended early: ``pruned`` or ``failed``."""
        taken.trial.set_user_attr("runs", runs)
        taken.trial.set_user_attr("reason", reason)
        self._tell(taken, {"pruned": "PRUNED", "failed": "FAIL"}[state], None)

    def records(self) -> list[Record]:
        """All trials that were begun, by number; of one that was queued again, the last attempt."""
        latest: dict[int, Any] = {}
        for frozen in self._trials("COMPLETE", "PRUNED", "FAIL", "RUNNING"):
            if "number" in frozen.user_attrs and frozen.params.keys() == self.distributions.keys():
                latest[frozen.user_attrs["number"]] = frozen  # in the order of their making
        return [self._record(number, latest[number]) for number in sorted(latest)]

    def importance(self) -> dict[str, float] | None:
        """Each dimension's share in how much trials differ (fANOVA, Hutter 2014); ``None`` where there is too little to tell."""
        complete = self._trials("COMPLETE")
        if len(complete) < 4 or len({t.value for t in complete}) < 2:
            return None
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
        shares = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {d.key: float(shares.get(d.key, 0.0)) for d in self.plan.space}

    def note(self, key: str, value: Any) -> None:
        """Keep something beside the study for all that share it."""
        self.study.set_user_attr(key, value)

    def noted(self) -> dict[str, Any]:
        """What was kept."""
        return dict(self.study.user_attrs)

    def close(self) -> None:
        """End the signs of life and the connection."""
        self.leaving.set()
        self.thread.join()
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _open(self, url: str, heartbeat: int) -> Any:
        from sqlalchemy import event
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        again = self.optuna.storages.RetryHeartbeatStaleTrialCallback
        options = (
            {} if url.startswith("sqlite") else {"pool_pre_ping": True}
        )  # a server may have closed an idle connection
        try:
            light = url.startswith("sqlite") and make_url(url).database
            if light:
                _write_ahead(light)
            with _quiet(self.optuna):
                storage = self.optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    grace_period=6 * heartbeat,
                    heartbeat_stale_trial_callback=again(max_retry=_RETRIES),
                )
            if light:
                storage.engine.dispose()  # the connections that made the tables; new ones listen
                event.listen(
                    storage.engine,
                    "connect",
                    lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL"),
                )
            return storage
        except (SQLAlchemyError, ImportError, ValueError, RuntimeError, sqlite3.Error) as error:
            shown = url.split("://")[0] + "://..." if "@" in url else url
            raise UnderstudyError(
                f"cannot use the database {shown}: {_first_line(error)}"
            ) from error

    def _join_or_make(self, name: str, identity: dict[str, Any]) -> Any:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        options = {"storage": self.storage, "pruner": self._pruner()}
        try:
            study = self.optuna.create_study(study_name=name, direction="maximize", **options)
        except self.optuna.exceptions.DuplicatedStudyError:
            study = self.optuna.load_study(study_name=name, **options)
            found = study.user_attrs.get("identity")
            if found not in (None, digest):
                raise UnderstudyError(
                    f"the study {name!r} in this database is of another sweep: give this one a name of its own by name=..."
                ) from None
            if (
                found is None
                and study.user_attrs.get("leader") is None
                and not study.get_trials(deepcopy=False)
            ):
                study.set_user_attr(
                    "leader", self.driver
                )  # its maker was killed before it could sign
                study.set_user_attr("identity", digest)
            return study
        study.set_user_attr("leader", self.driver)
        study.set_user_attr("identity", digest)
        return study

    def _fill_queue(self) -> None:
        """Put every place into the queue once, also where an earlier attempt was killed in between."""
        there = {t.user_attrs.get("number") for t in self.study.get_trials(deepcopy=False)}
        for number, values in enumerate(self._places()):
            if number not in there:
                fixed = {key: _stored(value) for key, value in values.items()}
                self.study.enqueue_trial(fixed, user_attrs={"number": number})
        self.study.set_user_attr("queued", True)

    def _places(self) -> list[dict[str, Any]]:
        if self.plan.search == "grid":
            return grid_cells(self.plan.space)
        if self.plan.search == "tpe":
            return [{} for _ in range(self.plan.trials)]
        draws = self.optuna.create_study(sampler=self.optuna.samplers.RandomSampler(seed=_SEED))
        places: list[dict[str, Any]] = []
        for _ in range(
            100 * self.plan.trials
        ):  # drawn without repetition, as far as there are that many
            drawn = {k: self._value(k, v) for k, v in draws.ask(self.distributions).params.items()}
            if drawn not in places:
                places.append(drawn)
            if len(places) == self.plan.trials:
                return places
        raise UnderstudyError(
            f"the space has only about {len(places)} different trials: lower --trials, or use --search grid"
        )

    def _hold(self, trial: Any) -> Taken:
        """Sign a trial, give its first sign of life, and fill in what is still open."""
        self.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr("driver", self.driver)
        values = {}
        for dimension in self.plan.space:
            key = dimension.key
            distribution = self.distributions[key]
            if isinstance(dimension, Choice):
                values[key] = self._value(key, trial.suggest_categorical(key, distribution.choices))
            elif dimension.kind == "int":
                values[key] = trial.suggest_int(
                    key, int(dimension.low), int(dimension.high), log=dimension.log
                )
            else:
                values[key] = trial.suggest_float(
                    key, dimension.low, dimension.high, log=dimension.log
                )
        number = trial.user_attrs["number"]
        with self.lock:
            self.alive[number] = trial._trial_id
        return Taken(number, values, trial)

    def _tell(self, taken: Taken, state: str, value: float | None) -> None:
        with self.lock:
            self.alive.pop(taken.number, None)
        # Finished already where this machine had been silent for so long that the trial was given to another.
        self.study.tell(
            taken.trial, value, state=self.optuna.trial.TrialState[state], skip_if_finished=True
        )

    def _beat(self) -> None:
        while not self.leaving.wait(self.heartbeat):
            with self.lock:
                ids = list(self.alive.values())
            try:
                for trial_id in ids:
                    self.storage.record_heartbeat(trial_id)
            except Exception as error:  # told by `revive`, in the thread that can end the sweep
                self.fault = error
                return
        self.storage.remove_session()

    def _heard_of(self) -> set[int]:
        """Optuna's ids of the trials that have ever given a sign of life."""
        from sqlalchemy import text

        with self.storage.engine.connect() as connection:
            return set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())

    def _trials(self, *states: str) -> list[Any]:
        wanted = tuple(self.optuna.trial.TrialState[state] for state in states)
        return list(self.study.get_trials(deepcopy=False, states=wanted))

    def _record(self, number: int, frozen: Any) -> Record:
        state = {
            "COMPLETE": "complete",
            "PRUNED": "pruned",
            "FAIL": "failed",
            "RUNNING": "running",
        }[frozen.state.name]
        reason = frozen.user_attrs.get("reason")
        if state == "failed" and reason is None:
            reason = f"the machine that trained it fell silent {_RETRIES + 1} times"
        values = {d.key: self._value(d.key, frozen.params[d.key]) for d in self.plan.space}
        return Record(
            number, values, state, reason, frozen.user_attrs.get("runs", []), frozen.value
        )

    def _value(self, key: str, stored: Any) -> Any:
        """A parameter as the recipe wants it."""
        dimension = next(d for d in self.plan.space if d.key == key)
        if isinstance(dimension, Range):
            return stored
        return next(value for value in dimension.values if _stored(value) == stored)

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self.optuna.distributions
        if isinstance(dimension, Choice):
            return kinds.CategoricalDistribution([_stored(value) for value in dimension.values])
        if dimension.kind == "int":
            return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)

    def _sampler(self) -> Any:
        if self.plan.search != "tpe":
            return self.optuna.samplers.RandomSampler(
                seed=_SEED
            )  # never asked: every place is filled
        # Seeded by how far the queue is, so that a resumed search draws what it would have drawn.
        taken = self.plan.trials - len(self._trials("WAITING"))
        return self.optuna.samplers.TPESampler(
            seed=_SEED + taken, constant_liar=True, n_startup_trials=min(10, self.plan.trials // 2)
        )

    def _pruner(self) -> Any:
        if self.plan.pruner == "median":
            return self.optuna.pruners.MedianPruner(
                n_startup_trials=3, n_warmup_steps=self.plan.epochs // 5
            )
        if self.plan.pruner == "hyperband":
            return self.optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=self.plan.epochs
            )
        return self.optuna.pruners.NopPruner()


def _stored(value: Any) -> Any:
    """What Optuna keeps: scalars as they are, lists and sections as JSON text."""
    return (
        value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)
    )


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UnderstudyError("sweeps need Optuna: pip install 'understudy[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Heartbeats are marked experimental, and meant for Optuna's own loop; here :class:`Search` gives them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _write_ahead(path: str) -> None:
    """Make SQLite append to a log, with one wait for the disk now and then: by default it waits several times per change.

    A killed process loses nothing by it; a power cut loses the last trials' ends at most, which are read from their folders.
    """
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
