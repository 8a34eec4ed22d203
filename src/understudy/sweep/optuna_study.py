"""Optuna behind one door: storage, trials by number, signs of life, samplers and pruners.

Everything that Optuna does not document is fenced in a function here;
tests/sweep/test_optuna_study.py names the versions that it was seen in.
"""

import contextlib
import hashlib
import json
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from understudy.errors import UnderstudyError
from understudy.sweep.space import Choice, Dimension

MAX_REQUEUES = 2
"""How often a trial is queued again after its machine has stopped giving signs of life."""
_GRACE = 6
"""Heartbeats that a trial may miss before it is queued again."""


def import_optuna() -> Any:
    """The module, with its logging reduced to warnings.

    Raises:
        UnderstudyError: if it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UnderstudyError("sweeps need Optuna: pip install 'understudy[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextlib.contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """No warnings about heartbeats: Optuna calls them experimental and expects its own loop to send
    them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


# What Optuna does not document.


def trial_id(trial: Any) -> int:
    """The database's number of a trial (frozen or not); ``trial.number`` counts within the
    study."""
    return int(trial._trial_id)


def ids_with_heartbeat(storage: Any) -> set[int]:
    """:func:`trial_id` of every trial of the database that has ever given a sign of life."""
    from sqlalchemy import text

    with storage.engine.connect() as connection:
        return set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())


def resume_trial(optuna: Any, study: Any, number: int) -> Any:
    """The running trial of this :func:`trial_id`, to be continued."""
    return optuna.trial.Trial(study, number)


# The database.


def open_storage(optuna: Any, url: str, heartbeat: int) -> Any:
    """Connect to a study's database; trials without a sign of life are queued again.

    Args:
        optuna: the module.
        url: SQLAlchemy's form, such as ``sqlite:///study.db``.
        heartbeat: seconds between two signs of life.

    Raises:
        UnderstudyError: if the database cannot be used; its password is not shown.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return _storage(optuna, url, heartbeat)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError, sqlite3.Error) as error:
        shown = url.split("://")[0] + "://..." if "@" in url else url
        raise UnderstudyError(f"cannot use the database {shown}: {first_line(error)}") from error


def _storage(optuna: Any, url: str, heartbeat: int) -> Any:
    from sqlalchemy import event
    from sqlalchemy.engine import make_url

    is_sqlite = url.startswith("sqlite")
    file = make_url(url).database if is_sqlite else None
    if file:
        _use_write_ahead_log(file)
    with quiet(optuna):
        retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_REQUEUES)
        storage = optuna.storages.RDBStorage(
            url,
            # A server may have closed an idle connection.
            engine_kwargs={} if is_sqlite else {"pool_pre_ping": True},
            heartbeat_interval=heartbeat,
            grace_period=_GRACE * heartbeat,
            heartbeat_stale_trial_callback=retry,
        )
    if file:
        storage.engine.dispose()  # the connections that made the tables: new ones get the pragma
        event.listen(storage.engine, "connect", _synchronise_less)
    return storage


def _use_write_ahead_log(file: str) -> None:
    """Make SQLite append to a log and wait for the disk now and then, not several times per change.

    A killed process loses nothing by it; a power cut loses at most the ends of the last trials,
    which are read again from their folders.
    """
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _synchronise_less(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def first_line(error: BaseException) -> str:
    """The first line of an error's message: SQLAlchemy adds the statement and a link."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


# The study.


def join_or_create_study(
    optuna: Any, storage: Any, name: str, identity: Mapping[str, Any], driver: str, pruner: Any
) -> Any:
    """The study of that name. The driver that creates it becomes its leader.

    Args:
        optuna: the module.
        storage: the database.
        name: of the study.
        identity: what all drivers that share it must agree on, as plain values.
        driver: of this sweep.
        pruner: Optuna's.

    Raises:
        UnderstudyError: if the study belongs to another sweep.
    """
    digest = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
    options = {"study_name": name, "storage": storage, "pruner": pruner}
    try:
        study = optuna.create_study(direction="maximize", **options)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(**options)
        found = study.user_attrs.get("identity")
        if found not in (None, digest):
            raise UnderstudyError(
                f"the study {name!r} in this database is of another sweep: "
                "give this one a name of its own by name=..."
            ) from None
        if found is not None or not _is_abandoned(study):
            return study
    study.set_user_attr("leader", driver)
    study.set_user_attr("identity", digest)
    return study


def _is_abandoned(study: Any) -> bool:
    """Whether it was created by a process that was killed before it had written anything else."""
    return study.user_attrs.get("leader") is None and not study.get_trials(deepcopy=False)


def make_pruner(optuna: Any, name: str, epochs: int) -> Any:
    """Optuna's ``median`` or ``hyperband`` pruner for trainings of so many epochs, otherwise one
    that never prunes."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=epochs // 5)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    return optuna.pruners.NopPruner()


def make_distribution(optuna: Any, dimension: Dimension) -> Any:
    """Optuna's form of a dimension."""
    kinds = optuna.distributions
    if isinstance(dimension, Choice):
        return kinds.CategoricalDistribution([to_stored(value) for value in dimension.values])
    if dimension.kind == "int":
        return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def suggest(trial: Any, dimension: Dimension, distribution: Any) -> Any:
    """A trial's stored value of a dimension: the one it was queued with, or one that its sampler
    draws now."""
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(dimension.key, distribution.choices)
    if dimension.kind == "int":
        low, high = int(dimension.low), int(dimension.high)
        return trial.suggest_int(dimension.key, low, high, log=dimension.log)
    return trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.log)


def to_stored(value: Any) -> Any:
    """A value as Optuna can store it: scalars unchanged, lists and sections as JSON text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return json.dumps(value)


class Heartbeats:
    """Signs of life for the trials that this sweep works on, sent by a thread.

    Args:
        storage: the database.
        seconds: between two signs.

    Attributes:
        error: why the thread has ended early; ``None`` as long as it runs.
    """

    def __init__(self, storage: Any, seconds: float) -> None:
        self.storage, self.seconds = storage, seconds
        self.error: Exception | None = None
        self._ids: dict[int, int] = {}  # the trial's number in the queue -> its trial_id
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)
        self._thread.start()

    def add(self, number: int, id_: int) -> None:
        """Keep a trial alive from now on."""
        with self._lock:
            self._ids[number] = id_

    def remove(self, number: int) -> None:
        """A trial has ended."""
        with self._lock:
            self._ids.pop(number, None)

    def ids(self) -> list[int]:
        """:func:`trial_id` of the trials that are still alive."""
        with self._lock:
            return list(self._ids.values())

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._closing.wait(self.seconds):
            try:
                for id_ in self.ids():
                    self.storage.record_heartbeat(id_)
            except Exception as error:  # raised in the main thread, which can end the sweep
                self.error = error
                return
        self.storage.remove_session()
