"""The backend of a sweep: given, or the fastest of those measured; opened when there is something
to train."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from understudy.events import Observer
from understudy.execution.autoselect import measure_backends
from understudy.execution.backend import Backend, Event, Training
from understudy.execution.registry import open_backend
from understudy.runs.plan import RunPlan
from understudy.sweep.results import BackendChoice
from understudy.sweep.spec import SweepSpec

MEASURED = ("sequential", "processes", "fused")
"""What ``auto`` chooses from: a cluster is the user's to choose."""


class SweepBackend:
    """The sweep's backend, opened by :meth:`open`.

    Args:
        spec: of the sweep.
        observer: follows the trainings and the measurement.
        earlier: the choice of an earlier session of the sweep; a measured one is not measured
        again.
    """

    def __init__(self, spec: SweepSpec, observer: Observer, earlier: BackendChoice | None) -> None:
        self.spec, self.observer = spec, observer
        self._choice = earlier
        self._backend: Backend | None = None

    @property
    def is_open(self) -> bool:
        """Whether trainings can be submitted."""
        return self._backend is not None

    @property
    def capacity(self) -> int:
        """How many trainings it is worth having submitted; 1 before it is open."""
        return 1 if self._backend is None else self._backend.capacity

    @property
    def choice(self) -> BackendChoice:
        """For the record."""
        if self._choice is not None:
            return self._choice
        return BackendChoice(name=self.spec.options.backend, capacity=0, chosen="given")

    def open(self, plan: RunPlan, trials_left: int) -> None:
        """Choose and open it.

        Args:
            plan: of the first training, for a measurement.
            trials_left: of the search.
        """
        name = self.spec.options.backend
        choice = self._choice
        if name != "auto":
            choice = BackendChoice(name=name, chosen="given")
        elif choice is None or choice.chosen == "given":
            choice = self._measure(plan, trials_left)
        self._backend = self._make(choice.name)
        self._choice = replace(choice, capacity=self._backend.capacity)

    def submit(self, trainings: Sequence[Training]) -> None:
        """See :class:`~understudy.execution.backend.Backend`."""
        self._opened.submit(trainings)

    def wait(self) -> list[Event]:
        """See :class:`~understudy.execution.backend.Backend`."""
        return self._opened.wait()

    def stop(self, training: str) -> None:
        """See :class:`~understudy.execution.backend.Backend`."""
        self._opened.stop(training)

    def close(self) -> None:
        """Stop what still runs."""
        if self._backend is not None:
            self._backend.close()

    @property
    def _opened(self) -> Backend:
        assert self._backend is not None, "opened before the first training"
        return self._backend

    def _make(self, name: str) -> Backend:
        options = self.spec.options
        return open_backend(
            name,
            self.spec.folder.path,
            device=options.device,
            workers=options.workers,
            observer=self.observer,
        )

    def _opener(self, name: str) -> Callable[[], Backend]:
        return lambda: self._make(name)

    def _measure(self, plan: RunPlan, trials_left: int) -> BackendChoice:
        self.observer.message("measuring which backend is fastest here")
        spec = self.spec
        rates = measure_backends(
            spec.costliest(plan).config,  # backends differ in what a live teacher costs
            spec.data,
            {name: self._opener(name) for name in MEASURED},
            spec.device_type,
            self.observer,
            planned=max(1, trials_left * len(spec.config.seeds)),
        )
        name = max(rates, key=lambda name: rates[name])
        figures = ", ".join(f"{each} {rate:,.0f}" for each, rate in rates.items())
        self.observer.message(f"images per second: {figures}; taking {name}")
        return BackendChoice(name=name, chosen="measured", measured=rates)
