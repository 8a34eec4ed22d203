"""A sweep: teacher and its outputs once; many trials, compared on validation images; the winner
alone is tested."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError, one_line
from understudy.events import SILENT, Observer
from understudy.execution.backend import Epoch, Event, Failed, Finished, load_finished
from understudy.files import to_json
from understudy.runs.inspected import headline
from understudy.runs.plan import RunPlan
from understudy.sweep.backend_choice import SweepBackend
from understudy.sweep.folder import (
    SweepFolder,
    claim_folder,
    exclusive,
    record_sweep,
    removed_if_refused,
)
from understudy.sweep.group import Group
from understudy.sweep.results import (
    SweepResults,
    TrialRun,
    accuracy_of,
    baseline_key,
    baseline_name,
    best_of,
    final_entry,
    gain_over,
    read_runs,
)
from understudy.sweep.search import ClaimedTrial, Search
from understudy.sweep.space import Dimension, baseline_values, label, trial_plan
from understudy.sweep.spec import SweepOptions, SweepSpec, make_sweep_spec
from understudy.sweep.summary import SweepSummary, baseline_attr
from understudy.sweep.teachers import agree_on_teacher, train_teachers

_PAUSE = 1.0
"""Seconds between two looks at trials that other machines work on."""
_FIRST_DRAWS = 10
"""Trials that TPE draws at random at first, as in Optuna: so many may always run at once."""


def run_sweep(
    config: RunConfig,
    space: Mapping[str, Any] | Sequence[Dimension],
    out: Path,
    *,
    observer: Observer = SILENT,
    **options: Any,
) -> SweepResults:
    """Try many settings of a recipe, choose by validation, and test the winner once.

    Args:
        config: the recipe; each trial is trained on each of its seeds.
        space: dotted key -> list of values, or text as on the command line (``"1..10"``,
            ``"log:1e-4..1e-2"``).
        out: the sweep's directory.
        observer: follows the trainings.
        options: fields of :class:`~understudy.sweep.spec.SweepOptions`: ``search``, ``trials``,
            ``pruner``, ``backend``, ``storage``, ``final_seeds``, ``device``, ``workers``,
            ``resume``, ``command``, ``cache``.

    Returns:
        the contents of ``results.json``.

    Raises:
        UnderstudyError: if the sweep makes no sense, or cannot go on; what has finished stays, and
            ``resume`` continues from it.
    """
    spec = make_sweep_spec(config, space, SweepFolder(out), SweepOptions(**options), observer)
    if spec.data.inspection is not None:
        for line in headline(spec.data.inspection):
            observer.message(line)
    with exclusive(spec.folder), contextlib.ExitStack() as stack:
        with removed_if_refused(spec.folder):
            settings = spec.identity | {"final_seeds": list(spec.final_seeds)}
            resume, images = spec.options.resume, spec.data.fingerprint
            driver = record_sweep(spec.config, spec.folder, settings, resume, images)
            search = Search(spec.search, spec.storage, config.name, spec.identity, driver)
        stack.callback(search.close)
        sweep = Sweep(spec, search, observer)
        stack.callback(sweep.backend.close)
        return sweep.run()


class Sweep:
    """Gives trials from the search to the backend, and what becomes of them to the search.

    Args:
        spec: of the sweep.
        search: the queue of trials.
        observer: follows the trainings.
    """

    def __init__(self, spec: SweepSpec, search: Search, observer: Observer) -> None:
        self.spec, self.search, self.observer = spec, search, observer
        self.summary = SweepSummary(spec, search)
        self.backend = SweepBackend(spec, observer, self.summary.earlier_choice)
        self.groups: dict[str, Group] = {}  # name of a running training -> its group
        self.pending: list[Event] = []
        self.baselines: dict[str, tuple[TrialRun, ...]] = {}
        self.begun_baselines: set[str] = set()
        self.last_requeue = time.monotonic()

    def run(self) -> SweepResults:
        """Teacher, trials, final comparison; what is there already is not made again."""
        left = self.search.left()
        if left:
            with self.summary.timed("teacher"):
                train_teachers(self.spec, self.spec.config.seeds, self.observer)
            agree_on_teacher(self.spec, self.search)
            with self.summary.timed("trials"):
                self._run_trials(left)
        elif self.search.is_leader:
            with self.summary.timed("trials"):
                self._run_baselines()
        if self.search.is_leader:
            self._compare_winner()
        results = self._write()
        reasons = [trial.reason for trial in results.trials if trial.state == "failed"]
        if results.best is None and reasons:
            raise UnderstudyError(f"no trial is complete; the first to fail: {reasons[0]}")
        return results

    # Trials.

    def _run_trials(self, left: int) -> None:
        config = self.spec.config
        self.observer.expect(left * len(config.seeds) * config.train.epochs_run)
        varies = any(baseline_values({d.key: 0}) for d in self.spec.search.space)
        if not self.spec.prunes and not varies:
            self._begin_baseline({})  # the one of all trials need not wait for the first of them
        while True:
            while len(self.groups) < self._most_running() and (claimed := self.search.take()):
                self._begin_trial(claimed)
            self._handle_events()
            if not self.groups and not self.pending:
                if not self.search.left():
                    break
                time.sleep(_PAUSE)  # other machines work on the rest
        self._run_baselines()

    def _begin_trial(self, claimed: ClaimedTrial) -> None:
        recipe = self.spec.config
        try:
            plan = trial_plan(self.spec.plan, claimed.values)
        except UnderstudyError as error:  # values that do not fit each other
            self.search.give_up(claimed, "failed", one_line(error, with_type=True), [])
            self.observer.expect(-len(recipe.seeds) * recipe.train.epochs_run)
            return
        name, seeds = f"{claimed.number:04d}", recipe.seeds
        group = Group(name, plan, "distilled", seeds, claimed.values, claimed=claimed)
        self.observer.expect(len(seeds) * (group.epochs - recipe.train.epochs_run))
        if self.spec.prunes:
            self._submit(group, seeds[:1])  # the others are trained if this one is not pruned
            return
        self._begin_baseline(claimed.values)
        self._submit(group, seeds)

    def _run_baselines(self) -> None:
        """Train the baselines that the complete trials of any machine still need."""
        for record in self.search.records():
            if record.state == "complete":
                self._begin_baseline(record.values)
        self._drain()

    def _begin_baseline(self, values: Mapping[str, Any]) -> None:
        key = baseline_key(values)
        if key in self.baselines or key in self.begun_baselines:
            return
        recorded = self.search.attrs().get(baseline_attr(key))
        if recorded is not None:
            self.baselines[key] = read_runs(recorded)
            return
        if not self.search.is_leader:
            return
        self.begun_baselines.add(key)
        own = baseline_values(values)
        self._begin_all(
            Group(
                baseline_name(values),
                trial_plan(self.spec.plan, own),
                "baseline",
                self.spec.config.seeds,
                own,
            )
        )

    # The final comparison.

    def _compare_winner(self) -> None:
        """Train the winner and its baseline on fresh seeds: these trainings alone are tested."""
        best = best_of(self.search.records())
        if best is None:
            return
        with self.summary.timed("final"):
            train_teachers(self.spec, self.spec.final_seeds, self.observer)
            own = baseline_values(best.values)
            baseline = self._final_group("final-baseline", "baseline", own)
            winner = self._final_group("final-best", "distilled", best.values)
            for group in (baseline, winner):
                self._begin_all(group)
            self._drain()
        for group in (baseline, winner):
            if group.failed:
                self._write()
                raise UnderstudyError(f"the final training {group.name} failed: {group.failed}")
        self.summary.final = final_entry(self.spec.final_seeds, baseline.runs(), winner.runs())

    def _final_group(self, name: str, arm: str, values: dict[str, Any]) -> Group:
        plan = trial_plan(self.spec.plan, values)
        return Group(name, plan, arm, self.spec.final_seeds, values, final=True)

    # Between search and backend.

    def _begin_all(self, group: Group) -> None:
        """Submit a group that the observer does not expect yet, on all its seeds."""
        self.observer.expect(len(group.seeds) * group.epochs)
        self._submit(group, group.seeds)

    def _submit(self, group: Group, seeds: Sequence[int]) -> None:
        """Submit a group's trainings on these seeds; finished ones are read, not trained."""
        new = []
        for seed in seeds:
            training = group.training(seed, self.spec.folder, self.spec.options.cache)
            claim_folder(training.folder, group.plan.config)
            group.running.add(training.name)
            if seed not in group.submitted:
                group.submitted.add(seed)
                self.observer.expect(-group.epochs)
                self.observer.expect(group.epochs, training.name)
            self.groups[training.name] = group
            finished = load_finished(training)
            if finished is not None:
                self.pending.append(finished)
            else:
                new.append(training)
        if new:
            self._open_backend(group.plan)
            self.backend.submit(new)

    def _open_backend(self, plan: RunPlan) -> None:
        if not self.backend.is_open:
            self.backend.open(plan, self.search.left())
            self._write()

    def _most_running(self) -> int:
        """How many trainings to run at once: a search that learns from its trials must not draw
        most of them first."""
        if self.spec.search.search != "tpe":
            return self.backend.capacity
        trials = max(_FIRST_DRAWS, self.spec.search.trials // 4)
        return min(self.backend.capacity, trials * len(self.spec.config.seeds))

    def _drain(self) -> None:
        """Wait until nothing runs."""
        while self.groups or self.pending:
            self._handle_events()

    def _handle_events(self) -> None:
        events, self.pending = self.pending, []
        if not events and self.groups:
            events = self.backend.wait()
        for event in events:
            self._on_event(event)
        if time.monotonic() - self.last_requeue > self.search.heartbeat:
            self.last_requeue = time.monotonic()
            self.search.requeue_lost()

    def _on_event(self, event: Event) -> None:
        group = self.groups.get(event.training)
        if group is None:
            return
        if isinstance(event, Epoch):
            group.epochs_seen[event.training] += 1
            self.observer.epoch(event.result, event.training)
            self._maybe_prune(group, event)
            return
        seed = group.seed_of(event.training)
        del self.groups[event.training]
        group.running.remove(event.training)
        self.observer.expect(group.epochs_seen[event.training] - group.epochs, event.training)
        if isinstance(event, Finished):
            group.results[seed] = event.result
        elif isinstance(event, Failed):
            self._on_failure(group, seed, event)
        if not group.running:
            self._finish_group(group)

    def _on_failure(self, group: Group, seed: int, event: Failed) -> None:
        if event.cause == "machine":
            raise UnderstudyError(
                f"{event.training}: {event.reason}; nothing that was trained is lost, "
                "go on by --resume"
            )
        if group.failed is None:
            group.failed = f"seed {seed}: {event.reason}"
            for other in sorted(group.running):
                self.backend.stop(other)

    def _maybe_prune(self, group: Group, event: Epoch) -> None:
        """Report the first seed's accuracy of a trial, and stop the trial if it is pruned."""
        is_first_seed = group.seed_of(event.training) == group.seeds[0]
        if not self.spec.prunes or group.claimed is None or not is_first_seed or group.pruned:
            return
        epoch, accuracy = event.result.epoch, event.result.val_accuracy
        epochs = group.plan.config.train.epochs
        if self.search.report(group.claimed, epoch, accuracy) and epoch + 1 < epochs:
            group.pruned = (
                f"stopped after epoch {epoch + 1} of {epochs} of seed {group.seeds[0]}, "
                f"at {100 * accuracy:.2f} % on validation"
            )
            self.backend.stop(event.training)

    def _finish_group(self, group: Group) -> None:
        """All submitted trainings of a group have ended: submit its other seeds, or record what it
        found."""
        missing = group.missing_seeds
        if missing and not group.failed and not group.pruned:
            self._submit(group, missing)
            return
        self.observer.expect(-group.epochs * (len(group.seeds) - len(group.submitted)))
        if group.claimed is not None:
            self._finish_trial(group, group.claimed)
        elif not group.final:  # the final comparison is recorded when both sides have ended
            self._finish_baseline(group)
        self._write()

    def _finish_baseline(self, group: Group) -> None:
        settings = f" ({label(group.values)})" if group.values else ""
        if group.failed:
            self.observer.message(f"baseline{settings}: failed, {group.failed}")
            return
        key, runs = baseline_key(group.values), group.runs()
        self.baselines[key] = runs
        self.search.set_attr(baseline_attr(key), to_json(runs))
        self.observer.message(f"baseline{settings}: {_percent(runs)}")

    def _finish_trial(self, group: Group, claimed: ClaimedTrial) -> None:
        line = f"trial {claimed.number} ({label(claimed.values)}): "
        runs = group.runs()
        if group.failed:
            self.search.give_up(claimed, "failed", group.failed, to_json(runs))
            self.observer.message(f"{line}failed, {group.failed}")
            return
        if group.pruned:
            self.search.give_up(claimed, "pruned", group.pruned, to_json(runs))
            self.observer.message(f"{line}{group.pruned}")
            return
        accuracy = accuracy_of(runs)
        assert accuracy is not None, "a complete trial has a run for each seed"
        self.search.complete(claimed, to_json(runs), accuracy.mean)
        gain = gain_over(runs, self.baselines.get(baseline_key(claimed.values), ()))
        over = f", {100 * gain.mean:+.2f} points over the baseline" if gain else ""
        self.observer.message(f"{line}{_percent(runs)}{over}")

    def _write(self) -> SweepResults:
        return self.summary.write(self.backend.choice)


def _percent(runs: Sequence[TrialRun]) -> str:
    accuracy = accuracy_of(runs)
    if accuracy is None:
        return "no result"
    spread = f" ± {100 * accuracy.std:.2f}" if accuracy.std is not None else ""
    return f"{100 * accuracy.mean:.2f}{spread} % on validation"
