"""Which trial comes next: a queue in a database, shared by all machines that work on a sweep.

Every search is a queue of numbered places, filled once by the sweep that created the study: a
grid's places hold its cells, a random search's its draws, and those of TPE are empty until they are
claimed. So no place is tried twice, however many machines share the queue, and a finished search
has nothing left.

A trial that a killed sweep had claimed is continued by that sweep when it resumes (the trial holds
the id of its ``driver``). The trials of a machine that never comes back are noticed by their
missing heartbeat and queued again.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError
from understudy.sweep.optuna_study import (
    MAX_REQUEUES,
    Heartbeats,
    first_line,
    ids_with_heartbeat,
    import_optuna,
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
from understudy.sweep.space import Dimension, Range, grid_cells

SEARCHES = ("grid", "random", "tpe")
PRUNERS = ("none", "median", "hyperband")
_SEED = 0
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


@dataclass(frozen=True)
class SearchSpec:
    """What is searched, and how.

    Attributes:
        space: the dimensions.
        search: ``grid``, ``random`` or ``tpe``.
        pruner: ``none``, ``median`` or ``hyperband``.
        trials: their number.
        epochs: of a training; what Hyperband divides.
    """

    space: tuple[Dimension, ...]
    search: str
    pruner: str
    trials: int
    epochs: int


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that this sweep carries out.

    Attributes:
        number: its place in the queue.
        values: dotted key -> value.
        trial: Optuna's object.
    """

    number: int
    values: dict[str, Any]
    trial: Any


@dataclass(frozen=True)
class Record:
    """What the study holds about a trial.

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


def make_search_spec(
    space: Sequence[Dimension], search: str, pruner: str, trials: int | None, epochs: int
) -> SearchSpec:
    """Check how a space is to be searched.

    Raises:
        UnderstudyError: for an unknown search or pruner, or a number of trials that does not go
        with the search.
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
        return SearchSpec(tuple(space), search, pruner, cells, epochs)
    if trials is None:
        raise UnderstudyError(f"--search {search} needs a number of --trials")
    if trials < 1:
        raise UnderstudyError(f"--trials must be at least 1, not {trials}")
    return SearchSpec(tuple(space), search, pruner, trials, epochs)


def default_storage(folder: Path) -> str:
    """SQLite in the sweep's folder."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def hide_password(url: str) -> str:
    """A database URL as it may be shown."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


class Search:
    """A study, joined or created.

    Args:
        spec: what is searched.
        url: of the database.
        name: of the study: sweeps with the same name and database share it.
        identity: what must agree between all that share it, as plain values.
        driver: id of this sweep; the same when it resumes.
        heartbeat: seconds between two signs of life; a trial without one for six times as long is
            queued again.

    Attributes:
        is_leader: whether this sweep created the study; the leader opens the test split at the end.

    Raises:
        UnderstudyError: if Optuna is not installed, the database cannot be reached, or the study is
        of another sweep.
    """

    def __init__(
        self,
        spec: SearchSpec,
        url: str,
        name: str,
        identity: Mapping[str, Any],
        driver: str,
        heartbeat: int = 10,
    ) -> None:
        self.optuna = import_optuna()
        self.spec, self.driver, self.heartbeat = spec, driver, heartbeat
        self.storage = open_storage(self.optuna, url, heartbeat)
        pruner = make_pruner(self.optuna, spec.pruner, spec.epochs)
        self.study = join_or_create_study(self.optuna, self.storage, name, identity, driver, pruner)
        self.distributions = {d.key: make_distribution(self.optuna, d) for d in spec.space}
        self.is_leader = self.study.user_attrs.get("leader") == driver
        if self.is_leader and not self.study.user_attrs.get("queued"):
            self._fill_queue()
        self.heartbeats = Heartbeats(self.storage, heartbeat)

    def take(self) -> ClaimedTrial | None:
        """The next trial: an interrupted one of this sweep, otherwise the next in the queue;
        ``None`` if none waits."""
        active = self.heartbeats.ids()
        for frozen in self._trials("RUNNING"):
            id_ = trial_id(frozen)
            if frozen.user_attrs.get("driver") == self.driver and id_ not in active:
                return self._claim(resume_trial(self.optuna, self.study, id_))
        if not self._trials("WAITING"):
            return None  # Optuna would invent a trial of its own
        self.study.sampler = self._sampler()
        with quiet(self.optuna):
            trial = self.study.ask()
        if "number" not in trial.user_attrs:
            # Another sweep was faster, the queue was empty, and Optuna has invented a trial.
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            return None
        return self._claim(trial)

    def left(self) -> int:
        """Number of trials that still wait or run, here or elsewhere."""
        if not self.study.user_attrs.get("queued"):
            return self.spec.trials
        return len(self._trials("WAITING", "RUNNING"))

    def requeue_lost(self) -> None:
        """Queue again the trials whose machines have stopped giving signs of life.

        A machine that died between claiming a trial and its first sign of life has never given one,
        and Optuna would wait for it without end: it gets one from here, and after that none.

        Raises:
            UnderstudyError: if this sweep's own heartbeats have failed.
        """
        error = self.heartbeats.error
        if error is not None:
            raise UnderstudyError(
                f"the study's database cannot be reached: {first_line(error)}"
            ) from error
        running = {trial_id(frozen) for frozen in self._trials("RUNNING")}
        for id_ in running - ids_with_heartbeat(self.storage):
            self.storage.record_heartbeat(id_)
        with quiet(self.optuna):
            self.optuna.storages.fail_stale_trials(self.study)

    def report(self, claimed: ClaimedTrial, epoch: int, accuracy: float) -> bool:
        """Record a trial's validation accuracy after an epoch, once; whether the trial should end
        here."""
        known = self.storage.get_trial(trial_id(claimed.trial)).intermediate_values
        if epoch not in known:
            with self._unless_lost():
                claimed.trial.report(accuracy, epoch)
        return bool(claimed.trial.should_prune())

    def complete(self, claimed: ClaimedTrial, runs: list[dict[str, Any]], value: float) -> None:
        """Record a trial with all its trainings, and the value it is compared by."""
        self._end(claimed, "COMPLETE", value, runs=runs)

    def give_up(
        self, claimed: ClaimedTrial, state: str, reason: str, runs: list[dict[str, Any]]
    ) -> None:
        """Record a trial that has ended early: ``pruned`` or ``failed``."""
        end = {"pruned": "PRUNED", "failed": "FAIL"}[state]
        self._end(claimed, end, None, runs=runs, reason=reason)

    def records(self) -> list[Record]:
        """All trials that have been started, by number; of one that was queued again, the last
        attempt."""
        latest: dict[int, Any] = {}
        for frozen in self._trials(*_STATES):
            if "number" in frozen.user_attrs and frozen.params.keys() == self.distributions.keys():
                latest[frozen.user_attrs["number"]] = frozen  # attempts are listed in their order
        return [self._record(number, latest[number]) for number in sorted(latest)]

    def importance(self) -> dict[str, float] | None:
        """Each dimension's share in how much trials differ (fANOVA, Hutter 2014); ``None`` for
        fewer than 4 trials, or equal ones."""
        complete = self._trials("COMPLETE")
        if len(complete) < 4 or len({t.value for t in complete}) < 2:
            return None
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
        shares = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {d.key: float(shares.get(d.key, 0.0)) for d in self.spec.space}

    def set_attr(self, key: str, value: Any) -> None:
        """Store a plain value with the study, for all that share it."""
        self.study.set_user_attr(key, value)

    def attrs(self) -> dict[str, Any]:
        """What is stored with the study."""
        return dict(self.study.user_attrs)

    def close(self) -> None:
        """End the heartbeats and the connection."""
        self.heartbeats.close()
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _fill_queue(self) -> None:
        """Put every place into the queue once, also after an attempt that was killed in between."""
        present = {t.user_attrs.get("number") for t in self.study.get_trials(deepcopy=False)}
        for number, values in enumerate(self._places()):
            if number not in present:
                fixed = {key: to_stored(value) for key, value in values.items()}
                self.study.enqueue_trial(fixed, user_attrs={"number": number})
        self.study.set_user_attr("queued", True)

    def _places(self) -> list[dict[str, Any]]:
        """The values of every place; empty where they are chosen when the place is claimed."""
        if self.spec.search == "grid":
            return grid_cells(self.spec.space)
        if self.spec.search == "tpe":
            return [{} for _ in range(self.spec.trials)]
        return self._random_places()

    def _random_places(self) -> list[dict[str, Any]]:
        """Different random draws.

        Raises:
            UnderstudyError: if the space does not hold that many.
        """
        draws = self.optuna.create_study(sampler=self.optuna.samplers.RandomSampler(seed=_SEED))
        places: list[dict[str, Any]] = []
        for _ in range(100 * self.spec.trials):
            stored = draws.ask(self.distributions).params
            drawn = {key: self._value(key, value) for key, value in stored.items()}
            if drawn not in places:
                places.append(drawn)
            if len(places) == self.spec.trials:
                return places
        raise UnderstudyError(
            f"the space has only about {len(places)} different trials: lower --trials, "
            "or use --search grid"
        )

    def _claim(self, trial: Any) -> ClaimedTrial:
        """Give a trial its first sign of life, write this sweep's id into it, and choose the values
        that are still open."""
        self.storage.record_heartbeat(trial_id(trial))
        trial.set_user_attr("driver", self.driver)
        values = {}
        for dimension in self.spec.space:
            stored = suggest(trial, dimension, self.distributions[dimension.key])
            values[dimension.key] = self._value(dimension.key, stored)
        number = trial.user_attrs["number"]
        self.heartbeats.add(number, trial_id(trial))
        return ClaimedTrial(number, values, trial)

    def _end(
        self, claimed: ClaimedTrial, state: str, value: float | None, **attributes: Any
    ) -> None:
        end = self.optuna.trial.TrialState[state]
        with self._unless_lost():
            for key, attribute in attributes.items():
                claimed.trial.set_user_attr(key, attribute)
            self.study.tell(claimed.trial, value, state=end, skip_if_finished=True)
        self.heartbeats.remove(claimed.number)

    def _unless_lost(self) -> contextlib.AbstractContextManager[None]:
        """Writes nothing to a trial that has ended: this machine gave no sign of life for so long
        that the trial was queued again."""
        return contextlib.suppress(self.optuna.exceptions.UpdateFinishedTrialError)

    def _trials(self, *states: str) -> list[Any]:
        wanted = tuple(self.optuna.trial.TrialState[state] for state in states)
        return list(self.study.get_trials(deepcopy=False, states=wanted))

    def _record(self, number: int, frozen: Any) -> Record:
        state = _STATES[frozen.state.name]
        reason = frozen.user_attrs.get("reason")
        if state == "failed" and reason is None:
            reason = f"its machine gave no sign of life {MAX_REQUEUES + 1} times"
        values = {d.key: self._value(d.key, frozen.params[d.key]) for d in self.spec.space}
        runs = frozen.user_attrs.get("runs", [])
        return Record(number, values, state, reason, runs, frozen.value)

    def _value(self, key: str, stored: Any) -> Any:
        """A stored value as the recipe needs it."""
        dimension = next(d for d in self.spec.space if d.key == key)
        if isinstance(dimension, Range):
            return stored
        return next(value for value in dimension.values if to_stored(value) == stored)

    def _sampler(self) -> Any:
        if self.spec.search != "tpe":  # never used: every place is filled
            return self.optuna.samplers.RandomSampler(seed=_SEED)
        # Seeded by the position in the queue, so that a resumed search draws what it would have
        # drawn.
        claimed = self.spec.trials - len(self._trials("WAITING"))
        return self.optuna.samplers.TPESampler(
            seed=_SEED + claimed,
            constant_liar=True,
            n_startup_trials=min(10, self.spec.trials // 2),
        )
