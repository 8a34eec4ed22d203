"""A training put together: student, method, teacher and batches; then the loop to its end."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches, plain_batches
from understudy.data.prepare import TrainingData
from understudy.data.sampling import BalancedSampler, balanced_weights
from understudy.errors import UnderstudyError
from understudy.events import SILENT, EpochResult, Observer
from understudy.methods import build_method, needs_of
from understudy.methods.base import Method, MethodConfig, MethodContext, NoStages
from understudy.models.base import Classifier, Outputs
from understudy.models.foreign import ForeignClassifier
from understudy.models.modes import evaluating
from understudy.models.normalisation import bare
from understudy.models.onnx_network import OnnxNetwork
from understudy.models.stages import propose_stages
from understudy.teachers.base import Teacher
from understudy.teachers.cached import live_or_cached
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.curriculum import make_sampler, refuse_two_samplers
from understudy.training.loop import train_epochs
from understudy.training.state import NO_FILES, TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Teaching:
    """How a student is taught, and by whom.

    Attributes:
        method: the loss, validated.
        teacher: frozen, on the device; ``None`` for methods that need none.
        outputs: ``auto`` and ``cached`` read logits (and embeddings) from a cache if the method
            reads nothing else, ``live`` runs the teacher in every step.
        cache: folder of all caches; the user's cache folder by default.
    """

    method: MethodConfig
    teacher: FrozenTeacher | None = None
    outputs: str = "auto"
    cache: str | None = None


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        network: what is deployed: the student with the weights to keep, in eval mode.
        history: one entry per epoch.
    """

    network: Classifier
    history: tuple[EpochResult, ...]


def fit(
    student: Classifier,
    data: TrainingData,
    teaching: Teaching,
    config: TrainConfig,
    fabric: "Fabric",
    *,
    seed: int = 0,
    files: TrainingFiles = NO_FILES,
    observer: Observer = SILENT,
) -> Trained:
    """Put student, teacher and method together and run the loop to its end.

    Args:
        student: trained in place.
        data: training and validation split.
        teaching: method and teacher.
        config: how to train.
        fabric: device, precision and ranks.
        seed: of order, views and dropout.
        files: the checkpoint.
        observer: follows steps, labelling and epochs, resumed ones included.

    Raises:
        UnderstudyError: if the method needs a teacher and has none, or its teacher's outputs cannot
            be cached and ``cached`` is demanded; and what the loop raises.
    """
    batches = make_batches(data, config, seed, fabric)
    method, teacher = build_training(student, data, teaching, config, fabric, batches)
    epochs = train_epochs(
        method,
        data,
        config,
        fabric,
        batches=batches,
        teacher=teacher,
        files=files,
        observer=observer,
    )
    history = []
    for result in epochs:
        history.append(result)
        observer.epoch(result)
    return Trained(method.deployed(), tuple(history))


def make_batches(
    data: TrainingData, config: TrainConfig, seed: int, fabric: "Fabric"
) -> TrainBatches:
    """This rank's training batches, on Fabric's device."""
    batches = TrainBatches(
        data.train,
        data.config,
        config.batch_size,
        seed,
        fabric.device,
        drop_last=config.drop_last,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        grid=data.grid,
    )
    batches.sampler = class_sampler(config, data)
    return batches


def class_sampler(config: TrainConfig, data: TrainingData) -> BalancedSampler | None:
    """What draws equally many images of each class, where ``train.sampling`` wants that."""
    return BalancedSampler(data.train.labels) if config.sampling == "balanced" else None


def build_training(
    student: Classifier,
    data: TrainingData,
    teaching: Teaching,
    config: TrainConfig,
    fabric: "Fabric",
    batches: TrainBatches,
) -> tuple[Method, Teacher | None]:
    """A student inside its method, on the device, and the teacher of its batches, live or cached.

    Args:
        student: becomes the method's.
        data, teaching, config, fabric: as for :func:`fit`.
        batches: of the training; a method with a curriculum decides which images they draw.

    Raises:
        UnderstudyError: as :func:`fit`.
    """
    options, needs = teaching.method, needs_of(teaching.method)
    if needs != "nothing" and teaching.teacher is None:
        raise UnderstudyError(f"method {options.name} needs a teacher")
    student.to(fabric.device)
    frozen = None if needs == "nothing" else teaching.teacher
    context = make_context(student, data, config, frozen, fabric.device)
    try:
        method = build_method(options, student, context)
    except NoStages as error:
        if frozen is not None and error.role == "teacher":
            _refuse_onnx(error, frozen)
        raise error.proposing(_proposed(student, frozen, error.role)) from None
    method.to(fabric.device)
    teacher: Teacher | None = None
    if frozen is not None:
        teacher = live_or_cached(frozen, needs, teaching.outputs, data, batches, teaching.cache)
    if options.curriculum is not None:
        _set_curriculum(options, teacher, batches, config, fabric)
    return method, teacher


def _refuse_onnx(error: NoStages, teacher: FrozenTeacher) -> None:
    """Raises UnderstudyError for a teacher that no setting gives stages."""
    if isinstance(bare(teacher.model), OnnxNetwork):
        raise UnderstudyError(
            f"{error.needs}, and an ONNX file gives logits alone: take a method that reads logits, "
            "such as kd or dist (understudy methods)"
        ) from None


def _proposed(student: Classifier, teacher: FrozenTeacher | None, role: str) -> tuple[str, ...]:
    """The stages that a network of another library could have; empty for others."""
    network = student if role == "student" or teacher is None else teacher.model
    if not isinstance(network, ForeignClassifier):
        return ()
    return propose_stages(network.model, network.image)


def _set_curriculum(
    options: MethodConfig,
    teacher: Teacher | None,
    batches: TrainBatches,
    config: TrainConfig,
    fabric: "Fabric",
) -> None:
    """Let the curriculum decide which images the batches draw; all ranks use the first one's order.

    Raises:
        UnderstudyError: if there is no teacher whose loss could rank the images, or the classes
            are to be balanced as well.
    """
    assert options.curriculum is not None
    refuse_two_samplers(options.curriculum, config)
    if teacher is None:
        raise UnderstudyError(
            f"method.curriculum orders images by the teacher's loss, "
            f"but {options.name} has no teacher"
        )
    sampler = make_sampler(options.curriculum, teacher, batches, config.epochs)
    batches.sampler = replace(sampler, ranked_images=fabric.broadcast(sampler.ranked_images))


def make_context(
    student: Classifier,
    data: TrainingData,
    config: TrainConfig,
    teacher: FrozenTeacher | None,
    device: torch.device,
) -> MethodContext:
    """What a method is built from: labels, length of the training, outputs for two images."""
    example = next(iter(plain_batches(data.val, data.config, 2, device)))
    return MethodContext(
        num_classes=data.num_classes,
        labels=data.train.labels,
        epochs=config.epochs,
        label_smoothing=config.label_smoothing,
        class_weights=(
            balanced_weights(data.train.labels, data.num_classes)
            if config.class_weights == "balanced"
            else None
        ),
        student_example=_probe(student, example.images),
        teacher_example=None if teacher is None else teacher.plain_outputs(data, 2, device),
        teacher=None if teacher is None else teacher.model,
    )


@torch.no_grad()
def _probe(model: Classifier, images: Tensor) -> Outputs:
    """Outputs for a few images in eval mode; the model's mode is restored."""
    with evaluating(model):
        return model.outputs(images)
