"""Arguments of the Python interface: accepted, or refused in one line before any training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from understudy.config.schema import LARGEST_SEED, DataConfig, TrainConfig
from understudy.data.dataset import Dataset
from understudy.data.prepare import TrainingData, split_dataset
from understudy.errors import UnderstudyError
from understudy.evaluation.students import named_student
from understudy.events import EpochResult
from understudy.methods.base import MethodConfig
from understudy.methods.registry import method_config
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier, probe
from understudy.models.registry import build_model

DEFAULT_MEAN, DEFAULT_STD = 0.5, 0.25
"""Of every channel, if data is given that is not prepared yet."""


@dataclass(frozen=True)
class RunOptions:
    """What a training writes, reports and reads, apart from how it trains.

    Attributes:
        outputs: ``auto`` computes each of the teacher's logits once and keeps them on disk if the
            method reads nothing else; ``live`` runs the teacher in every step; ``cached`` is
            ``auto``, but an error if the method reads more.
        weights: of several teachers, relative to each other; equal by default.
        checkpoint: file that is written after each epoch.
        resume: continue from ``checkpoint`` if it exists.
        on_epoch: called after each epoch.
    """

    outputs: Literal["auto", "live", "cached"] = "auto"
    weights: tuple[float, ...] | None = None
    checkpoint: Path | None = None
    resume: bool = False
    on_epoch: Callable[[EpochResult], None] | None = None

    def __post_init__(self) -> None:
        if self.outputs not in ("auto", "live", "cached"):
            raise UnderstudyError(f"outputs must be auto, live or cached, not {self.outputs!r}")
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))


def split_options(
    config: TrainConfig | None, run: RunOptions | None, options: Mapping[str, Any]
) -> tuple[TrainConfig, RunOptions]:
    """Keywords put where they belong: fields of :class:`RunOptions`, else of :class:`TrainConfig`.

    Raises:
        UnderstudyError: for a keyword that is neither, a bad value, or another type of ``config``.
    """
    for name, value, kind in (("config", config, TrainConfig), ("run", run, RunOptions)):
        if value is not None and not isinstance(value, kind):
            raise UnderstudyError(
                f"{name} must be an understudy.{kind.__name__}, not {_kind(value)}: "
                "give its fields as keywords, or build one"
            )
    names = {field.name for field in fields(RunOptions)}
    of_run = {key: value for key, value in options.items() if key in names}
    of_training = {key: value for key, value in options.items() if key not in names}
    settings = (config or TrainConfig()).changed(of_training)
    return settings, replace(run or RunOptions(), **of_run)


def parsed_method(method: str | Mapping[str, Any] | MethodConfig) -> MethodConfig:
    """A method's options from its name, a mapping of name and options, or a config as it is.

    Raises:
        UnderstudyError: for an unknown method or option, a bad value, or anything else.
    """
    if isinstance(method, MethodConfig):
        return method
    if isinstance(method, str):
        return method_config({"name": method})
    if isinstance(method, Mapping) and "name" in method:
        return method_config(method)
    raise UnderstudyError(
        "method must be a method's name or a mapping with a `name` "
        f"(see understudy.list_methods()), not {_kind(method)}"
    )


def checked_seed(seed: int) -> int:
    """A seed that every generator accepts.

    Raises:
        UnderstudyError: for no whole number, or one outside of (-2**62, 2**62).
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or abs(seed) >= LARGEST_SEED:
        raise UnderstudyError(f"seed must be a whole number between -2**62 and 2**62, not {seed!r}")
    return seed


def training_data(data: TrainingData | Dataset | str) -> TrainingData:
    """Training and validation images from everything that ``train`` and ``distill`` accept.

    Raises:
        UnderstudyError: for an unknown source, or another type: the message names a way.
    """
    if isinstance(data, TrainingData):
        return data
    if isinstance(data, str):
        from understudy.data import load_dataset

        data = load_dataset(data)
    if not isinstance(data, Dataset):
        raise UnderstudyError(
            f"data must come from understudy.load_dataset, not {_kind(data)}: save uint8 images "
            "[N, H, W, C] and whole-number labels [N] by numpy.savez('data.npz', images=..., "
            "labels=...) and use understudy.load_dataset('npz', 'data.npz')"
        )
    return split_dataset(data, default_config(data.image.channels))[0]


def default_config(channels: int) -> DataConfig:
    """The normalisation of data that is not prepared: mean 0.5 and std 0.25 in every channel."""
    return DataConfig(mean=(DEFAULT_MEAN,) * channels, std=(DEFAULT_STD,) * channels)


def classifier(role: str, network: Any, data: TrainingData) -> Classifier:
    """A network behind the package's interface, run once to see that it fits the data.

    Args:
        role: ``student`` or ``teacher``, for messages.
        network: a module, or (for a student) the name of a model or a budget (``auto:100k``), built
            with fresh weights.
        data: its images and classes.

    Raises:
        UnderstudyError: for anything else, weights that are not fp32, images that the network does
            not take, or another number of classes.
    """
    if isinstance(network, str):
        model = named_student(network, data.image, data.num_classes)
        return build_model(model.name, data.num_classes, data.image, options=model.options)
    module = checked_module(role, network)
    label = f"the {role} {type(module).__name__}"
    if isinstance(module, Classifier):
        probe(module, data.num_classes, data.image, label)
        return module
    return ForeignClassifier(
        module,
        data.num_classes,
        name=type(module).__name__,
        in_channels=data.image.channels,
        image_size=data.image.size,
    )


def checked_module(role: str, network: Any) -> nn.Module:
    """A module with fp32 weights.

    Raises:
        UnderstudyError: for a class, a function or another object, and for other weights.
    """
    if isinstance(network, type):
        raise UnderstudyError(
            f"the {role} is the class {network.__name__}: give a network, {network.__name__}(...)"
        )
    if not isinstance(network, nn.Module):
        raise UnderstudyError(f"the {role} must be a torch module, not {_kind(network)}")
    kinds = {p.dtype for p in network.parameters() if p.dtype.is_floating_point}
    if kinds - {torch.float32}:
        found = str(next(iter(kinds - {torch.float32}))).removeprefix("torch.")
        raise UnderstudyError(
            f"the {role} has {found} weights: call {role}.float(); precision='bf16' trains faster"
        )
    return network


def check_trainable(student: nn.Module) -> None:
    """Refuse a student without a parameter that trains.

    Raises:
        UnderstudyError: if all are frozen, or there are none.
    """
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise UnderstudyError(
            "no parameter of the student trains: call student.requires_grad_(True) "
            "(a network that was a teacher is frozen)"
        )


def _kind(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
