"""Arguments of the Python interface: accepted, or refused in one line before any training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from understudy.config.schema import LARGEST_SEED, DataConfig, TrainConfig
from understudy.data import SOURCES, read_dataset
from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.detect import HUB, detect_source
from understudy.data.in_memory import DataOptions, training_images
from understudy.data.prepare import TrainingData, split_dataset
from understudy.data.reading import Reading
from understudy.data.spec import size_of
from understudy.errors import UnderstudyError, suggest
from understudy.evaluation.students import named_student
from understudy.events import SILENT, EpochResult, Observer
from understudy.methods.base import MethodConfig
from understudy.methods.registry import method_config
from understudy.models.base import Classifier
from understudy.models.expects import input_channels
from understudy.models.foreign import ForeignClassifier, probe
from understudy.models.registry import build_model
from understudy.runs.tracking import tracker_names

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
        progress: show a line that follows the training; by default in terminals and notebooks.
        track: where every epoch's numbers go: ``csv``, ``tensorboard``, ``mlflow``, or several.
        track_folder: of what these write.
    """

    outputs: Literal["auto", "live", "cached"] = "auto"
    weights: tuple[float, ...] | None = None
    checkpoint: Path | None = None
    resume: bool = False
    on_epoch: Callable[[EpochResult], None] | None = None
    progress: bool | None = None
    track: tuple[str, ...] = ()
    track_folder: Path = Path("tracking")

    def __post_init__(self) -> None:
        if self.outputs not in ("auto", "live", "cached"):
            raise UnderstudyError(f"outputs must be auto, live or cached, not {self.outputs!r}")
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))
        if self.on_epoch is not None and not callable(self.on_epoch):
            raise UnderstudyError(f"on_epoch must be a function, not {_kind(self.on_epoch)}")
        object.__setattr__(self, "track", tracker_names(self.track))
        object.__setattr__(self, "track_folder", Path(self.track_folder))


def split_options(
    config: TrainConfig | None, run: RunOptions | None, options: Mapping[str, Any]
) -> tuple[TrainConfig, RunOptions, DataOptions]:
    """Keywords put where they belong: fields of :class:`RunOptions`, of
    :class:`~understudy.data.in_memory.DataOptions`, else of :class:`TrainConfig`.

    Raises:
        UnderstudyError: for a keyword that is none of them, a bad value, or another type of
            ``config``.
    """
    for value in (config, *options.values()):
        if isinstance(value, torch.optim.Optimizer):
            raise UnderstudyError(
                f"an optimizer is built here, not given ({type(value).__name__}): name it and its "
                "settings, such as optimizer='sgd', lr=0.1, weight_decay=1e-4"
            )
    for name, value, kind in (("config", config, TrainConfig), ("run", run, RunOptions)):
        if value is not None and not isinstance(value, kind):
            raise UnderstudyError(
                f"{name} must be an understudy.{kind.__name__}, not {_kind(value)}: "
                "give its fields as keywords, or build one"
            )
    of_run = _fields_in(RunOptions, options)
    of_data = _fields_in(DataOptions, options)
    of_training = {k: v for k, v in options.items() if k not in of_run and k not in of_data}
    _refuse_misspelled(of_training)
    settings = (config or TrainConfig()).changed(of_training)
    return settings, replace(run or RunOptions(), **of_run), DataOptions(**of_data)


def data_options(options: Mapping[str, Any]) -> DataOptions:
    """The options of data alone.

    Raises:
        UnderstudyError: for another keyword, or a bad value.
    """
    known = [one.name for one in fields(DataOptions)]
    for name in options:
        if name not in known:
            raise UnderstudyError(f"unknown keyword {name}: {suggest(name, known)}")
    return DataOptions(**options)


def _fields_in(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {key: value for key, value in options.items() if key in names}


def _refuse_misspelled(of_training: Mapping[str, Any]) -> None:
    """Refuse a keyword that is most like one that is no field of ``TrainConfig``."""
    known = [one.name for one in fields(TrainConfig)]
    others = [one.name for kind in (RunOptions, DataOptions) for one in fields(kind)]
    for name in set(of_training) - set(known):
        hint = suggest(name, [*known, *others], otherwise="")
        if hint.removeprefix("did you mean ").removesuffix("?") in others:
            raise UnderstudyError(f"unknown keyword {name}: {hint}")


def check_roles(call: str, data: Any, **networks: Any) -> None:
    """Refuse arguments in another order.

    Args:
        call: the call as it should be, for the message.
        data: as given.
        networks: role -> what was given as a network.

    Raises:
        UnderstudyError: if data stands in the place of a network, or the other way round.
    """
    for role, value in networks.items():
        if _is_state_dict(value):
            raise UnderstudyError(
                f"the {role} is a state dict, weights without a network: build the network and "
                "call network.load_state_dict(...)"
            )
        if _is_data(value):
            raise UnderstudyError(f"the {role} is {_kind(value)}, which is data: call {call}")
    if isinstance(data, nn.Module) or isinstance(getattr(data, "network", None), nn.Module):
        raise UnderstudyError(f"data is {_kind(data)}, which is a network: call {call}")


def _is_state_dict(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(entry, Tensor) for entry in value.values()) and "train" not in value


def _is_data(value: Any) -> bool:
    kinds = (
        *(TrainingData, Dataset, Split, SealedSplit, np.ndarray, Tensor, Mapping, Path),
        *(torch.utils.data.Dataset, torch.utils.data.DataLoader),
    )
    if isinstance(value, tuple) and value:
        return isinstance(value[0], np.ndarray | Tensor)
    return isinstance(value, kinds) or type(value).__module__.startswith("datasets.")


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
    is_whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not is_whole or abs(int(seed)) >= LARGEST_SEED:
        raise UnderstudyError(f"seed must be a whole number between -2**62 and 2**62, not {seed!r}")
    return int(seed)


def training_data(
    data: Any,
    options: DataOptions | None = None,
    channels: int = 3,
    observer: Observer = SILENT,
) -> TrainingData:
    """Training and validation images from everything that ``train`` and ``distill`` accept.

    Args:
        data: as for :func:`understudy.train`.
        options: how it is read.
        channels: of the network's images: 1 leaves grey images grey.
        observer: gets progress, and lines for people.

    Raises:
        UnderstudyError: for data that cannot be trained on: the message names a way.
    """
    options = options or DataOptions()
    if isinstance(data, TrainingData):
        refuse_options(options, "data that is prepared already")
        return data
    if isinstance(data, SealedSplit):
        raise UnderstudyError("data is a sealed test split: train on the data set, not data.test")
    if isinstance(data, str | Path):
        data = open_path(data, options, observer, channels)
        options = replace(options, image_size=None)
    if isinstance(data, Dataset):
        refuse_options(options, f"the data set {data.name}", "val_fraction", "augment", "resize")
        config = replace(
            default_config(data.image.channels),
            val_fraction=options.val_fraction,
            augment=options.augment,
            resize=options.resize,
        )
        return split_dataset(data, config)[0]
    if isinstance(data, Split):
        data = (data.gather(torch.arange(len(data))), data.labels)
    return training_images(data, options, default_config(channels), observer)


def open_path(
    data: str | Path, options: DataOptions, observer: Observer = SILENT, channels: int = 3
) -> Dataset:
    """The data set of a source's name, ``hf:NAME``, or a folder, archive or table.

    Raises:
        UnderstudyError: if there is none.
    """
    is_source = isinstance(data, str) and (data in SOURCES or data.startswith(HUB))
    if is_source:
        source, place = str(data), None
    else:
        place = Path(data).expanduser()
        is_word = isinstance(data, str) and data.replace("_", "").isalnum()
        if is_word and not place.exists():
            hint = suggest(str(data), SOURCES, otherwise="there are")
            raise UnderstudyError(
                f"unknown data source {data!r}, and no file or folder of that name: {hint}"
            )
        source = detect_source(place)
    reading = Reading(
        source=source,
        path=place,
        size=size_of(options.image_size),
        resize=options.resize,
        channels=channels,
    )
    return read_dataset(reading, observer)


def refuse_options(options: DataOptions, what: str, *used: str) -> None:
    """Refuse options that cannot change data of this kind.

    Raises:
        UnderstudyError: naming the first.
    """
    unset = DataOptions()
    for one in fields(DataOptions):
        value = getattr(options, one.name)
        is_given = value is not None if one.name == "val" else value != getattr(unset, one.name)
        if is_given and one.name not in used:
            raise UnderstudyError(f"{one.name} is not for {what}: leave it out")


def default_config(channels: int) -> DataConfig:
    """The normalisation of data that is not prepared: mean 0.5 and std 0.25 in every channel."""
    return DataConfig(
        channels=1 if channels == 1 else 3,
        mean=(DEFAULT_MEAN,) * channels,
        std=(DEFAULT_STD,) * channels,
    )


def classifier(
    role: str, network: Any, data: TrainingData, num_classes: int | None = None
) -> Classifier:
    """A network behind the package's interface, run once to see that it fits the data.

    Args:
        role: ``student`` or ``teacher``, for messages.
        network: a module, or (for a student) the name of a model or a budget (``auto:100k``), built
            with fresh weights.
        data: its images and classes.
        num_classes: number of its logits; by default one for each class of ``data``.

    Raises:
        UnderstudyError: for anything else, weights that are not fp32, images that the network does
            not take, or another number of classes.
    """
    if isinstance(network, str):
        model = named_student(network, data.image, data.num_classes)
        return build_model(model.name, data.num_classes, data.image, options=model.options)
    module = checked_module(role, network)
    label = f"the {role} {type(module).__name__}"
    count = num_classes or data.num_classes
    if isinstance(module, Classifier):
        probe(module, count, data.image, label)
        return module
    return ForeignClassifier(
        module,
        count,
        name=type(module).__name__,
        in_channels=data.image.channels,
        image_size=data.image.size,
    )


def checked_module(role: str, network: Any) -> nn.Module:
    """A module with fp32 weights; what ``torch.compile`` or data parallelism wrap around it is
    taken off.

    Raises:
        UnderstudyError: for a class, a function or another object, and for other weights.
    """
    if isinstance(network, type):
        raise UnderstudyError(
            f"the {role} is the class {network.__name__}: give a network, {network.__name__}(...)"
        )
    if isinstance(getattr(network, "network", None), nn.Module) and role == "student":
        raise UnderstudyError(
            f"the {role} is {_kind(network)}, the result of a training: give its network, "
            f"copy.deepcopy(result.network), to train it further"
        )
    if not isinstance(network, nn.Module):
        raise UnderstudyError(f"the {role} must be a torch module, not {_kind(network)}")
    module = unwrapped(network)
    tensors = list(module.parameters())
    if any(parameter.is_meta for parameter in tensors):
        raise UnderstudyError(
            f"the {role} {type(module).__name__} is on the device meta, without weights: build it "
            "outside of torch.device('meta'), or load its weights"
        )
    if not all(isinstance(value, Tensor) for value in module.state_dict().values()):
        raise UnderstudyError(
            f"the {role} {type(module).__name__} holds packed weights, as of a quantised network: "
            "give the network before it was quantised"
        )
    kinds = {p.dtype for p in tensors if p.dtype.is_floating_point}
    if kinds - {torch.float32}:
        found = str(next(iter(kinds - {torch.float32}))).removeprefix("torch.")
        raise UnderstudyError(
            f"the {role} has {found} weights: call {role}.float(); precision='bf16' trains faster"
        )
    return module


def unwrapped(network: nn.Module) -> nn.Module:
    """The module inside of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``.

    It shares its weights with the wrapper.
    """
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = network.module if isinstance(network, parallel) else None
        inner = inner if inner is not None else getattr(network, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return network
        network = inner


def image_channels(network: nn.Module | str) -> int:
    """1 for a network that takes grey images; else 3, as for one that is built by its name."""
    return 1 if isinstance(network, nn.Module) and input_channels(network) == 1 else 3


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
