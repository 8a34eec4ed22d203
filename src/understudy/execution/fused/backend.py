"""Many students in one program, on shared data, batches and teacher outputs.

Two engines. ``interleaved`` runs the students' steps in turn
(:mod:`~understudy.execution.fused.interleaved`): any student, any method, the bits of training
alone; best on a CPU. ``stacked`` computes plain students of one architecture as one network
(:mod:`~understudy.execution.fused.stack`): equal within rounding; for a GPU that one small student
cannot fill. docs/fused.md compares them.
"""

from collections.abc import Iterator, Sequence

import torch

from understudy.events import SILENT, EpochResult, Observer
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Finished,
    Stopped,
    Training,
    discard_earlier,
    failed,
    load_finished,
)
from understudy.execution.fused.active import ActiveTraining, Engine, Shared, activate
from understudy.execution.fused.interleaved import StepwiseRun, round_robin_epoch
from understudy.execution.fused.stack import epoch_stacked
from understudy.execution.fused.student import StackedStudent
from understudy.runs.finish import TrainedArm, finish_arm


class FusedBackend(Backend):
    """Trains students together, in this process.

    One call of :meth:`wait` is one epoch of a group: trainings before the same epoch that share
    what their engine needs, the batches of a seed (interleaved), or architecture, optimizer, batch
    size and length, over all seeds (stacked). Lagging trainings run first; once level they share.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        engine: ``auto`` stacks on CUDA what can be stacked and interleaves the rest; ``stacked``
            fails what cannot be stacked.
        capacity: students worth having at once; bounds memory (100,000 parameters are 2 MB).
        threads: CPU threads; ``None`` leaves their number unchanged.
        observer: gets the progress within epochs, of the engine ``interleaved``.
    """

    name = "fused"

    def __init__(
        self,
        *,
        device: str = "auto",
        engine: Engine = "auto",
        capacity: int = 32,
        threads: int | None = None,
        observer: Observer = SILENT,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device, self.engine, self.capacity = device, engine, capacity
        self.observer = observer
        self._submitted: list[Training] = []
        self._active: list[ActiveTraining] = []
        self._stopping: set[str] = set()
        self._largest_stack = capacity  # fewer once the memory has proved too small for as many
        self._shared = Shared()

    def submit(self, trainings: Sequence[Training]) -> None:
        """Accept trainings; they are built by the next :meth:`wait`."""
        self._submitted += trainings

    def stop(self, training: str) -> None:
        """End a training between two epochs, at the next :meth:`wait`."""
        self._stopping.add(training)

    def close(self) -> None:
        """Drop all trainings and all that they share; checkpoints stay."""
        for active in self._active:
            active.leave()
        self._submitted, self._active, self._stopping = [], [], set()
        self._shared = Shared()

    def wait(self) -> list[Event]:
        """Stop and build what is due, or train one epoch of a group; empty if nothing is left."""
        events = [*self._stop_requested(), *self._build_submitted()]
        while not events and self._active:  # again, if a stack was too large for the memory
            events = list(self._train_group(self._next_group()))
        return events

    def _stop_requested(self) -> Iterator[Event]:
        stopping, self._stopping = self._stopping, set()
        for name in [t.name for t in self._submitted if t.name in stopping]:
            self._submitted = [t for t in self._submitted if t.name != name]
            yield Stopped(name)
        for active in [a for a in self._active if a.training.name in stopping]:
            self._remove(active)
            yield Stopped(active.training.name)

    def _build_submitted(self) -> Iterator[Event]:
        submitted, self._submitted = self._submitted, []
        for training in submitted:
            discard_earlier(training)
            try:
                finished = load_finished(training)
                if finished is not None:
                    yield finished
                    continue
                active = activate(training, self.device, self.engine, self._shared, self.observer)
                active.history = list(active.student.start())
            except Exception as error:
                yield failed(training.name, error)
                continue
            self._active.append(active)
            for result in active.history:
                yield Epoch(training.name, result)
            yield from self._finish_if_done(active)

    def _next_group(self) -> list[ActiveTraining]:
        """The lagging trainings of the group that has waited longest."""
        first = self._active[0]
        candidates = [a for a in self._active if a.group_key == first.group_key]
        fewest = min(len(a.history) for a in candidates)
        group = [a for a in candidates if len(a.history) == fewest]
        return group[: self._largest_stack] if first.is_stacked else group

    def _train_group(self, group: list[ActiveTraining]) -> Iterator[Event]:
        key = group[0].group_key
        self._active.sort(key=lambda active: active.group_key == key)  # to the end of the queue
        by_name = {active.training.name: active for active in group}
        for name, result in self._epoch_of(group):
            active = by_name[name]
            if isinstance(result, Exception):
                self._remove(active)
                yield failed(name, result)
                continue
            active.history.append(result)
            yield Epoch(name, result)
            yield from self._finish_if_done(active)

    def _epoch_of(
        self, group: list[ActiveTraining]
    ) -> Iterator[tuple[str, EpochResult | Exception]]:
        runs: dict[str, StepwiseRun] = {}
        stacked: dict[str, StackedStudent] = {}
        for active in group:
            if isinstance(active.student, StepwiseRun):
                runs[active.training.name] = active.student
            else:
                stacked[active.training.name] = active.student
        return round_robin_epoch(runs) if runs else self._stacked_epoch(stacked)

    def _stacked_epoch(
        self, students: dict[str, StackedStudent]
    ) -> Iterator[tuple[str, EpochResult | Exception]]:
        """An epoch of a stack; nothing if the memory is too small: next time half as many try."""
        generators = {name: student.generator.get_state() for name, student in students.items()}
        outcomes = list(epoch_stacked(students))
        too_large = all(isinstance(outcome, torch.OutOfMemoryError) for _, outcome in outcomes)
        if len(students) == 1 or not too_large:
            yield from outcomes
            return
        self._largest_stack = len(students) // 2
        outcomes.clear()  # the errors hold the frames, and those the tensors
        for name, student in students.items():
            student.stack = None
            student.generator.set_state(generators[name])
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _finish_if_done(self, active: ActiveTraining) -> Iterator[Event]:
        """Evaluate and write a training after its last epoch."""
        if not active.student.done:
            return
        training = active.training
        self._remove(active)
        try:
            result = finish_arm(
                training.plan,
                training.run,
                training.folder,
                TrainedArm(active.method.deployed(), active.history, active.student.seconds),
                active.data,
                active.test if training.final else None,
                active.fabric,
                teachers=training.teachers,
            )
        except Exception as error:
            yield failed(training.name, error)
        else:
            yield Finished(training.name, result)

    def _remove(self, active: ActiveTraining) -> None:
        self._active.remove(active)
        active.leave()
