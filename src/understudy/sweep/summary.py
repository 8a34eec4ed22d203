"""What a sweep has found so far: ``results.json`` and ``trials.csv``, over all its sessions."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from understudy.config.recipe import to_mapping
from understudy.evaluation.environment import this_machine
from understudy.files import from_json, write_json
from understudy.runs.results import SCHEMA
from understudy.runs.summary import describe_data
from understudy.sweep.csv_file import write_trials
from understudy.sweep.folder import read_or_empty
from understudy.sweep.results import (
    BackendChoice,
    BestTrial,
    Final,
    SearchFacts,
    SweepResults,
    baseline_entries,
    baseline_key,
    best_of,
    read_runs,
    trial_entries,
)
from understudy.sweep.search import Search
from understudy.sweep.spec import SweepSpec

_PHASES = ("teacher", "trials", "final", "total")


def baseline_attr(key: str) -> str:
    """Under what the study holds the runs of a baseline, for all machines that share it."""
    return f"plain {key}"


class SweepSummary:
    """The sweep's results on disk. A damaged or missing file is written again, but for its seconds.

    Attributes:
        earlier_choice: the backend of an earlier session.
        final: the final comparison, once it was made.
    """

    def __init__(self, spec: SweepSpec, search: Search) -> None:
        self.spec, self.search = spec, search
        before = read_or_empty(spec.folder.run.results)
        self.earlier_choice = _choice_in(before)
        self.final: Final | None = None
        self._seconds: dict[str, float] = before.get("seconds") or dict.fromkeys(_PHASES, 0.0)
        self._created = before.get("created") or datetime.now(UTC).isoformat(timespec="seconds")
        self._environment = this_machine(spec.device_type)

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add to the seconds of a phase."""
        start, before, total = time.perf_counter(), self._seconds[phase], self._seconds["total"]
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._seconds |= {phase: before + spent, "total": total + spent}

    def write(self, backend: BackendChoice) -> SweepResults:
        """Write both files."""
        spec, records, attrs = self.spec, self.search.records(), self.search.attrs()
        baselines = {}
        for record in records:
            key = baseline_key(record.values)
            if baseline_attr(key) in attrs:
                baselines[key] = read_runs(attrs[baseline_attr(key)])
        best = best_of(records)
        results = SweepResults(
            schema=SCHEMA,
            kind="sweep",
            name=spec.config.name,
            command=spec.options.shown_command,
            created=self._created,
            seconds=self._seconds,
            environment=self._environment,
            data=describe_data(spec.data, spec.num_test),
            config=to_mapping(spec.config),
            space=spec.search.space,
            search=SearchFacts(
                name=spec.search.search,
                pruner=spec.search.pruner,
                storage=spec.options.shown_storage,
            ),
            backend=backend,
            seeds=tuple(spec.config.seeds),
            baselines=baseline_entries(records, baselines),
            trials=trial_entries(records, baselines, spec.config.seeds),
            best=None if best is None else BestTrial(number=best.number, values=best.values),
            final=self.final,
            importance=self.search.importance() if self.final else None,
        )
        write_json(spec.folder.run.results, results)
        write_trials(spec.folder.trials_csv, spec.search.space, results.trials)
        return results


def _choice_in(results: Mapping[str, Any]) -> BackendChoice | None:
    """The backend in results of an earlier session."""
    found = results.get("backend")
    if not found:
        return None
    return from_json(
        BackendChoice, found, "results.json of the sweep", "delete it to measure again"
    )
