"""A teacher for ``distill``: a trained network, its own normalisation, its accuracy."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from understudy.api.inputs import checked_module, default_config
from understudy.api.student import Student
from understudy.api.teacher_network import ClassNames, checked_names, teacher_network
from understudy.config.schema import DataConfig, Interpolation
from understudy.data.own_size import has_own_pixels, own_copy
from understudy.data.prepare import TrainingData
from understudy.data.spec import size_of
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import accuracy, predict
from understudy.models.base import Classifier
from understudy.models.class_matching import are_placeholders
from understudy.models.ensemble import Ensemble
from understudy.models.expects import Expects, expects, input_channels
from understudy.models.normalisation import Normalisation, Source, bare
from understudy.teachers.acceptance import TeacherCheck, least_teacher_accuracy, require_accuracy
from understudy.teachers.frozen import FrozenTeacher, renormalisation
from understudy.teachers.frozen import freeze as frozen_teacher
from understudy.teachers.output_checks import check_outputs


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network with the normalisation that it was trained with.

    Without ``mean`` and ``std`` the normalisation is, in this order: what this package noted when
    it trained or loaded the network; the ``pretrained_cfg`` of a timm network; that of the data,
    with a warning, because a teacher that is fed the wrong pixels teaches less than it knows. Size
    and filter are what the network records, else the student's: the teacher sees the same part of
    each picture as the student, at its own size.

    Attributes:
        network: a module, normalised images ``[B, C, H, W]`` to logits ``[B, K]``.
        mean, std: of the [0, 1] images, one number per channel; both or neither.
        min_accuracy: validation accuracy in [0, 1] below which ``distill`` refuses the teacher; by
            default :func:`~understudy.teachers.acceptance.least_teacher_accuracy`, 0.2 for ten
            classes. 0 accepts every teacher whose outputs can be logits.
        image_size: pixels of its images, a number for squares or (height, width).
        interpolation: ``bilinear`` or ``bicubic``, by which images are brought to that size.
        classes: names of the network's outputs in their order, or a file with one name a line; by
            default those that the network records. They are matched with the classes of the images
            by name, in any order; of a network with more classes those of the images are used.

    Raises:
        UnderstudyError: for a network that is no module or has other than fp32 weights; if only one
            of ``mean`` and ``std`` is given, or they do not fit each other; for no such size or
            filter.
    """

    network: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    min_accuracy: float | None = None
    image_size: int | tuple[int, int] | None = None
    interpolation: Interpolation | None = None
    classes: ClassNames = None

    def __post_init__(self) -> None:
        checked_module("teacher", self.network)
        if self.classes is not None:
            object.__setattr__(self, "classes", checked_names(self.classes))
        if (self.mean is None) != (self.std is None):
            raise UnderstudyError("Teacher: mean and std must be given together")
        if self.mean is not None and self.std is not None:
            Normalisation(self.mean, self.std)
        size_of(self.image_size, "Teacher: image_size")
        if self.interpolation not in (None, "bilinear", "bicubic"):
            raise UnderstudyError(
                f"Teacher: interpolation must be bilinear or bicubic, not {self.interpolation!r}"
            )


@dataclass(frozen=True)
class _Placed:
    """A teacher's network behind the package's interface, and the images that it is fed."""

    given: Teacher
    network: Classifier
    images: TrainingData
    source: Source

    @property
    def inputs(self) -> DataConfig:
        """Size, filter, channels and normalisation of its images."""
        return self.images.config


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
        return [
            Teacher(
                teacher.network,
                teacher.mean,
                teacher.std,
                image_size=teacher.image.size,
                interpolation=teacher.preprocessing.filter,
                classes=known,
            )
        ]
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
    network, inputs = placed[0].network, placed[0].inputs
    if ensemble:
        inputs = _common_inputs(placed, data)
        changes = [_change(inputs, one.inputs, device) for one in placed]
        network = Ensemble([one.network for one in placed], weights, changes)
    description = " ".join(_description(one, data) for one in placed)
    frozen = frozen_teacher(
        network.to(device), data, inputs, device, precision=precision, description=description
    )
    return frozen, checks


def _common_inputs(placed: Sequence[_Placed], data: TrainingData) -> DataConfig:
    """The images of several teachers, which get the same ones, as the student's are normalised.

    Raises:
        UnderstudyError: if they expect different ones.
    """
    seen = list(dict.fromkeys((one.images.image, one.inputs.interpolation) for one in placed))
    if len(seen) > 1:
        listed = ", ".join(f"{image} {interpolation}" for image, interpolation in seen)
        raise UnderstudyError(
            f"the teachers expect different images ({listed}), and several teachers see the same "
            "ones: give each understudy.Teacher(network, image_size=..., interpolation=...)"
        )
    first, own = placed[0].inputs, data.config
    if len(first.mean) != len(own.mean):
        return first
    return replace(first, mean=own.mean, std=own.std)


def _change(
    given: DataConfig, own: DataConfig, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor] | None:
    return renormalisation(given.mean, given.std, own.mean, own.std, device)


def described(module: nn.Module) -> str:
    """What decides a module's outputs apart from its weights: its class and printed structure."""
    structure = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(module))
    return f"{type(module).__module__}.{type(module).__qualname__} {structure}"


def _description(placed: _Placed, data: TrainingData) -> str:
    text, own, given = described(placed.given.network), placed.inputs, data.config
    is_changed = (own.mean, own.std) != (given.mean, given.std)
    return f"{text} mean {own.mean} std {own.std}" if is_changed else text


def _place(teacher: Teacher, data: TrainingData) -> _Placed:
    """The teacher with the images that it is to see, checked to run on them."""
    module, given = teacher.network, data.config
    takes = data.image.channels
    if takes in (1, 3) and input_channels(module) in (1, 3):
        takes = input_channels(module) or takes
    recorded = expects(module, takes)
    if recorded.source == "recorded":  # trained by this package, on images of the student's size
        recorded = Expects(normalisation=recorded.normalisation, source=recorded.source)
    normalisation, source = _normalisation(teacher, recorded, data, takes)
    is_other = takes != data.image.channels
    inputs = replace(
        given,
        image_size=size_of(teacher.image_size) or recorded.size or given.image_size,
        interpolation=teacher.interpolation or recorded.interpolation or given.interpolation,
        channels=takes if is_other else given.channels,
        mean=normalisation.mean,
        std=normalisation.std,
    )
    images = replace(own_copy(data, inputs), config=inputs)
    network = teacher_network(module, teacher.classes, images)
    return _Placed(teacher, network, images, source)


def _normalisation(
    teacher: Teacher, recorded: Expects, data: TrainingData, channels: int
) -> tuple[Normalisation, Source]:
    """Of the teacher's images: as given, as recorded, else the student's with a warning."""
    if teacher.mean is not None and teacher.std is not None:
        if len(teacher.mean) != channels:
            raise UnderstudyError(
                f"the teacher's mean has {len(teacher.mean)} values, but the images have "
                f"{channels} channels: give one per channel"
            )
        return Normalisation(teacher.mean, teacher.std), "given"
    if recorded.normalisation is not None and recorded.source is not None:
        return recorded.normalisation, recorded.source
    own = data.config if channels == data.image.channels else default_config(channels)
    name = type(bare(teacher.network)).__name__
    warnings.warn(
        f"the normalisation of the teacher {name} is not known: it is fed the data's, mean "
        f"{own.mean} and std {own.std}; if it was trained with another, give "
        "understudy.Teacher(network, mean=..., std=...)",
        stacklevel=6,
    )
    return Normalisation(own.mean, own.std), "assumed"


def _check(
    placed: _Placed, data: TrainingData, device: torch.device, precision: str
) -> TeacherCheck:
    inputs, val = placed.inputs, placed.images.val
    name = type(bare(placed.given.network)).__name__
    logits = predict(placed.network.to(device), val, inputs, device, precision=precision)
    hardly_meant = check_outputs(f"the teacher {name}", logits)
    reached, least = accuracy(logits, val.labels), placed.given.min_accuracy
    if least is None:
        least = least_teacher_accuracy(val.labels, logits)
    require_accuracy(
        f"the teacher {name}",
        reached,
        least,
        hardly_meant
        or "check its classes and give understudy.Teacher(network, mean=..., std=...), "
        "or set its min_accuracy",
    )
    normalisation = Normalisation(inputs.mean, inputs.std)
    if not has_own_pixels(data, inputs):
        return TeacherCheck(name, reached, normalisation, placed.source)
    seen = placed.images.image.size
    return TeacherCheck(name, reached, normalisation, placed.source, seen, inputs.interpolation)
