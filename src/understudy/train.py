"""Training in one call: a network on its own, or a student with its teacher. The command line uses the same functions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from understudy.config import DataConfig, TrainConfig, parse
from understudy.curriculum import pace_by
from understudy.data.batches import TrainBatches, plain_batches
from understudy.data.dataset import Dataset
from understudy.data.pace import Pace
from understudy.data.training import TrainingData, split_dataset
from understudy.data.views import generator_for
from understudy.errors import UnderstudyError
from understudy.loop import EpochResult, Progress, make_fabric, resolve_precision, train_epochs
from understudy.methods import build_method, method_config, needs_of
from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.methods.born_again import BornAgainConfig
from understudy.methods.dml import fresh_copy
from understudy.models.base import Classifier, Outputs
from understudy.models.ensemble import Ensemble
from understudy.teacher_cache import CachedTeacher, OutputStore, default_cache, teacher_fingerprint
from understudy.teachers import FrozenTeacher, Teacher

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


def train(
    network: nn.Module | str,
    data: TrainingData | Dataset | str,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    on_epoch: Callable[[EpochResult], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    **options: Any,
) -> Trained:
    """Train a network on labels alone.

    Args:
        network: a module (``images -> logits``), trained in place, or the name of a model.
        data: what :func:`understudy.load_dataset` returned (validation is then cut from it), prepared data, or a source's name.
        config: how to train; ``options`` are its fields by name and change it (``epochs=5, lr=1e-3``).
        seed: of initial weights (for a name), order, views and dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        on_epoch: called after each epoch.
        checkpoint: written after each epoch; with ``resume`` read first, if it is there.

    Raises:
        UnderstudyError: for what is wrong outside the program.
    """
    return distill(
        None,
        network,
        data,
        "ce",
        config,
        seed=seed,
        device=device,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        resume=resume,
        **options,
    )


def distill(
    teacher: nn.Module | Sequence[nn.Module] | None,
    student: nn.Module | str,
    data: TrainingData | Dataset | str,
    method: str | Mapping[str, Any] = "kd",
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    outputs: str = "auto",
    weights: Sequence[float] | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    **options: Any,
) -> Trained:
    """Train a student with a teacher's help.

    Args:
        teacher: a trained module (``normalised images -> logits``), or several that teach together; frozen. ``None`` for a
            method that needs none.
        student: a module, trained in place, or the name of a model.
        data: as for :func:`train`.
        method: a method's name, or a mapping of its name and options (``{"name": "kd", "temperature": 2}``). With ``born_again``
            the generations before the last are fresh copies of the student.
        config: how to train; ``options`` are its fields by name and change it.
        seed, device, on_epoch, checkpoint, resume: as for :func:`train`.
        outputs: ``auto`` keeps the teacher's logits on disk and computes each once, ``live`` runs it in every step.
        weights: of several teachers, relative to each other; equal by default.

    Raises:
        UnderstudyError: for what is wrong outside the program.
    """
    prepared = _prepared(data)
    chosen = method_config({"name": method} if isinstance(method, str) else method)
    settings = parse(TrainConfig, {**asdict(config or TrainConfig()), **options}, "train")
    fabric = make_fabric(device, settings.precision)
    torch.manual_seed(seed)
    network = _classifier(student, prepared)
    for generation in range(1, chosen.generations if isinstance(chosen, BornAgainConfig) else 1):
        torch.manual_seed(generation_seed(seed, generation))
        taught = distill(
            teacher, fresh_copy(network), prepared, asdict(chosen) | {"generations": 1}, settings, seed=seed, device=device,
            outputs=outputs, weights=weights, on_epoch=on_epoch, resume=resume,
            checkpoint=checkpoint and checkpoint.with_name(f"{checkpoint.stem}-gen{generation}{checkpoint.suffix}"),
        )  # fmt: skip
        teacher = taught.network
    frozen = None
    if teacher is not None:
        teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher)
        networks = [_classifier(one, prepared) for one in teachers]
        frozen = FrozenTeacher(
            (networks[0] if isinstance(teacher, nn.Module) else Ensemble(networks, weights)).to(fabric.device),
            precision=resolve_precision(settings.precision, fabric.device),
            description=" ".join(map(described, teachers)),
        )
    return fit(
        network, prepared, chosen, settings, fabric, teacher=frozen, outputs=outputs, seed=seed, on_epoch=on_epoch,
        checkpoint=checkpoint, resume=resume,
    )  # fmt: skip


def generation_seed(seed: int, generation: int) -> int:
    """Seed of a born-again network's initial weights: another one for each generation, from 1; the run's own for 0."""
    return seed if generation == 0 else generator_for("generation", seed, generation).initial_seed()


def described(module: nn.Module) -> str:
    """What a module is, beside its weights: its class and its printed structure, without addresses in memory."""
    return f"{type(module).__module__}.{type(module).__qualname__} " + re.sub(r" at 0x[0-9a-fA-F]+", "", repr(module))


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
        seed, checkpoint, resume, progress, on_epoch: see :func:`understudy.loop.train_epochs`.

    Raises:
        UnderstudyError: if the method needs a teacher that is not there, or what is not kept shall be kept.
    """
    batches = TrainBatches(
        data.train, data.config, config.batch_size, seed, fabric.device,
        drop_last=config.drop_last, rank=fabric.global_rank, world_size=fabric.world_size,
    )  # fmt: skip
    built, answers = assemble(student, data, method, config, fabric, batches, teacher=teacher, outputs=outputs, cache=cache)
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
    answers = None if listens is None else _live_or_cached(listens, needs, outputs, data, batches, cache)
    if method.curriculum is not None:
        batches.pace = _paced(method, answers, batches, config, fabric)
    return built, answers


def _paced(method: MethodConfig, answers: Teacher | None, batches: TrainBatches, config: TrainConfig, fabric: "Fabric") -> Pace:
    """Which images each epoch draws from under a method's curriculum; every rank's is the first one's.

    Raises:
        UnderstudyError: if there is no teacher whose losses could order the images.
    """
    assert method.curriculum is not None
    if answers is None:
        raise UnderstudyError(f"method.curriculum orders images by the teacher's loss, but {method.name} has no teacher")
    pace = pace_by(method.curriculum, answers, batches, config.epochs)
    return replace(pace, easy_first=fabric.broadcast(pace.easy_first))


def make_context(
    student: Classifier, data: TrainingData, config: TrainConfig, teacher: FrozenTeacher | None, device: torch.device
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
    teacher: FrozenTeacher, needs: str, outputs: str, data: TrainingData, batches: TrainBatches, cache: str | None
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


def keeps_embedding(needs: str, teacher: FrozenTeacher) -> bool:
    """Whether embeddings are kept beside the logits: for methods that read them, and not of several teachers."""
    return needs == "embedding" and not isinstance(teacher.model, Ensemble)


def cached(
    teacher: FrozenTeacher, data: TrainingData, batches: TrainBatches, cache: str | None = None, *, embedding: bool = False
) -> CachedTeacher:
    """A teacher whose logits are kept on disk, under the fingerprint of everything they depend on.

    Args:
        teacher: the live one.
        data: training images.
        batches: the views that will be asked about.
        cache: folder of all caches; the user's cache by default.
        embedding: keep its embeddings as well; not of an ensemble.

    Raises:
        UnderstudyError: if embeddings are to be kept of a network that shows none.
    """
    policy = batches.policy
    views, num_views, width = policy.fingerprint, policy.num_views, 0
    if embedding:
        example = teacher.outputs(next(iter(plain_batches(data.val, data.config, 2, batches.device)))).embedding
        if example is None:
            raise UnderstudyError("the teacher shows no embedding: name its stages (teacher.stages), or take another method")
        views, num_views, width = f"{views} seed {policy.seed}", None, example.shape[1]
    parts = {
        "teacher": teacher_fingerprint(teacher.model, teacher.description),
        "data": data.fingerprint,
        "views": views,
        "normalisation": f"{data.config.mean} {data.config.std}",
        "precision": teacher.precision,
    }
    shares = teacher.model.shares if isinstance(teacher.model, Ensemble) else None
    store = OutputStore(
        Path(cache) if cache else default_cache(), parts, len(data.train), data.num_classes, num_views,
        len(shares or (1.0,)), width,
    )  # fmt: skip
    return CachedTeacher(teacher, batches, store, shares)


@torch.no_grad()
def _probe(model: Classifier, images: Tensor) -> Outputs:
    """Outputs for a few images in eval mode: shapes for adapters, nothing changed in the model."""
    training = model.training
    outputs = model.eval().outputs(images)
    model.train(training)
    return outputs


def _prepared(data: TrainingData | Dataset | str) -> TrainingData:
    if isinstance(data, TrainingData):
        return data
    if isinstance(data, str):
        from understudy.data import load_dataset

        data = load_dataset(data)
    channels = data.image_shape[0]
    return split_dataset(data, DataConfig(mean=(0.5,) * channels, std=(0.25,) * channels))[0]


def _classifier(network: nn.Module | str, data: TrainingData) -> Classifier:
    """A network of ours by name, or anyone's module behind our interface."""
    from understudy.models import build_model
    from understudy.models.foreign import ForeignClassifier

    if isinstance(network, Classifier):
        return network
    channels, height, _ = data.image_shape
    if isinstance(network, str):
        return build_model(network, data.num_classes, in_channels=channels, image_size=height)
    return ForeignClassifier(network, data.num_classes, name=type(network).__name__, in_channels=channels, image_size=height)
