"""Training in one call: a network on its own, or a student with its teacher. The command line uses the same functions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches, plain_batches
from understudy.data.prepare import TrainingData
from understudy.data.sampling import CurriculumSampler
from understudy.data.views import generator_for
from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.methods import build_method, needs_of
from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.models.base import Classifier, Outputs
from understudy.teachers.cached import cached, keeps_embedding
from understudy.teachers.frozen import FrozenTeacher, Teacher
from understudy.training.curriculum import pace_by
from understudy.training.loop import Progress, train_epochs

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Trained:
    """What training leaves behind.

    Attributes:
        network: what is deployed: the student, in eval mode, with the kept weights.
        history: one entry per epoch.
    """

    network: Classifier
    history: tuple[EpochResult, ...]


def generation_seed(seed: int, generation: int) -> int:
    """Seed of a born-again network's initial weights: another one for each generation, from 1; the run's own for 0."""
    return seed if generation == 0 else generator_for("generation", seed, generation).initial_seed()


def fit(
    student: Classifier,
    data: TrainingData,
    method: MethodConfig,
    config: TrainConfig,
    fabric: "Fabric",
    *,
    teacher: FrozenTeacher | None = None,
    outputs: str = "auto",
    cache: str | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> Trained:
    """Put student, teacher and method together and run the loop to its end.

    Args:
        student: trained in place.
        data, method, config, fabric: all validated.
        teacher: frozen, on the device; ``None`` for methods that need nothing.
        outputs: ``auto`` and ``cached`` keep logits (and embeddings) on disk where the method reads nothing else, ``live`` does
            not.
        cache: folder of what is kept; the user's cache by default.
        seed, checkpoint, resume, progress, on_epoch: see :func:`understudy.training.loop.train_epochs`.

    Raises:
        UnderstudyError: if the method needs a teacher that is not there, or what is not kept shall be kept.
    """
    batches = TrainBatches(
        data.train,
        data.config,
        config.batch_size,
        seed,
        fabric.device,
        drop_last=config.drop_last,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    built, answers = assemble(
        student,
        data,
        method,
        config,
        fabric,
        batches,
        teacher=teacher,
        outputs=outputs,
        cache=cache,
    )
    history = []
    for result in train_epochs(
        built,
        data,
        config,
        fabric,
        teacher=answers,
        batches=batches,
        seed=seed,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    ):
        history.append(result)
        if on_epoch:
            on_epoch(result)
    return Trained(built.deployed(), tuple(history))


def assemble(
    student: Classifier,
    data: TrainingData,
    method: MethodConfig,
    config: TrainConfig,
    fabric: "Fabric",
    batches: TrainBatches,
    *,
    teacher: FrozenTeacher | None = None,
    outputs: str = "auto",
    cache: str | None = None,
) -> tuple[Method, Teacher | None]:
    """A student inside its method, on the device, and who answers its batches: the teacher live, its kept logits, or no one.

    Args:
        student: becomes the method's.
        batches: those that the answers are for; a method with a curriculum sets their pace.
        data, method, config, fabric, teacher, outputs, cache: see :func:`fit`.

    Raises:
        UnderstudyError: if the method needs a teacher that is not there, or what is not kept shall be kept.
    """
    device, needs = fabric.device, needs_of(method)
    if needs != "nothing" and teacher is None:
        raise UnderstudyError(f"method {method.name} needs a teacher")
    student.to(device)
    listens = teacher if needs != "nothing" else None
    built = build_method(method, student, make_context(student, data, config, listens, device))
    built.to(device)
    answers = (
        None if listens is None else _live_or_cached(listens, needs, outputs, data, batches, cache)
    )
    if method.curriculum is not None:
        batches.sampler = _paced(method, answers, batches, config, fabric)
    return built, answers


def _paced(
    method: MethodConfig,
    answers: Teacher | None,
    batches: TrainBatches,
    config: TrainConfig,
    fabric: "Fabric",
) -> CurriculumSampler:
    """Which images each epoch draws from under a method's curriculum; every rank's is the first one's.

    Raises:
        UnderstudyError: if there is no teacher whose losses could order the images.
    """
    assert method.curriculum is not None
    if answers is None:
        raise UnderstudyError(
            f"method.curriculum orders images by the teacher's loss, but {method.name} has no teacher"
        )
    pace = pace_by(method.curriculum, answers, batches, config.epochs)
    return replace(pace, ranked_images=fabric.broadcast(pace.ranked_images))


def make_context(
    student: Classifier,
    data: TrainingData,
    config: TrainConfig,
    teacher: FrozenTeacher | None,
    device: torch.device,
) -> MethodContext:
    """What a method may know when it is built: shapes from two validation images, labels, the length of the run."""
    example = next(iter(plain_batches(data.val, data.config, 2, device)))
    return MethodContext(
        num_classes=data.num_classes,
        labels=data.train.labels,
        epochs=config.epochs,
        label_smoothing=config.label_smoothing,
        student_example=_probe(student, example.images),
        teacher_example=None if teacher is None else teacher.outputs(example),
        teacher=None if teacher is None else teacher.model,
    )


def _live_or_cached(
    teacher: FrozenTeacher,
    needs: str,
    outputs: str,
    data: TrainingData,
    batches: TrainBatches,
    cache: str | None,
) -> Teacher:
    embedding = keeps_embedding(needs, teacher)
    if needs == "features" or (needs == "embedding" and not embedding):
        if outputs == "cached":
            reads = "the embeddings of several teachers" if needs == "embedding" else "feature maps"
            raise UnderstudyError(
                f"teacher.outputs=cached keeps logits and one teacher's embeddings, but this method reads {reads}: "
                "set teacher.outputs=live"
            )
        return teacher
    if outputs == "live":
        return teacher
    return cached(teacher, data, batches, cache, embedding=embedding)


@torch.no_grad()
def _probe(model: Classifier, images: Tensor) -> Outputs:
    """Outputs for a few images in eval mode: shapes for adapters, nothing changed in the model."""
    training = model.training
    outputs = model.eval().outputs(images)
    model.train(training)
    return outputs
