"""Training from Python: a network on labels alone, or a student with its teacher."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from understudy.api.inputs import (
    RunOptions,
    check_trainable,
    checked_seed,
    classifier,
    parsed_method,
    split_options,
    training_data,
)
from understudy.api.student import Student
from understudy.api.teacher import Teacher, as_teachers, check_separate, described, freeze
from understudy.config.schema import TrainConfig
from understudy.data.dataset import Dataset
from understudy.data.prepare import TrainingData
from understudy.events import SILENT, EpochResult, Silent
from understudy.methods.base import MethodConfig
from understudy.methods.born_again import BornAgainConfig, generation_seed
from understudy.methods.dml import fresh_copy
from understudy.models.base import Classifier
from understudy.models.normalisation import Normalisation, record_normalisation
from understudy.teachers.acceptance import TeacherCheck
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric, resolve_precision
from understudy.training.setup import Teaching, Trained, fit
from understudy.training.state import TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    network: nn.Module | str,
    data: TrainingData | Dataset | str,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    run: RunOptions | None = None,
    **options: Any,
) -> Student:
    """Train a network on labels alone.

    Args:
        network: a module (normalised images ``[B, C, H, W]`` to logits ``[B, K]``), trained in
            place, or the name of a model (:func:`understudy.list_models`).
        data: the result of :func:`understudy.load_dataset` (validation images are then cut from its
            training images, and each channel normalised by mean 0.5 and std 0.25), prepared data,
            or a source's name.
        config: how to train.
        seed: of initial weights (for a name), order, views and dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        run: checkpoint, resuming, reporting.
        options: fields of ``config`` and ``run`` by name, which change them (``epochs=5``,
            ``checkpoint="a.pt"``).

    Returns:
        The trained network with its history and all that is needed to use it.

    Raises:
        UnderstudyError: for a wrong argument (before the first step), or a loss that is not finite.
    """
    return distill(None, network, data, "ce", config, seed=seed, device=device, run=run, **options)


def distill(
    teacher: nn.Module | Teacher | Student | Sequence[nn.Module | Teacher | Student] | None,
    student: nn.Module | str,
    data: TrainingData | Dataset | str,
    method: str | Mapping[str, Any] | MethodConfig = "kd",
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    run: RunOptions | None = None,
    **options: Any,
) -> Student:
    """Train a student with the help of a teacher.

    The teacher is measured on the validation images before training and refused if it knows too
    little; what was found is in ``teachers`` of the result. It is frozen in place, and fed images
    in its own normalisation (see :class:`understudy.Teacher`).

    Args:
        teacher: a trained module, a :class:`Teacher`, the :class:`Student` of an earlier training,
            or several of them that teach together; ``None`` for a method that needs none.
        student: a module, trained in place, or the name of a model.
        data: as for :func:`train`.
        method: a method's name (:func:`understudy.list_methods`), or a mapping of its name and
            options (``{"name": "kd", "temperature": 2}``). With ``born_again`` the generations
            before the last are fresh copies of the student.
        config: how to train.
        seed: of initial weights (for a name), order, views and dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        run: the teachers' weights and outputs, checkpoint, resuming, reporting.
        options: fields of ``config`` and ``run`` by name, which change them.

    Returns:
        The trained student with its history and all that is needed to use it.

    Raises:
        UnderstudyError: for a wrong argument or teacher (before the first step), or a loss that is
            not finite.
    """
    settings, run = split_options(config, run, options)
    chosen = parsed_method(method)
    checked_seed(seed)
    prepared = training_data(data)
    teachers = as_teachers(teacher)
    fabric = make_fabric(device, settings.precision)
    torch.manual_seed(seed)
    network = classifier("student", student, prepared)
    check_trainable(network)
    check_separate(teachers, network)
    frozen: FrozenTeacher | None = None
    checks: tuple[TeacherCheck, ...] = ()
    if teachers:
        frozen, checks = freeze(
            teachers,
            prepared,
            fabric.device,
            resolve_precision(settings.precision, fabric.device),
            run.weights,
            ensemble=isinstance(teacher, Sequence),
        )
    session = _Session(prepared, settings, fabric, seed, run)
    if isinstance(chosen, BornAgainConfig):
        frozen = _earlier_generations(chosen, network, frozen, session)
    trained = _fit(network, chosen, frozen, session, run.checkpoint)
    return _student(trained, network, prepared, checks)


@dataclass(frozen=True)
class _Session:
    """What the trainings of one call have in common."""

    data: TrainingData
    settings: TrainConfig
    fabric: "Fabric"
    seed: int
    run: RunOptions


def _earlier_generations(
    method: BornAgainConfig,
    student: Classifier,
    teacher: FrozenTeacher | None,
    session: _Session,
) -> FrozenTeacher | None:
    """Train all generations but the last; the last of them is the student's teacher."""
    path = session.run.checkpoint
    for generation in range(1, method.generations):
        torch.manual_seed(generation_seed(session.seed, generation))
        network = fresh_copy(student)
        torch.manual_seed(session.seed)
        own = path and path.with_name(f"{path.stem}-gen{generation}{path.suffix}")
        trained = _fit(network, replace(method, generations=1), teacher, session, own)
        device = session.fabric.device
        teacher = FrozenTeacher(
            trained.network.to(device),
            precision=resolve_precision(session.settings.precision, device),
            description=described(trained.network),
        )
    return teacher


def _fit(
    network: Classifier,
    method: MethodConfig,
    teacher: FrozenTeacher | None,
    session: _Session,
    checkpoint: Path | None,
) -> Trained:
    run = session.run
    return fit(
        network,
        session.data,
        Teaching(method, teacher, run.outputs),
        session.settings,
        session.fabric,
        seed=session.seed,
        files=TrainingFiles(checkpoint, run.resume),
        observer=SILENT if run.on_epoch is None else _CallEachEpoch(run.on_epoch),
    )


class _CallEachEpoch(Silent):
    """Calls a function after each epoch; what the function raises ends the training."""

    def __init__(self, on_epoch: Callable[[EpochResult], None]) -> None:
        self.on_epoch = on_epoch

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.on_epoch(result)


def _record(network: Classifier, data: TrainingData) -> None:
    record_normalisation(network, Normalisation(data.config.mean, data.config.std))


def _student(
    trained: Trained, network: Classifier, data: TrainingData, checks: tuple[TeacherCheck, ...]
) -> Student:
    _record(network, data)
    _record(trained.network, data)
    return Student(
        network=trained.network,
        history=trained.history,
        class_names=data.class_names,
        mean=data.config.mean,
        std=data.config.std,
        image=data.image,
        teachers=checks,
    )
