"""Many students in one program: data, batches and the teacher's outputs are shared, and one epoch of all is one piece of work.

Two engines. ``interleaved`` gives the students turns (:mod:`~understudy.execution.fused.interleaved`): any student, any method, the bits
of training alone; what a CPU wants. ``stacked`` computes plain students of one architecture as one network
(:mod:`~understudy.execution.fused.stack`): equal within rounding; made for a GPU that one small student cannot fill.
docs/fused.md says which wins where.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from understudy.config.schema import TrainConfig
from understudy.data.dataset import SealedSplit
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.execution.backend import (
    Backend,
    Epoch,
    Event,
    Finished,
    Stopped,
    Training,
    failed,
    kept_result,
)
from understudy.execution.fused.interleaved import (
    SharedBatches,
    SharedTeacher,
    Turns,
    epoch_in_turns,
)
from understudy.execution.fused.stack import epoch_stacked
from understudy.execution.fused.student import StackedStudent, why_not_stacked
from understudy.methods import method_config, needs_of
from understudy.methods.base import Method
from understudy.methods.born_again import generation_seed
from understudy.runs.finish import TrainedArm, finish_arm
from understudy.runs.folder import arm_folder
from understudy.runs.networks import build, load_teacher
from understudy.runs.plan import ArmSpec, link_of, spec_of
from understudy.teachers.cached import CachedTeacher
from understudy.training.device import make_fabric
from understudy.training.loop import train_steps
from understudy.training.setup import Teaching, build_training
from understudy.training.state import TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Engine = Literal["auto", "interleaved", "stacked"]


@dataclass
class Seat:
    """A training that this backend has taken on.

    Attributes:
        training: as submitted; spec: the same for :mod:`understudy.runs.arm`.
        data, test: its images; batches, teacher: shared with the seats of its seed.
        fabric: shared with all of its precision.
        method: the student inside its loss.
        engine: what trains it; student: its state there.
        history: epochs that are done.
    """

    training: Training
    spec: ArmSpec
    data: TrainingData
    test: SealedSplit
    fabric: "Fabric"
    batches: SharedBatches
    teacher: SharedTeacher | None
    method: Method
    engine: str
    student: Turns | StackedStudent
    history: list[EpochResult] = field(default_factory=list)


class FusedBackend(Backend):
    """Trains students together, in this process.

    One call of :meth:`wait` is one epoch of those that stand at the same epoch and share what their engine shares: the
    batches of a seed (interleaved), or architecture, optimizer, batch size and length as well, over all seeds (stacked).
    Whoever is behind goes first, and from where it catches up shares with the others.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        engine: ``auto`` stacks on CUDA whatever can be stacked and gives turns to the rest; ``stacked`` fails the rest.
        capacity: students that are worth having at once; bounds memory (a student of 100,000 parameters is 2 MB).
        threads: CPU threads; ``None`` leaves them as they are.
    """

    name = "fused"

    def __init__(
        self,
        *,
        device: str = "auto",
        engine: Engine = "auto",
        capacity: int = 32,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device, self.engine, self.capacity = device, engine, capacity
        self._submitted: list[Training] = []
        self._seats: list[Seat] = []
        self._stopping: set[str] = set()
        self._most = capacity  # students in one stack, fewer once the memory has turned out too small for that many
        self._shared: dict[tuple[str, ...], Any] = {}

    def submit(self, trainings: Sequence[Training]) -> None:
        """Take on trainings; they are set up by the next :meth:`wait`."""
        self._submitted += trainings

    def stop(self, training: str) -> None:
        """End a training between two epochs; the next :meth:`wait` says so."""
        self._stopping.add(training)

    def close(self) -> None:
        """Drop all trainings and all that they shared; checkpoints stay."""
        for seat in self._seats:
            _leave(seat)
        self._submitted, self._seats, self._stopping, self._shared = [], [], set(), {}

    def wait(self) -> list[Event]:
        """Stop and set up what is due, or train one epoch of one company; empty where nothing is left to train."""
        events = [*self._stop(), *self._take_on()]
        while (
            not events and self._seats
        ):  # a second time where a company was too large for the memory
            events = list(self._epoch(self._next_company()))
        return events

    def _stop(self) -> Iterator[Event]:
        stopping, self._stopping = self._stopping, set()
        for name in [t.name for t in self._submitted if t.name in stopping]:
            self._submitted = [t for t in self._submitted if t.name != name]
            yield Stopped(name)
        for seat in [s for s in self._seats if s.training.name in stopping]:
            self._remove(seat)
            yield Stopped(seat.training.name)

    def _take_on(self) -> Iterator[Event]:
        submitted, self._submitted = self._submitted, []
        for training in submitted:
            spec = spec_of(training.config, training.arm, training.seed)
            try:
                finished = kept_result(training)
                if finished is not None:
                    yield finished
                    continue
                seat = self._seat(training, spec)
                history = seat.student.start()
            except Exception as error:
                yield failed(training.name, error)
                continue
            self._seats.append(seat)
            for result in history:
                yield Epoch(training.name, result)
            seat.history += history
            yield from self._finish(seat)

    def _next_company(self) -> list[Seat]:
        """The seats to train next: of those that have waited longest, the ones furthest behind that go together."""
        first = self._seats[0]
        together = [seat for seat in self._seats if _company(seat) == _company(first)]
        behind = min(len(seat.history) for seat in together)
        company = [seat for seat in together if len(seat.history) == behind]
        return company[: self._most] if company[0].engine == "stacked" else company

    def _epoch(self, company: list[Seat]) -> Iterator[Event]:
        # To the end of the line, whole companies at a time.
        together = _company(company[0])
        self._seats.sort(key=lambda seat: _company(seat) == together)
        seats = {seat.training.name: seat for seat in company}
        students = {name: seat.student for name, seat in seats.items()}
        turns = {name: student for name, student in students.items() if isinstance(student, Turns)}
        stacked = {
            name: student
            for name, student in students.items()
            if isinstance(student, StackedStudent)
        }
        for name, result in epoch_in_turns(turns) if turns else self._epoch_stacked(stacked):
            seat = seats[name]
            if isinstance(result, Exception):
                self._remove(seat)
                yield failed(name, result)
                continue
            seat.history.append(result)
            yield Epoch(name, result)
            yield from self._finish(seat)

    def _epoch_stacked(
        self, students: dict[str, StackedStudent]
    ) -> Iterator[tuple[str, EpochResult | Exception]]:
        """An epoch of a stack; nothing where the memory is too small for it: then half as many try from where they stand."""
        drawn = {name: student.generator.get_state() for name, student in students.items()}
        outcomes = list(epoch_stacked(students))
        if len(students) == 1 or not all(
            isinstance(outcome, torch.OutOfMemoryError) for _, outcome in outcomes
        ):
            yield from outcomes
            return
        self._most = len(students) // 2
        outcomes.clear()  # the errors hold the frames, and those the tensors
        for name, student in students.items():
            student.stack = None
            student.generator.set_state(drawn[name])
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _finish(self, seat: Seat) -> Iterator[Event]:
        """Evaluate and write a training that is done."""
        if not seat.student.done:
            return
        training = seat.training
        self._remove(seat)
        try:
            result = finish_arm(
                training.config,
                seat.spec,
                training.folder,
                TrainedArm(seat.method.deployed(), seat.history, seat.student.seconds),
                seat.data,
                seat.test if training.final else None,
                seat.fabric,
                teachers=training.teachers,
            )
        except Exception as error:
            yield failed(training.name, error)
        else:
            yield Finished(training.name, result)

    def _remove(self, seat: Seat) -> None:
        self._seats.remove(seat)
        _leave(seat)

    def _seat(self, training: Training, spec: ArmSpec) -> Seat:
        """Build a student and its loss as :func:`understudy.runs.arm.run_arm` does, in the same order: the same random draws."""
        config, link = training.config, link_of(training.config, training.arm)
        settings, options = link.train, method_config(link.method)
        fabric = self._once(
            ("fabric", settings.precision), lambda: make_fabric(self.device, settings.precision)
        )
        if fabric.world_size > 1:
            raise UnderstudyError(
                "fused trains many students in one process: start it without torchrun"
            )
        data, test = self._once(("data", str(config.data)), lambda: prepare_data(config.data))
        images = (
            str(config.data),
            str(training.seed),
            str(settings.batch_size),
            str(settings.drop_last),
        )
        own = (
            ()
            if link.teacher is None or link_of(config, link.teacher).teaches_all
            else (str(training.folder),)
        )
        listens = (str(training.teachers), str(link.teacher), str(spec.teacher_seed), *own)
        if options.curriculum is not None:  # the teacher decides which images it shows
            images = (*images, str(options.curriculum), str(link.train.epochs), *listens)
        batches = self._once(
            ("batches", *images), lambda: _batches(data, settings, training.seed, fabric.device)
        )
        torch.manual_seed(generation_seed(training.seed, link.generation))
        student = build(link.model, data, link.stages)
        # Loaded for every student, though only the first one's is kept: building it draws from the student's generator.
        frozen = None
        if needs_of(options) != "nothing":
            frozen = load_teacher(
                config, spec, training.folder, data, fabric.device, training.teachers
            )
        teaching = Teaching(options, frozen, config.teacher.outputs, training.cache)
        method, answers = build_training(student, data, teaching, settings, fabric, batches)
        teacher = None
        if answers is not None and frozen is not None:
            kept = (
                answers.store.folder if isinstance(answers, CachedTeacher) else None
            )  # logits alone, or with embeddings
            which = (str(kept), *listens, str(training.cache))
            same = (*which, frozen.description, frozen.precision)
            teacher = self._once(("teacher", *images, *same), lambda: SharedTeacher(answers))
        engine, why = self._engine(method, fabric.device)
        if why:
            raise UnderstudyError(
                f"this training cannot be stacked: {why}; use the engine interleaved"
            )
        files = TrainingFiles(arm_folder(training.folder, spec.name) / "checkpoint.pt", resume=True)
        trained: Turns | StackedStudent
        if engine == "stacked":
            trained = StackedStudent(method, data, settings, fabric, teacher, batches, files)
        else:
            steps = train_steps(
                method,
                data,
                settings,
                fabric,
                teacher=teacher,
                batches=batches,
                files=files,
            )
            trained = Turns(steps, fabric.device)
        return Seat(training, spec, data, test, fabric, batches, teacher, method, engine, trained)

    def _engine(self, method: Method, device: torch.device) -> tuple[str, str]:
        """The engine for a training, and why it cannot be had (empty where it can)."""
        if self.engine == "interleaved" or (self.engine == "auto" and device.type == "cpu"):
            return "interleaved", ""
        why = why_not_stacked(method)
        return ("interleaved", "") if why and self.engine == "auto" else ("stacked", why)

    def _once(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """What is shared by all trainings of the same key, made for the first."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _batches(
    data: TrainingData, settings: TrainConfig, seed: int, device: torch.device
) -> SharedBatches:
    return SharedBatches(
        data.train, data.config, settings.batch_size, seed, device, drop_last=settings.drop_last
    )


def _company(seat: Seat) -> tuple[object, ...]:
    """Seats of equal company can be trained together, where they stand at the same epoch."""
    if isinstance(seat.student, StackedStudent):
        return "stacked", seat.student.group_key
    return "interleaved", id(seat.batches)


def _leave(seat: Seat) -> None:
    if isinstance(seat.student, Turns):
        seat.student.close()
