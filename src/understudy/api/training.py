"""Training from Python: a network on labels alone, or a student with its teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from understudy.api.following import following
from understudy.api.inputs import (
    RunOptions,
    check_roles,
    check_trainable,
    checked_module,
    checked_seed,
    classifier,
    image_channels,
    parsed_method,
    split_options,
    training_data,
)
from understudy.api.student import Student
from understudy.api.teacher import Teacher, as_teachers, check_separate, described, freeze
from understudy.config.schema import TrainConfig
from understudy.data.prepare import TrainingData, rule_of
from understudy.errors import UnderstudyError
from understudy.events import Observer
from understudy.methods.base import MethodConfig, NoStages
from understudy.methods.born_again import BornAgainConfig, generation_seed
from understudy.methods.dml import fresh_copy
from understudy.models.base import Classifier
from understudy.models.normalisation import Normalisation, record_normalisation
from understudy.teachers.acceptance import TeacherCheck
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric, resolve_device, resolve_precision
from understudy.training.setup import Teaching, Trained, fit
from understudy.training.state import TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    network: nn.Module | str,
    data: Any,
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
        data: a folder, archive or table of images (a path), ``hf:NAME`` or a source's name; arrays
            ``(X, y)``, X uint8 or floats in [0, 1], ``[N, H, W]``, ``[N, H, W, C]`` or
            ``[N, C, H, W]``, y whole numbers, names or one-hot rows; a dict of such parts,
            ``train`` and perhaps ``val`` and ``test``; a torch Dataset or DataLoader (each item is
            read once, in order); a ``datasets.Dataset``; a list of such dicts as
            ``{"image": ..., "label": ...}``; the result of :func:`understudy.load_dataset`, or
            prepared data. Validation images are cut from the training images unless they are given;
            no test image is trained on. Each channel is normalised by mean 0.5 and std 0.25, unless
            the data is prepared.
        config: how to train.
        seed: of initial weights (for a name), order, views and dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        run: checkpoint, resuming, reporting.
        options: fields of ``config`` and ``run`` by name, which change them (``epochs=5``,
            ``checkpoint="a.pt"``), and of :class:`~understudy.data.in_memory.DataOptions`
            (``image_size=64``, ``class_names=[...]``, ``val=(X, y)``).

    Returns:
        The trained network with its history and all that is needed to use it.

    Raises:
        UnderstudyError: for a wrong argument (before the first step), or a loss that is not finite.
    """
    check_roles("train(network, data)", data, network=network)
    return distill(None, network, data, "ce", config, seed=seed, device=device, run=run, **options)


def distill(
    teacher: nn.Module | Teacher | Student | Sequence[nn.Module | Teacher | Student] | None,
    student: nn.Module | str,
    data: Any,
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
        options: as for :func:`train`.

    Returns:
        The trained student with its history and all that is needed to use it.

    Raises:
        UnderstudyError: for a wrong argument or teacher (before the first step), or a loss that is
            not finite.
    """
    settings, run, reading = split_options(config, run, options)
    chosen = parsed_method(method)
    seed, device = checked_seed(seed), str(device)
    resolve_device(device)
    check_roles("distill(teacher, student, data)", data, teacher=teacher, student=student)
    teachers = as_teachers(teacher)
    if not isinstance(student, str):
        student = checked_module("student", student)
        check_trainable(student)
        check_separate(teachers, student)
    with following(run, chosen.name, student) as observer:
        prepared = training_data(data, reading, image_channels(student), observer)
        fabric = make_fabric(device, settings.precision)
        torch.manual_seed(seed)
        network = classifier("student", student, prepared)
        check_trainable(network)
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
        session = _Session(prepared, settings, fabric, seed, run, observer)
        generations = chosen.generations if isinstance(chosen, BornAgainConfig) else 1
        observer.expect(generations * settings.epochs_run)
        if isinstance(chosen, BornAgainConfig):
            frozen = _earlier_generations(chosen, network, frozen, session)
        try:
            trained = _fit(network, chosen, frozen, session, run.checkpoint)
        except NoStages as error:
            raise _stages_in_python(error, prepared) from None
    return _student(trained, network, prepared, checks)


def _stages_in_python(error: NoStages, data: TrainingData) -> UnderstudyError:
    """The same in the words of this interface, where networks have no settings."""
    role, stages = error.role, list(error.proposed) or ["layer1", "layer2"]
    given = f"{data.num_classes}, {data.image.channels}, {data.image.size}"
    return UnderstudyError(
        f"{error.needs}, but the {role} shows none: name its modules by "
        f"understudy.create_model({role}, {given}, stages={stages}){error.instead}"
    )


@dataclass(frozen=True)
class _Session:
    """What the trainings of one call have in common."""

    data: TrainingData
    settings: TrainConfig
    fabric: "Fabric"
    seed: int
    run: RunOptions
    observer: Observer


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
        observer=session.observer,
    )


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
        preprocessing=rule_of(data.config, data.image),
    )
