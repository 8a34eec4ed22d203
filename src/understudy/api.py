"""The Python door: train a network on its own, or a student with its teacher. The command line uses the same functions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.config.parse import parse
from understudy.config.schema import DataConfig, TrainConfig
from understudy.data.dataset import Dataset
from understudy.data.prepare import TrainingData, split_dataset
from understudy.events import EpochResult
from understudy.methods import method_config
from understudy.methods.born_again import BornAgainConfig
from understudy.methods.dml import fresh_copy
from understudy.models.base import Classifier
from understudy.models.ensemble import Ensemble
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric, resolve_precision
from understudy.training.setup import Trained, fit, generation_seed


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
            teacher,
            fresh_copy(network),
            prepared,
            asdict(chosen) | {"generations": 1},
            settings,
            seed=seed,
            device=device,
            outputs=outputs,
            weights=weights,
            on_epoch=on_epoch,
            resume=resume,
            checkpoint=checkpoint
            and checkpoint.with_name(f"{checkpoint.stem}-gen{generation}{checkpoint.suffix}"),
        )
        teacher = taught.network
    frozen = None
    if teacher is not None:
        teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher)
        networks = [_classifier(one, prepared) for one in teachers]
        frozen = FrozenTeacher(
            (networks[0] if isinstance(teacher, nn.Module) else Ensemble(networks, weights)).to(
                fabric.device
            ),
            precision=resolve_precision(settings.precision, fabric.device),
            description=" ".join(map(described, teachers)),
        )
    return fit(
        network,
        prepared,
        chosen,
        settings,
        fabric,
        teacher=frozen,
        outputs=outputs,
        seed=seed,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        resume=resume,
    )


def described(module: nn.Module) -> str:
    """What a module is, beside its weights: its class and its printed structure, without addresses in memory."""
    return f"{type(module).__module__}.{type(module).__qualname__} " + re.sub(
        r" at 0x[0-9a-fA-F]+", "", repr(module)
    )


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
    return ForeignClassifier(
        network,
        data.num_classes,
        name=type(network).__name__,
        in_channels=channels,
        image_size=height,
    )
