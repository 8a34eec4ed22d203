"""A sweep: data, teacher and teacher outputs once; many trials chosen by validation; the winner alone meets the test images."""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from understudy.config.recipe import from_yaml, to_mapping, to_yaml
from understudy.config.schema import LARGEST_SEED, RunConfig, StudentConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.environment import this_machine
from understudy.execution import BACKENDS, open_backend
from understudy.execution.autoselect import measure_backends
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Failed,
    Finished,
    Training,
    kept_result,
    reason_of,
)
from understudy.execution.sequential import on_cpu
from understudy.execution.workers import Job, available_cores, run_jobs
from understudy.files import from_json, to_json, write_bytes, write_json
from understudy.methods import method_config, needs_of
from understudy.methods.base import NEEDS
from understudy.runs.arm import run_arm
from understudy.runs.folder import arm_folder, kept_weights, record_config
from understudy.runs.networks import build
from understudy.runs.plan import Link, chain_of, needed_by, spec_of
from understudy.runs.results import SCHEMA, ArmResult
from understudy.runs.summary import describe_data
from understudy.sweep.results import (
    BackendChoice,
    BestTrial,
    Final,
    SearchFacts,
    SweepResults,
    TrialRun,
    accuracy_of,
    baseline_entries,
    best_of,
    final_entry,
    gain_over,
    plain_key,
    read_runs,
    trial_entries,
    write_trials,
)
from understudy.sweep.search import Plan, Search, Taken, default_storage, hide_password, make_plan
from understudy.sweep.space import (
    Choice,
    Dimension,
    check_space,
    configured,
    describe,
    grid_cells,
    label,
    make_space,
    plain_values,
)
from understudy.terminal.progress import RunDisplay
from understudy.terminal.sweep_progress import SweepDisplay
from understudy.training.device import resolve_device

_PAUSE = 1.0
"""Seconds between two looks at trials that other machines are at."""
_FIRST_DRAWS = 10
"""Trials that TPE draws at random before it knows anything, as in Optuna: so many may always be under way."""
_MEASURED = ("sequential", "processes", "fused")
"""What ``auto`` chooses from: a cluster is for the user to bring in."""


def run_sweep(
    config: RunConfig,
    space: Mapping[str, Any] | Sequence[Dimension],
    out: Path,
    *,
    search: str = "grid",
    trials: int | None = None,
    pruner: str = "none",
    backend: str = "auto",
    storage: str | None = None,
    final_seeds: Sequence[int] | None = None,
    device: str = "auto",
    workers: int | None = None,
    resume: bool = False,
    command: str = "",
    cache: str | None = None,
    display: bool = True,
) -> SweepResults:
    """Try many settings of a recipe, choose by validation, and test the winner once.

    Args:
        config: the recipe; each trial is trained on each of its seeds.
        space: dotted key -> list of values, or text as on the command line (``"1..10"``, ``"log:1e-4..1e-2"``).
        out: the sweep's directory.
        search: ``grid``, ``random`` or ``tpe``.
        trials: how many, for ``random`` and ``tpe``.
        pruner: ``none``, ``median`` or ``hyperband``: end trials early that do badly on the first seed.
        backend: ``auto`` measures and takes the fastest; or ``sequential``, ``processes``, ``fused``, ``ray``.
        storage: database URL of the study; SQLite in ``out`` by default. Sweeps with the same one and the same
            ``config.name`` share the work.
        final_seeds: on which the winner and the plain student are trained again and tested; by default as many as
            ``config.seeds``, from the next number on.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: trainings side by side.
        resume: go on with the sweep in that directory.
        command: what was typed, for the record.
        cache: folder of teacher outputs; the user's cache by default.
        display: show progress on standard error.

    Returns:
        the contents of ``results.json``.

    Raises:
        UnderstudyError: for what is wrong outside the program; what is finished stays, ``resume`` goes on from it.
    """
    dimensions = make_space(space)
    check_space(config, dimensions)
    plan = make_plan(dimensions, search, pruner, trials, config.train.epochs)
    fresh = _fresh_seeds(config.seeds, final_seeds)
    if backend != "auto" and backend not in BACKENDS:
        raise UnderstudyError(f"unknown backend {backend!r}: there are auto, {', '.join(BACKENDS)}")
    environment = this_machine(resolve_device(device).type)
    data, test = prepare_data(config.data)  # `test` stays sealed here: only its length is asked for
    build(config.teacher.model, data, config.teacher.stages)
    for student in _students(config, dimensions):
        build(student.model, data, student.stages)
    url = storage or default_storage(out)
    with _alone_in(out):
        asked = _identity(config, plan) | {"final_seeds": list(fresh)}
        there = set(out.iterdir())
        driver = _record(config, out, asked, resume)
        with contextlib.ExitStack() as stack:
            try:
                found = Search(plan, url, config.name, _identity(config, plan), driver)
            except UnderstudyError:
                for path in (
                    set(out.iterdir()) - there
                ):  # a sweep that was refused leaves nothing behind
                    path.unlink()
                raise
            stack.callback(found.close)
            shown = stack.enter_context(SweepDisplay(display))
            facts = {
                "name": config.name,
                "command": command.replace(storage, hide_password(storage)) if storage else command,
                "environment": environment,
                "data": describe_data(data, len(test)),
                "config": to_mapping(config),
                "storage": hide_password(storage) if storage else "SQLite in the sweep's folder",
            }
            sweep = _Sweep(
                config, plan, found, out, data, fresh, backend, device, workers, cache, facts, shown
            )
            stack.callback(sweep.close)
            return sweep.run()


def _students(config: RunConfig, space: Sequence[Dimension]) -> Iterator[StudentConfig]:
    """Every different student that is asked for: one that cannot be built is refused before the teacher is trained."""
    choices = [d for d in space if isinstance(d, Choice) and d.key.split(".")[0] == "student"]
    seen: list[StudentConfig] = []
    for values in grid_cells(choices):
        student = configured(config, values).student
        if student not in seen:
            seen.append(student)
            yield student


def _fresh_seeds(seeds: Sequence[int], final: Sequence[int] | None) -> tuple[int, ...]:
    chosen = (
        tuple(final) if final is not None else tuple(max(seeds) + 1 + k for k in range(len(seeds)))
    )
    if not chosen or len(set(chosen)) != len(chosen):
        raise UnderstudyError("--final-seeds must name at least one seed, and each only once")
    if max(map(abs, chosen)) >= LARGEST_SEED:
        raise UnderstudyError(f"--final-seeds must lie between -{LARGEST_SEED} and {LARGEST_SEED}")
    used = sorted(set(chosen) & set(seeds))
    if used:
        raise UnderstudyError(
            f"--final-seeds {used[0]} is a seed of the search: the winner was chosen on it, take a fresh one"
        )
    return chosen


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """One sweep at a time in a directory; the lock falls with the process, however it ends."""
    if out.exists() and not out.is_dir():
        raise UnderstudyError(f"{out} is a file: choose another --out")
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".sweep.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnderstudyError(
            f"another sweep is at work in {out}: wait for it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()
        if fresh and [path.name for path in out.iterdir()] == [
            ".sweep.lock"
        ]:  # refused before it had begun
            shutil.rmtree(out)


def _identity(config: RunConfig, plan: Plan) -> dict[str, Any]:
    """What sweeps that share a study must agree on: everything but where data and teacher lie."""
    recipe = to_mapping(config)
    recipe["data"]["path"] = recipe["teacher"]["path"] = None
    return {
        "recipe": recipe,
        "space": describe(plan.space),
        "search": plan.search,
        "pruner": plan.pruner,
        "trials": plan.trials,
    }


def _record(config: RunConfig, out: Path, asked: dict[str, Any], resume: bool) -> str:
    """Write config.yaml and sweep.json, or check that they are of this sweep; returns who this sweep is."""
    path = out / "sweep.json"
    if path.exists():
        if not resume:
            raise UnderstudyError(
                f"{out} already holds a sweep: go on with it by --resume, or choose another --out"
            )
        before = _read_json(path)
        if not before:
            raise UnderstudyError(
                f"{path} is damaged, which says whose sweep this is: give another --out"
            )
        record_config(config, out, resume=True)
        differing = [
            key
            for key, value in asked.items()
            if before["asked"].get(key) != json.loads(json.dumps(value))
        ]
        if differing:
            raise UnderstudyError(
                f"cannot resume {out}: its {', '.join(differing)} differ; give another --out"
            )
        return str(before["driver"])
    if (out / "config.yaml").exists():
        raise UnderstudyError(f"{out} already holds a run: choose another --out")
    driver = uuid.uuid4().hex
    write_json(path, {"driver": driver, "asked": asked})
    record_config(config, out, resume=False)
    return driver


@dataclass
class _Group:
    """One configuration over its seeds: a trial, a plain student, or one side of the final comparison."""

    name: str
    config: RunConfig
    arm: str
    seeds: tuple[int, ...]
    values: dict[str, Any]
    final: bool = False
    taken: Taken | None = None
    flying: set[str] = field(default_factory=set)
    results: dict[int, ArmResult] = field(default_factory=dict)
    failed: str | None = None
    pruned: str | None = None
    epochs_seen: int = 0

    def training_name(self, seed: int) -> str:
        return f"{self.name}-seed{seed}"

    def runs(self) -> tuple[TrialRun, ...]:
        done = [self.results[seed] for seed in self.seeds if seed in self.results]
        return tuple(TrialRun.of(result, self.final) for result in done)


class _Sweep:
    """Hands trials from the search to the backend, and news back."""

    def __init__(
        self,
        config: RunConfig,
        plan: Plan,
        search: Search,
        out: Path,
        data: TrainingData,
        final_seeds: tuple[int, ...],
        backend: str,
        device: str,
        workers: int | None,
        cache: str | None,
        facts: dict[str, Any],
        shown: SweepDisplay,
    ) -> None:
        self.config, self.plan, self.search, self.out, self.data = config, plan, search, out, data
        self.final_seeds, self.device, self.workers, self.cache = (
            final_seeds,
            device,
            workers,
            cache,
        )
        self.facts, self.shown, self.asked_backend = facts, shown, backend
        self.backend: Backend | None = None
        self.groups: dict[str, _Group] = {}  # training in flight -> its group
        self.ready: list[Event] = []
        self.plain: dict[str, tuple[TrialRun, ...]] = {}
        self.plain_begun: set[str] = set()
        self.final: Final | None = None
        self.revived = time.monotonic()
        self.before = _read_json(
            out / "results.json"
        )  # damaged or not there: written anew, but for the seconds
        self.seconds: dict[str, float] = self.before.get("seconds") or dict.fromkeys(
            ("teacher", "trials", "final", "total"), 0.0
        )
        self.chosen = _backend_of(self.before)

    def run(self) -> SweepResults:
        """Teacher, trials, final comparison; what is there already is not made again."""
        begun = self.search.left()
        if begun:
            with self._timed("teacher"):
                self._teachers(self.config.seeds)
            self._agree_on_teacher()
            with self._timed("trials"):
                self._trials(begun)
        elif self.search.leads:
            with self._timed("trials"):
                self._plain_students()
        if self.search.leads:
            self._final()
        results = self._write()
        reasons = [trial.reason for trial in results.trials if trial.state == "failed"]
        if results.best is None and reasons:
            raise UnderstudyError(f"no trial came through; the first to fail: {reasons[0]}")
        return results

    def close(self) -> None:
        if self.backend is not None:
            self.backend.close()

    # The teacher.

    def _teachers(self, seeds: Sequence[int]) -> None:
        """Train (or read) the teachers of these seeds, each with all cores; the test split stays closed."""
        if not self._needs_teacher():
            return
        cores = len(available_cores())
        apart = (
            on_cpu(self.device) and self.workers != 1
        )  # in a process of its own, whose threads are bound to the cores
        links = chain_of(self.config)
        shared = [name for name in needed_by(links, "distilled") if links[name].teaches_all]
        for spec in dict.fromkeys(
            spec_of(self.config, name, seed) for seed in seeds for name in shared
        ):
            if (arm_folder(self.out, spec.name) / "result.json").exists():
                continue
            threads = cores if on_cpu(self.device) else None
            arguments = (self.config, spec, self.out, self.device, threads, True, self.cache, False)
            self.shown.say(_where_from(links[spec.arm], spec.seed))
            display = RunDisplay({spec.name: links[spec.arm].epochs})
            drawn = self.shown.shown and self.shown.bar is None and links[spec.arm].epochs > 0
            with display if drawn else contextlib.nullcontext():
                tell = display.tell if drawn else _say_nothing
                run_jobs([Job(spec.name, run_arm, arguments)], int(apart), tell, bind_all=True)

    def _needs_teacher(self) -> bool:
        return any(
            needs_of(method_config(config.method)) != "nothing"
            for config in (self.config, *self._with_each_method())
        )

    def _with_each_method(self) -> list[RunConfig]:
        """The recipe with each of the methods in the search."""
        choices = [
            {d.key: value} for d in self.plan.space if isinstance(d, Choice) for value in d.values
        ]
        return [configured(self.config, values) for values in choices if _names_method(values)]

    def _agree_on_teacher(self) -> None:
        """Machines that share a study must share the teacher, bit for bit."""
        if not self._needs_teacher():
            return
        names = dict.fromkeys(
            spec_of(self.config, "teacher", seed).name for seed in self.config.seeds
        )
        digest = hashlib.sha256()
        for name in names:
            digest.update(kept_weights(self.out, name).read_bytes())
        theirs = self.search.noted().get("teacher")
        if theirs is None:
            self.search.note("teacher", digest.hexdigest())
        elif theirs != digest.hexdigest():
            raise UnderstudyError(
                "this machine's teacher is not the one that the study's other trials have listened to: copy models/"
                f"{next(iter(names))}.safetensors from the sweep that began the study, and give it as teacher.path=FILE"
            )

    # The trials.

    def _trials(self, left: int) -> None:
        self.shown.expect(left * len(self.config.seeds) * self.config.train.epochs)
        if self.plan.pruner == "none" and not any(
            plain_values({d.key: 0}) for d in self.plan.space
        ):
            self._begin_plain(
                {}
            )  # one plain student for all trials: no need to wait for the first of them
        while True:
            while len(self.groups) < self._capacity() and (taken := self.search.take()):
                self._begin_trial(taken)
            self._take_in()
            if not self.groups and not self.ready:
                if not self.search.left():
                    break
                time.sleep(_PAUSE)  # the rest is with other machines
        self._plain_students()

    def _begin_trial(self, taken: Taken) -> None:
        try:
            config = configured(self.config, taken.values)
        except UnderstudyError as error:  # a combination that no single value gave away
            self.search.give_up(taken, "failed", reason_of(error), [])
            return
        group = _Group(
            f"{taken.number:04d}", config, "distilled", self.config.seeds, taken.values, taken=taken
        )
        if self.plan.pruner == "none":
            self._begin_plain(taken.values)
            self._submit(group, group.seeds)
        else:
            self._submit(
                group, group.seeds[:1]
            )  # the first seed decides whether the others are worth it

    def _plain_students(self) -> None:
        """The plain students that complete trials of any machine are still to be compared with."""
        for record in self.search.records():
            if record.state == "complete":
                self._begin_plain(record.values)
        self._work_off()

    def _begin_plain(self, values: Mapping[str, Any]) -> None:
        key = plain_key(values)
        if key in self.plain or key in self.plain_begun:
            return
        kept = self.search.noted().get(f"plain {key}")
        if kept is not None:
            self.plain[key] = read_runs(kept)
            return
        if not self.search.leads:
            return
        self.plain_begun.add(key)
        own = plain_values(values)
        name = "plain" + (f"-{hashlib.sha256(key.encode()).hexdigest()[:8]}" if own else "")
        group = _Group(name, configured(self.config, own), "baseline", self.config.seeds, own)
        self.shown.expect(len(group.seeds) * group.config.train.epochs)
        self._submit(group, group.seeds)

    # The final comparison.

    def _final(self) -> None:
        """Train the winner and its plain student on fresh seeds; these trainings alone open the test split."""
        best = best_of(self.search.records())
        if best is None:
            return
        with self._timed("final"):
            self._teachers(self.final_seeds)
            sides = []
            for side, arm, values in (
                ("baseline", "baseline", plain_values(best.values)),
                ("best", "distilled", best.values),
            ):
                group = _Group(
                    f"final-{side}",
                    configured(self.config, values),
                    arm,
                    self.final_seeds,
                    values,
                    final=True,
                )
                self.shown.expect(len(group.seeds) * group.config.train.epochs)
                self._submit(group, group.seeds)
                sides.append(group)
            self._work_off()
        for group in sides:
            if group.failed:
                self._write()
                raise UnderstudyError(f"the final training {group.name} failed: {group.failed}")
        self.final = final_entry(self.final_seeds, sides[0].runs(), sides[1].runs())

    # Between search and backend.

    def _submit(self, group: _Group, seeds: Sequence[int]) -> None:
        """Take up a group's trainings on these seeds; finished ones are read, not trained."""
        new = []
        for seed in seeds:
            folder = self.out / "trials" / group.training_name(seed)
            training = Training(
                group.training_name(seed),
                group.config,
                group.arm,
                seed,
                folder,
                self.out,
                self.cache,
                group.final,
            )
            _claim(training)
            group.flying.add(training.name)
            self.groups[training.name] = group
            finished = kept_result(training)
            if finished is not None:
                self.ready.append(finished)
            else:
                new.append(training)
        if new:
            self._open_backend(group.config).submit(new)

    def _work_off(self) -> None:
        while self.groups or self.ready:
            self._take_in()

    def _take_in(self) -> None:
        events, self.ready = self.ready, []
        if not events and self.groups:
            assert self.backend is not None
            events = self.backend.wait()
        for event in events:
            self._hear(event)
        if time.monotonic() - self.revived > self.search.heartbeat:
            self.revived = time.monotonic()
            self.search.revive()

    def _hear(self, event: Event) -> None:
        group = self.groups.get(event.training)
        if group is None:
            return
        seed = next(seed for seed in group.seeds if group.training_name(seed) == event.training)
        if isinstance(event, Epoch):
            group.epochs_seen += 1
            self.shown.epoch(event.training, event.result)
            if (
                self.plan.pruner != "none"
                and group.taken
                and seed == group.seeds[0]
                and not group.pruned
            ):
                self._consider(group, event)
            return
        del self.groups[event.training]
        group.flying.remove(event.training)
        if isinstance(event, Finished):
            group.results[seed] = event.result
        elif isinstance(event, Failed) and event.machine:
            raise UnderstudyError(
                f"{event.training}: {event.reason}; nothing that was trained is lost, go on by --resume"
            )
        elif isinstance(event, Failed) and group.failed is None:
            group.failed = f"seed {seed}: {event.reason}"
            for other in sorted(group.flying):
                self._stop(other)
        if not group.flying:
            self._conclude(group)

    def _consider(self, group: _Group, event: Epoch) -> None:
        assert group.taken is not None
        epoch, accuracy = event.result.epoch, event.result.val_accuracy
        if (
            self.search.report(group.taken, epoch, accuracy)
            and epoch + 1 < group.config.train.epochs
        ):
            share = f"epoch {epoch + 1} of {group.config.train.epochs}"
            group.pruned = f"stopped after {share} of seed {group.seeds[0]}, at {100 * accuracy:.2f} % on validation"
            self._stop(event.training)

    def _stop(self, training: str) -> None:
        assert self.backend is not None
        self.backend.stop(training)

    def _conclude(self, group: _Group) -> None:
        """A group's trainings have all ended: hand out its other seeds, or say what came of it."""
        missing = [seed for seed in group.seeds if seed not in group.results]
        if missing and not group.failed and not group.pruned:
            self._submit(group, missing)
            return
        planned = len(group.seeds) * group.config.train.epochs
        self.shown.expect(group.epochs_seen - planned)
        beside = f" ({label(group.values)})" if group.values else ""
        if group.taken is not None:
            self._conclude_trial(group, group.taken)
        elif group.final:
            pass  # kept by `_final`
        elif group.failed:
            self.shown.say(f"plain student{beside}: failed, {group.failed}")
        else:
            key = plain_key(group.values)
            self.plain[key] = group.runs()
            self.search.note(f"plain {key}", to_json(self.plain[key]))
            self.shown.say(f"plain student{beside}: {_percent(group.runs())}")
        self._write()

    def _conclude_trial(self, group: _Group, taken: Taken) -> None:
        line = f"trial {taken.number} ({label(taken.values)}): "
        runs = group.runs()
        if group.failed:
            self.search.give_up(taken, "failed", group.failed, to_json(runs))
            self.shown.say(f"{line}failed, {group.failed}")
        elif group.pruned:
            self.search.give_up(taken, "pruned", group.pruned, to_json(runs))
            self.shown.say(f"{line}{group.pruned}")
        else:
            accuracy = accuracy_of(runs)
            assert accuracy is not None
            self.search.complete(taken, to_json(runs), accuracy.mean)
            gain = gain_over(runs, self.plain.get(plain_key(taken.values), ()))
            beside = f", {100 * gain.mean:+.2f} points over the plain student" if gain else ""
            self.shown.say(f"{line}{_percent(runs)}{beside}")

    def _capacity(self) -> int:
        """How many trainings to have under way. A search that learns from its trials must not draw most of them at once."""
        capacity = self.backend.capacity if self.backend is not None else 1
        if self.plan.search != "tpe":
            return capacity
        return min(capacity, max(_FIRST_DRAWS, self.plan.trials // 4) * len(self.config.seeds))

    def _open_backend(self, config: RunConfig) -> Backend:
        """The backend, opened when there is something to train for the first time."""
        if self.backend is None:
            if self.asked_backend != "auto":
                self.chosen = BackendChoice(name=self.asked_backend, chosen="given")
            elif self.chosen is None or self.chosen.chosen == "given":
                self.chosen = self._measure(config)
            self.backend = self._make(self.chosen.name)
            self.chosen = replace(self.chosen, capacity=self.backend.capacity)
            self._write()
        return self.backend

    def _make(self, name: str) -> Backend:
        return open_backend(name, self.out, device=self.device, workers=self.workers)

    def _measure(self, config: RunConfig) -> BackendChoice:
        self.shown.say("measuring which backend is fastest here")

        def opener(name: str) -> Callable[[], Backend]:
            return lambda: self._make(name)

        candidates = {name: opener(name) for name in _MEASURED}
        device, planned = (
            resolve_device(self.device).type,
            self.search.left() * len(self.config.seeds),
        )
        rates = measure_backends(
            self._dearest(config),
            self.data,
            candidates,
            device,
            self.shown.say,
            planned=max(1, planned),
        )
        name = max(rates, key=lambda name: rates[name])
        figures = ", ".join(f"{each} {rate:,.0f}" for each, rate in rates.items())
        self.shown.say(f"images per second: {figures}; taking {name}")
        return BackendChoice(name=name, chosen="measured", measured=rates)

    def _dearest(self, config: RunConfig) -> RunConfig:
        """Of the methods in the search, one that reads the most of its teacher: backends differ in what that costs."""
        return max(
            (config, *self._with_each_method()),
            key=lambda c: NEEDS.index(needs_of(method_config(c.method))),
        )

    # What is left behind.

    def _write(self) -> SweepResults:
        """``results.json`` and ``trials.csv`` as far as the sweep has come."""
        records = self.search.records()
        noted = self.search.noted()
        keys = dict.fromkeys(plain_key(record.values) for record in records)
        plain = {key: read_runs(noted[f"plain {key}"]) for key in keys if f"plain {key}" in noted}
        entries = trial_entries(records, plain, self.config.seeds)
        best = best_of(records)
        results = SweepResults(
            schema=SCHEMA,
            kind="sweep",
            name=self.facts["name"],
            command=self.facts["command"],
            created=self.before.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=self.seconds,
            environment=self.facts["environment"],
            data=self.facts["data"],
            config=self.facts["config"],
            space=self.plan.space,
            search=SearchFacts(
                name=self.plan.search, pruner=self.plan.pruner, storage=self.facts["storage"]
            ),
            backend=self.chosen
            or BackendChoice(name=self.asked_backend, capacity=0, chosen="given"),
            seeds=tuple(self.config.seeds),
            baselines=baseline_entries(records, plain),
            trials=entries,
            best=None if best is None else BestTrial(number=best.number, values=best.values),
            final=self.final,
            importance=self.search.importance() if self.final else None,
        )
        self.before["created"] = results.created
        write_json(self.out / "results.json", results)
        write_trials(self.out / "trials.csv", self.plan.space, entries)
        return results

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        """Add to the seconds of a phase, over all sessions of this sweep."""
        began, before, total = time.perf_counter(), self.seconds[phase], self.seconds["total"]
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds |= {phase: before + spent, "total": total + spent}


def _backend_of(results: Mapping[str, Any]) -> BackendChoice | None:
    """The backend that an earlier session of the sweep chose."""
    found = results.get("backend")
    if not found:
        return None
    return from_json(
        BackendChoice, found, "results.json of the sweep", "delete it to measure again"
    )


def _read_json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is not there or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _claim(training: Training) -> None:
    """Write a training's configuration beside it, or refuse a folder that holds another one's."""
    path = training.folder / "config.yaml"
    if path.exists():
        kept = from_yaml(path.read_text(), str(path))
        if (
            replace(kept, data=replace(kept.data, path=training.config.data.path))
            != training.config
        ):
            raise UnderstudyError(
                f"{training.folder} holds a training of another configuration, and the study does not know it: give another --out"
            )
        return
    write_bytes(path, to_yaml(training.config).encode())


def _names_method(values: Mapping[str, Any]) -> bool:
    return any(key in ("method", "method.name") for key in values)


def _percent(runs: Sequence[TrialRun]) -> str:
    accuracy = accuracy_of(runs)
    if accuracy is None:
        return "no result"
    spread = f" ± {100 * accuracy.std:.2f}" if accuracy.std is not None else ""
    return f"{100 * accuracy.mean:.2f}{spread} % on validation"


def _where_from(link: Link, seed: int) -> str:
    """Where a teacher (a member, an assistant) of the sweep comes from, as a line for people."""
    if link.path is not None:
        return f"reading the {link.role} from {link.path}, once for all trials"
    if link.members:
        return f"putting the {link.role} together from its {len(link.members)} members"
    return f"training the {link.role} (seed {seed}), once for all trials"


def _say_nothing(name: str, message: tuple[Any, ...]) -> None:
    pass
