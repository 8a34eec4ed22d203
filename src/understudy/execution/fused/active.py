"""A training in the fused program: built like one alone, from shared parts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from understudy.config.schema import TrainConfig
from understudy.data.dataset import SealedSplit
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.events import SILENT, EpochResult, NamedObserver, Observer
from understudy.execution.backend import Training
from understudy.execution.fused.interleaved import SharedBatches, SharedTeacher, StepwiseRun
from understudy.execution.fused.student import StackedStudent, why_not_stacked
from understudy.methods.base import Method
from understudy.methods.born_again import generation_seed
from understudy.runs.networks import arm_data, build, load_teacher
from understudy.teachers.base import Teacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.loop import train_steps
from understudy.training.setup import Teaching, build_training, class_sampler
from understudy.training.state import TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Engine = Literal["auto", "interleaved", "stacked"]


@dataclass
class ActiveTraining:
    """A training that the fused program works on.

    Attributes:
        training: as submitted.
        data, test: its images.
        fabric: shared by all trainings of its precision.
        batches: shared by the trainings of its seed.
        method: the student inside its loss.
        student: its state in the engine that trains it.
        history: epochs that are done.
    """

    training: Training
    data: TrainingData
    test: SealedSplit
    fabric: "Fabric"
    batches: SharedBatches
    method: Method
    student: StepwiseRun | StackedStudent
    history: list[EpochResult] = field(default_factory=list)

    @property
    def is_stacked(self) -> bool:
        """Whether it is trained in a stack."""
        return isinstance(self.student, StackedStudent)

    @property
    def group_key(self) -> tuple[object, ...]:
        """Equal for trainings that can be trained together while they are before the same epoch."""
        if isinstance(self.student, StackedStudent):
            return "stacked", self.student.group_key
        return "interleaved", id(self.batches)

    def leave(self) -> None:
        """End it at the current step; its checkpoint is that of the last whole epoch."""
        if isinstance(self.student, StepwiseRun):
            self.student.close()


class Shared:
    """What trainings have in common, made by the first that needs it and found by key."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, ...], Any] = {}

    def get(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """The part of this key."""
        if key not in self._parts:
            self._parts[key] = make()
        return self._parts[key]


def activate(
    training: Training, device: str, engine: Engine, shared: Shared, observer: Observer
) -> ActiveTraining:
    """Build a student and its loss in the order of ``run_arm``: the same random draws.

    Raises:
        UnderstudyError: if it cannot be trained here, or not by this engine.
    """
    plan, run, arm = training.plan, training.run, training.run.arm
    config, settings = plan.config, arm.train
    fabric = shared.get(
        ("fabric", settings.precision), lambda: make_fabric(device, settings.precision)
    )
    if fabric.world_size > 1:
        raise UnderstudyError(
            "fused trains many students in one process: start it without torchrun"
        )
    data, test = shared.get(
        ("data", str(config.data), str(arm.inputs.pixels)),
        lambda: arm_data(*prepare_data(config.data), arm),
    )
    teacher_key = _teacher_key(training)
    batches_key = _batches_key(training, teacher_key)
    batches = shared.get(
        batches_key, lambda: _shared_batches(data, settings, run.seed, fabric.device)
    )
    torch.manual_seed(generation_seed(run.seed, arm.generation))
    student = build(arm.model, data, arm.stages, arm.inputs)
    # Loaded for every student although the first one's is shared: building draws from the
    # student's generator.
    frozen = None
    if arm.uses_teacher:
        frozen = load_teacher(plan, run, training.folder, data, fabric.device, training.teachers)
    teaching = Teaching(arm.method, frozen, config.teacher.outputs, training.cache)
    method, own = build_training(student, data, teaching, settings, fabric, batches)
    teacher = None
    if own is not None and frozen is not None:
        key = ("teacher", *batches_key, *_outputs_key(own, frozen, training), *teacher_key)
        teacher = shared.get(key, lambda: SharedTeacher(own))
    files = TrainingFiles(training.folder.checkpoint(run.name), resume=True)
    engine_run: StepwiseRun | StackedStudent
    if choose_engine(engine, method, fabric.device) == "stacked":
        engine_run = StackedStudent(method, data, settings, fabric, teacher, batches, files)
    else:
        steps = train_steps(
            method,
            data,
            settings,
            fabric,
            batches=batches,
            teacher=teacher,
            files=files,
            observer=SILENT if observer is SILENT else NamedObserver(training.name, observer),
        )
        engine_run = StepwiseRun(steps, fabric.device)
    return ActiveTraining(training, data, test, fabric, batches, method, engine_run)


def _shared_batches(
    data: TrainingData, settings: TrainConfig, seed: int, device: torch.device
) -> SharedBatches:
    batches = SharedBatches(
        data.train,
        data.config,
        settings.batch_size,
        seed,
        device,
        drop_last=settings.drop_last,
        grid=data.grid,
    )
    batches.sampler = class_sampler(settings, data)
    return batches


def choose_engine(engine: Engine, method: Method, device: torch.device) -> str:
    """``interleaved`` or ``stacked``: ``auto`` stacks on CUDA what can be stacked.

    Raises:
        UnderstudyError: if ``stacked`` is demanded for a training that cannot be stacked.
    """
    if engine == "interleaved" or (engine == "auto" and device.type == "cpu"):
        return "interleaved"
    why = why_not_stacked(method)
    if why and engine == "stacked":
        raise UnderstudyError(f"this training cannot be stacked: {why}; use the engine interleaved")
    return "interleaved" if why else "stacked"


def _batches_key(training: Training, teacher_key: tuple[str, ...]) -> tuple[str, ...]:
    """Equal for trainings that get the same batches."""
    arm = training.run.arm
    settings, curriculum = arm.train, arm.method.curriculum
    key = (
        "batches",
        str(training.plan.config.data),
        str(arm.inputs.pixels),
        str(training.run.seed),
        str(settings.batch_size),
        str(settings.drop_last),
        settings.sampling,
    )
    if curriculum is None:
        return key
    # The teacher decides which images a curriculum starts with.
    return (*key, str(curriculum), str(settings.epochs), *teacher_key)


def _teacher_key(training: Training) -> tuple[str, ...]:
    """Equal for trainings with the same teacher."""
    run = training.run
    teacher = training.plan.teacher_of(run.arm)
    key = (str(training.teachers), str(run.arm.teacher), str(run.teacher_seed))
    if teacher is None or teacher.is_shared:
        return key
    return (*key, str(training.folder))  # a student of this folder teaches


def _outputs_key(teacher: Teacher, frozen: FrozenTeacher, training: Training) -> tuple[str, ...]:
    """Equal for trainings that read the same of their teacher: live, logits, embeddings too."""
    folder = teacher.store.folder if isinstance(teacher, CachedTeacher) else None
    return (str(folder), str(training.cache), frozen.description, frozen.precision)
