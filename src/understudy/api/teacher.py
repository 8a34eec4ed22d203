"""A teacher for ``distill``: a trained network, its own normalisation, its accuracy."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from understudy.api.inputs import checked_module
from understudy.api.student import Student
from understudy.api.teacher_network import ClassNames, checked_names, teacher_network
from understudy.data.prepare import TrainingData
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import accuracy, predict
from understudy.models.base import Classifier
from understudy.models.class_matching import are_placeholders
from understudy.models.ensemble import Ensemble
from understudy.models.normalisation import (
    Normalisation,
    Source,
    known_normalisation,
    pretrained_config,
)
from understudy.teachers.acceptance import TeacherCheck, least_teacher_accuracy, require_accuracy
from understudy.teachers.frozen import FrozenTeacher, renormalisation


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network with the normalisation that it was trained with.

    Without ``mean`` and ``std`` the normalisation is, in this order: what this package noted when
    it trained or loaded the network; the ``pretrained_cfg`` of a timm network; that of the data,
    with a warning, because a teacher that is fed the wrong pixels teaches less than it knows.

    Attributes:
        network: a module, normalised images ``[B, C, H, W]`` to logits ``[B, K]``.
        mean, std: of the [0, 1] images, one number per channel; both or neither.
        min_accuracy: validation accuracy in [0, 1] below which ``distill`` refuses the teacher; by
            default :func:`~understudy.teachers.acceptance.least_teacher_accuracy`, 0.2 for ten
            classes. 0 accepts every teacher.
        classes: names of the network's outputs in their order, or a file with one name a line; by
            default those that the network records. They are matched with the classes of the images
            by name, in any order; of a network with more classes those of the images are used.

    Raises:
        UnderstudyError: for a network that is no module or has other than fp32 weights; if only one
            of ``mean`` and ``std`` is given, or they do not fit each other.
    """

    network: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    min_accuracy: float | None = None
    classes: ClassNames = None

    def __post_init__(self) -> None:
        checked_module("teacher", self.network)
        if self.classes is not None:
            object.__setattr__(self, "classes", checked_names(self.classes))
        if (self.mean is None) != (self.std is None):
            raise UnderstudyError("Teacher: mean and std must be given together")
        if self.mean is not None and self.std is not None:
            Normalisation(self.mean, self.std)


@dataclass(frozen=True)
class _Placed:
    """A teacher's network behind the package's interface, and how it is fed."""

    given: Teacher
    network: Classifier
    normalisation: Normalisation
    source: Source


def as_teachers(teacher: Any) -> list[Teacher]:
    """One or several teachers from what ``distill`` accepts; empty for ``None``.

    Raises:
        UnderstudyError: for a model's name or an empty sequence.
    """
    if teacher is None:
        return []
    if isinstance(teacher, str):
        raise UnderstudyError(
            f"the teacher must be a trained network, not a name: "
            f"train it first, teacher = understudy.train({teacher!r}, data)"
        )
    if isinstance(teacher, Sequence) and not isinstance(teacher, (nn.Module, bytes)):
        if not teacher:
            raise UnderstudyError(
                "teacher is an empty sequence: give None, or at least one network"
            )
        return [one for several in teacher for one in as_teachers(several)]
    if isinstance(teacher, Student):
        known = None if are_placeholders(teacher.class_names) else teacher.class_names
        return [Teacher(teacher.network, teacher.mean, teacher.std, classes=known)]
    return [teacher if isinstance(teacher, Teacher) else Teacher(teacher)]


def check_separate(teachers: Sequence[Teacher], student: nn.Module) -> None:
    """Refuse a student that is its teacher, or shares weights with it: they would be frozen.

    Raises:
        UnderstudyError: naming the way out.
    """
    own = {id(parameter) for parameter in student.parameters()}
    for teacher in teachers:
        if any(id(parameter) in own for parameter in teacher.network.parameters()):
            raise UnderstudyError(
                "teacher and student are one network or share weights: "
                "give a copy, copy.deepcopy(network)"
            )


def freeze(
    teachers: Sequence[Teacher],
    data: TrainingData,
    device: torch.device,
    precision: str,
    weights: Sequence[float] | None = None,
    ensemble: bool = False,
) -> tuple[FrozenTeacher, tuple[TeacherCheck, ...]]:
    """Teachers behind the package's interface, measured on validation, frozen, on the device.

    Args:
        teachers: at least one.
        data: the student's.
        device: where they run.
        precision: ``fp32`` or ``bf16``.
        weights: of several, relative to each other.
        ensemble: whether even one teacher becomes an ensemble.

    Raises:
        UnderstudyError: for a network that does not fit the data, or knows too little.
    """
    if weights is not None and not ensemble:
        raise UnderstudyError("weights are for several teachers: give the teachers as a list")
    placed = [_place(teacher, data) for teacher in teachers]
    checks = tuple(_check(one, data, device, precision) for one in placed)
    mean, std = data.config.mean, data.config.std
    changes = [
        renormalisation(mean, std, one.normalisation.mean, one.normalisation.std, device)
        for one in placed
    ]
    networks = [one.network for one in placed]
    description = " ".join(
        _description(one, changed=change is not None)
        for one, change in zip(placed, changes, strict=True)
    )
    if ensemble:
        network: Classifier = Ensemble(networks, weights, changes)
        change = None
    else:
        network, change = networks[0], changes[0]
    frozen = FrozenTeacher(
        network.to(device), renormalise=change, precision=precision, description=description
    )
    return frozen, checks


def described(module: nn.Module) -> str:
    """What decides a module's outputs apart from its weights: its class and printed structure."""
    structure = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(module))
    return f"{type(module).__module__}.{type(module).__qualname__} {structure}"


def _description(placed: _Placed, *, changed: bool) -> str:
    text = described(placed.given.network)
    own = placed.normalisation
    return f"{text} mean {own.mean} std {own.std}" if changed else text


def _place(teacher: Teacher, data: TrainingData) -> _Placed:
    network = teacher_network(teacher.network, teacher.classes, data)
    channels = data.image.channels
    if teacher.mean is not None and teacher.std is not None:
        if len(teacher.mean) != channels:
            raise UnderstudyError(
                f"the teacher's mean has {len(teacher.mean)} values, but the images have "
                f"{channels} channels: give one per channel"
            )
        return _Placed(teacher, network, Normalisation(teacher.mean, teacher.std), "given")
    known, source = known_normalisation(network, channels)
    name = type(teacher.network).__name__
    if known is None or source is None:
        own = Normalisation(data.config.mean, data.config.std)
        warnings.warn(
            f"the normalisation of the teacher {name} is not known: it is fed the data's, mean "
            f"{own.mean} and std {own.std}; if it was trained with another, give "
            "understudy.Teacher(network, mean=..., std=...)",
            stacklevel=5,
        )
        return _Placed(teacher, network, own, "assumed")
    if source == "pretrained_cfg":
        _compare_sizes(name, network, data.image)
    return _Placed(teacher, network, known, source)


def _compare_sizes(name: str, network: Classifier, image: ImageSpec) -> None:
    size = pretrained_config(network).get("input_size")
    if size is not None and tuple(size) != image.shape:
        trained = "x".join(map(str, size))
        warnings.warn(
            f"the pretrained_cfg of the teacher {name} is for {trained} images, but it is fed "
            f"{image}: load the data with the image_size of the teacher if its accuracy is low",
            stacklevel=6,
        )


def _check(
    placed: _Placed, data: TrainingData, device: torch.device, precision: str
) -> TeacherCheck:
    own = placed.normalisation
    config = replace(data.config, mean=own.mean, std=own.std)
    logits = predict(placed.network.to(device), data.val, config, device, precision=precision)
    reached = accuracy(logits, data.val.labels)
    least = placed.given.min_accuracy
    if least is None:
        least = least_teacher_accuracy(data.val.labels, logits)
    name = type(placed.given.network).__name__
    require_accuracy(
        f"the teacher {name}",
        reached,
        least,
        "check its classes and give understudy.Teacher(network, mean=..., std=...), "
        "or set its min_accuracy",
    )
    return TeacherCheck(name, reached, own, placed.source)
