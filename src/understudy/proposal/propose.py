"""From the pictures at a path to the settings of a run, with the time that it will take here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.config.schema import (
    DataConfig,
    ModelConfig,
    RunConfig,
    TeacherConfig,
    TrainConfig,
    parse,
)
from understudy.config.schema import StudentConfig as Student
from understudy.cores import available_cores
from understudy.data.archives import data_set_name, is_archive
from understudy.data.inspection import Inspection
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import model_size
from understudy.events import SILENT, Observer
from understudy.models import build_model
from understudy.proposal import choices
from understudy.proposal.budget import Choice, Minutes, Work, choose
from understudy.proposal.networks import refuse_unknown, student, teachers
from understudy.proposal.timing import training_rate
from understudy.training.device import resolve_device

SEEDS = (0, 1, 2, 3, 4)
_STRONG = 4
"""Times the student's parameters: of teachers that helped in ``results`` none had fewer."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the person has set; ``None`` leaves it to the measurement.

    Attributes:
        name: of the run.
        student, teacher: names of networks; the student may be a budget, such as ``auto:100k``.
        image_size: pixels of a side.
        minutes: for the whole run.
        seeds: of the students.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: trainings at a time on a CPU; one for each core by default.
    """

    name: str
    student: str | None = None
    teacher: str | None = None
    image_size: int | None = None
    minutes: float = 30
    seeds: Sequence[int] = SEEDS
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class Proposal:
    """A run that fits the pictures and the time.

    Attributes:
        config: the settings.
        inspection: the pictures.
        minutes: estimated on this machine.
        num_train, num_val, num_test: images.
        student_parameters, teacher_parameters: sizes of the networks.
    """

    config: RunConfig
    inspection: Inspection
    minutes: Minutes
    num_train: int
    num_val: int
    num_test: int
    student_parameters: int
    teacher_parameters: int

    @property
    def has_weak_teacher(self) -> bool:
        """Whether the teacher has less than four times the student's parameters."""
        return self.teacher_parameters < _STRONG * self.student_parameters


def refuse_impossible(wishes: Wishes) -> None:
    """Raises UnderstudyError for wishes that no pictures can fulfil, before any is opened."""
    if not (0 < wishes.minutes < math.inf):
        raise UnderstudyError(f"--minutes must be above 0 and finite, not {wishes.minutes:g}")
    parse(RunConfig, {"seeds": wishes.seeds, "data": {"image_size": wishes.image_size}})
    for name in (wishes.student, wishes.teacher):
        if name is not None:
            refuse_unknown(name)


def propose(
    data: DataConfig, inspection: Inspection, wishes: Wishes, observer: Observer = SILENT
) -> Proposal:
    """Choose size, networks and length of a run; decodes the pictures and times some steps.

    Args:
        data: where the pictures are, and how they are read.
        inspection: what a scan of them found.
        wishes: what is set already.
        observer: follows the decoding; gets a line for each network that is timed.

    Raises:
        UnderstudyError: for unknown networks, pictures that cannot be trained on, and a time that
            is too short.
    """
    if inspection.sizes is None:
        raise UnderstudyError(f"{inspection.name} has no readable image: see the list above")
    device = resolve_device(wishes.device)
    size = wishes.image_size
    if size is None:
        size = choices.image_size(inspection.sizes, device.type == "cuda")
    data = replace(
        data,
        image_size=size,
        resize=choices.resize_rule(inspection.sizes),
        augment=choices.augmentation(size),
        val_fraction=choices.val_fraction(sum(each.train for each in inspection.classes)),
        mean=(),
        std=(),
    )
    training, test = prepare_data(data, observer=observer)
    student_model = student(wishes.student, training.image, training.num_classes, observer)
    candidates = teachers(wishes.teacher, training.image)
    train = TrainConfig(
        epochs=choices.epochs(len(training.train)),
        batch_size=choices.batch_size(len(training.train)),
        lr=3e-3,
        weight_decay=1e-2,
    )
    choice = _in_time(candidates, student_model, training, train, wishes, observer)
    train = replace(train, epochs=choice.epochs)
    config = RunConfig(
        name=wishes.name,
        data=training.config,
        teacher=TeacherConfig(model=choice.teacher),
        student=Student(model=student_model),
        train=train,
        method={"name": "kd", "temperature": 2.0, "alpha": 0.9},
        seeds=tuple(wishes.seeds),
    )
    return Proposal(
        config,
        inspection,
        choice.minutes,
        len(training.train),
        len(training.val),
        len(test),
        _parameters(student_model, training),
        _parameters(choice.teacher, training),
    )


def _in_time(
    candidates: Sequence[ModelConfig],
    student_model: ModelConfig,
    data: TrainingData,
    train: TrainConfig,
    wishes: Wishes,
    observer: Observer,
) -> Choice:
    """The strongest teacher whose run fits into the time, each network timed on this machine."""
    device = resolve_device(wishes.device)
    workers = (wishes.workers or len(available_cores())) if device.type == "cpu" else 1

    def rate(model: ModelConfig, all_cores: bool) -> float:
        image, classes = data.image, data.num_classes
        found = training_rate(
            model, image, classes, train, device=wishes.device, all_cores=all_cores
        )
        observer.message(f"{_described(model)} trains {found:,.0f} images/s here")
        return found

    work = Work(len(data.train), train.epochs, len(wishes.seeds), workers)
    student_rate = rate(student_model, all_cores=workers == 1)
    return choose(
        candidates,
        lambda teacher: rate(teacher, all_cores=True),
        student_rate,
        work,
        wishes.minutes,
    )


def _described(model: ModelConfig) -> str:
    widths = model.options.get("widths")
    return f"{model.name} {'-'.join(map(str, widths))}" if widths else model.name


def _parameters(model: ModelConfig, data: TrainingData) -> int:
    network = build_model(model.name, data.num_classes, data.image, options=model.options)
    return model_size(network).parameters


def default_name(path: str | Path) -> str:
    """A run's name for a path: the folder's, or the file's without ``.csv``, ``.tar.gz``, ..."""
    place = Path(path).expanduser().resolve()
    if place.is_dir():
        return place.name or "photos"
    return data_set_name(place) if is_archive(place) else place.stem
