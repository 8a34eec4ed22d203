"""The configuration of a run: frozen dataclasses, YAML recipes, dotted overrides. The only file that knows YAML."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from understudy.errors import UnderstudyError

_STRICT = {"extra": "forbid"}
Config = TypeVar("Config")


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied. Every policy is replayable from (seed, epoch, index)."""

    __pydantic_config__ = _STRICT

    padding: int = 4
    """Zero padding in pixels on each side before the random crop; 0 for no crop."""
    flip: bool = True
    """Mirror horizontally with probability one half."""
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """Mix each image with a partner of the same epoch (Zhang 2018, Yun 2019)."""
    mix_alpha: float = 1.0
    """Parameter of the Beta distribution of the mixing share."""
    randaugment: int = 0
    """Number of random photometric operations for each image (after Cubuk 2020); 0 for none."""
    randaugment_magnitude: float = 0.5
    """Strength of those operations, 0 to 1."""
    view_seed: int | None = None
    """Seed of the views; none uses the run's own seed. A fixed number lets all seeds share one set of teacher outputs."""

    def __post_init__(self) -> None:
        _require(self.padding >= 0, "augment.padding must be at least 0")
        _require(self.mix_alpha > 0, "augment.mix_alpha must be above 0")
        _require(self.randaugment >= 0, "augment.randaugment must be at least 0")
        _require(
            0 <= self.randaugment_magnitude <= 1, "augment.randaugment_magnitude must lie in [0, 1]"
        )


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split and normalised."""

    __pydantic_config__ = _STRICT

    source: str = "digits"
    """One of the data sources (``understudy.data.SOURCES``)."""
    path: str | None = None
    """A local copy, set by ``--data``; where none, sources that need files read UNDERSTUDY_DATA."""
    image_size: int | None = None
    """Resize to this square size when decoding; none keeps the images' own size (they must then agree)."""
    val_fraction: float = 0.1
    """Share of the training images held out for validation, stratified."""
    train_images: int | None = None
    """Train on this many of the remaining images only, stratified; none for all. Validation and test stay whole."""
    split_seed: int = 0
    """Seed of that cut: the same for every seed of a run, so that all models are chosen on the same images."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Per-channel mean of the [0, 1] images, subtracted."""
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    """Per-channel standard deviation of the [0, 1] images, divided by."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Training-time variation."""

    def __post_init__(self) -> None:
        _require(0 < self.val_fraction < 1, "data.val_fraction must lie between 0 and 1")
        _require(
            self.train_images is None or self.train_images >= 2,
            "data.train_images must be at least 2",
        )
        _require(all(s > 0 for s in self.std), "data.std must be above 0")
        _require(
            len(self.mean) == len(self.std), "data.mean and data.std must have the same length"
        )


@dataclass(frozen=True)
class ModelConfig:
    """A network by name, with the options of its constructor."""

    __pydantic_config__ = _STRICT

    name: str
    """A name from ``understudy models``, or ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``, or a dotted path."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of that network (``understudy models NAME`` lists them)."""


@dataclass(frozen=True)
class TrainConfig:
    """How one network is trained."""

    __pydantic_config__ = _STRICT

    epochs: int = 15
    """Passes over the training images."""
    stop_epoch: int | None = None
    """Stop after so many epochs, every schedule being that of all ``epochs``: an early-stopped teacher (Cho and Hariharan
    2019) is ``teacher.train.stop_epoch``. None trains to the end."""
    batch_size: int = 128
    """Images in a step, over all ranks together."""
    drop_last: bool = False
    """Drop the last, smaller batch of an epoch."""
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    """``adam`` couples its weight decay (L2), ``adamw`` decouples it."""
    lr: float = 5e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2
    """Weight decay of the optimizer."""
    decay_norms: bool = True
    """Decay normalisation parameters and biases as well."""
    momentum: float = 0.9
    """SGD momentum (Nesterov)."""
    schedule: Literal["constant", "step", "cosine", "onecycle"] = "onecycle"
    """Learning rate over the run; ``onecycle`` rises linearly and falls by a cosine, ``step`` multiplies by step_gamma."""
    warmup_fraction: float = 0.2
    """Share of the steps in which ``onecycle`` (and ``cosine``) rise from near zero to the peak."""
    step_epochs: int = 5
    """Epochs between two drops of the ``step`` schedule."""
    step_milestones: tuple[int, ...] = ()
    """Epochs after which ``step`` drops, instead of every step_epochs."""
    step_gamma: float = 0.5
    """Factor of each drop."""
    label_smoothing: float = 0.0
    """Share of the label spread over all classes in the cross-entropy."""
    grad_clip: float = 0.0
    """Largest gradient norm; 0 for no clipping."""
    ema_decay: float = 0.0
    """Decay per step of an average of the weights, evaluated and kept in place of the last ones; 0 for none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto`` is bf16 autocast on hardware with bf16 matrix units (AMX, AVX512-BF16, CUDA from Ampere), else fp32."""
    channels_last: bool = True
    """Keep images and weights in NHWC memory order."""
    compile: Literal["auto", "on", "off"] = "off"
    """``torch.compile``; ``auto`` times both and keeps the faster."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights are kept: the last, or the best on validation. Test accuracy never decides."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "train.epochs must be at least 1")
        _require(
            self.stop_epoch is None or 1 <= self.stop_epoch <= self.epochs,
            "stop_epoch must lie between 1 and epochs",
        )
        _require(self.batch_size >= 1, "train.batch_size must be at least 1")
        _require(self.lr > 0, "train.lr must be above 0")
        _require(self.weight_decay >= 0, "train.weight_decay must be at least 0")
        _require(0 <= self.warmup_fraction < 1, "train.warmup_fraction must lie in [0, 1)")
        _require(self.step_epochs >= 1, "train.step_epochs must be at least 1")
        _require(0 <= self.label_smoothing < 1, "train.label_smoothing must lie in [0, 1)")
        _require(0 <= self.ema_decay < 1, "train.ema_decay must lie in [0, 1)")
        _require(self.grad_clip >= 0, "train.grad_clip must be at least 0")

    @property
    def epochs_run(self) -> int:
        """How many epochs are trained: ``stop_epoch`` where it is given."""
        return self.epochs if self.stop_epoch is None else self.stop_epoch


@dataclass(frozen=True)
class MemberConfig:
    """One of several teachers that answer together. What is not given is as in ``teacher``."""

    __pydantic_config__ = _STRICT

    model: ModelConfig | None = None
    """The network."""
    train: dict[str, Any] = field(default_factory=dict)
    """Fields of ``teacher.train`` that differ for this member."""
    path: str | None = None
    """A trained network's weights: measured on validation, not trained again."""
    seed: int | None = None
    """Seed of its training; none: ``teacher.seed`` plus its place in the list, from 0."""
    weight: float = 1.0
    """Its share of the answer, relative to the others' weights."""
    mean: tuple[float, ...] | None = None
    """Its own normalisation."""
    std: tuple[float, ...] | None = None
    """Its own normalisation."""
    stages: tuple[str, ...] | None = None
    """Module paths of its stages, for feature-based methods."""

    def __post_init__(self) -> None:
        _require(0 <= self.weight < float("inf"), "teacher.members: weight must be at least 0")
        _require_normalisation("teacher.members", self.mean, self.std)


@dataclass(frozen=True)
class TeacherConfig:
    """The large network, and how its outputs reach the student."""

    __pydantic_config__ = _STRICT

    model: ModelConfig = field(default_factory=lambda: ModelConfig("founding_teacher"))
    """The network."""
    train: dict[str, Any] = field(default_factory=dict)
    """Fields of ``train`` that differ for the teacher."""
    path: str | None = None
    """A trained teacher's safetensors file: measured on validation, not trained again."""
    per_seed: bool = False
    """Train one teacher for each seed instead of one for all."""
    seed: int = 0
    """Seed of the shared teacher."""
    min_accuracy: float | None = None
    """Validation accuracy in [0, 1] below which a teacher from ``path`` is refused; none: twice chance."""
    outputs: Literal["auto", "live", "cached"] = "auto"
    """``cached`` labels each view once and keeps the logits on disk; ``live`` runs the teacher in every step."""
    mean: tuple[float, ...] | None = None
    """The teacher's own normalisation, where it differs from ``data.mean``."""
    std: tuple[float, ...] | None = None
    """The teacher's own normalisation, where it differs from ``data.std``."""
    stages: tuple[str, ...] = ()
    """Module paths of a foreign teacher's stages, shallow to deep, for feature-based methods."""
    members: tuple[MemberConfig, ...] = ()
    """Several teachers in place of one, trained here (``[{seed: 0}, {seed: 1}]``) or given as files (``[{path: A}, {path: B}]``):
    the student learns from each, by its weight; the arm ``teacher`` is their mean."""

    def __post_init__(self) -> None:
        _require_normalisation("teacher", self.mean, self.std)
        if self.members:
            _require(len(self.members) > 1, "teacher.members must be at least two")
            _require(
                sum(member.weight for member in self.members) > 0,
                "teacher.members: the weights must not all be 0",
            )
            _require(
                self.path is None,
                "teacher.path is for one teacher: give each of teacher.members its own path",
            )
            _require(
                not self.per_seed,
                "teacher.per_seed trains one teacher for each seed: it cannot go with teacher.members",
            )


@dataclass(frozen=True)
class AssistantConfig:
    """A network between teacher and student: taught by the one before it, it teaches the one after it."""

    __pydantic_config__ = _STRICT

    model: ModelConfig
    """The network; its size usually lies between the teacher's and the student's."""
    train: dict[str, Any] = field(default_factory=dict)
    """Fields of ``train`` that differ for this assistant."""
    method: dict[str, Any] = field(default_factory=dict)
    """How it is taught; by default as the student is (``method``)."""
    stages: tuple[str, ...] = ()
    """Module paths of a foreign assistant's stages, shallow to deep, for feature-based methods."""

    def __post_init__(self) -> None:
        _require(
            not self.method or "name" in self.method,
            "assistants: method.name is missing: see `understudy methods`",
        )


@dataclass(frozen=True)
class StudentConfig:
    """The small network."""

    __pydantic_config__ = _STRICT

    model: ModelConfig = field(default_factory=lambda: ModelConfig("founding_student"))
    """The network."""
    stages: tuple[str, ...] = ()
    """Module paths of a foreign student's stages, shallow to deep, for feature-based methods."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """How models are timed."""

    __pydantic_config__ = _STRICT

    batch_sizes: tuple[int, ...] = (1, 128)
    """Batch sizes of the latency measurement."""
    threads: int = 1
    """CPU threads during it."""
    repeats: int = 30
    """Timed rounds, the models taking turns."""
    warmup: int = 5
    """Untimed rounds before them."""


LARGEST_SEED = 2**62
"""Generators take 64 bits; below this, a seed and what is added to it stay within."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run's numbers."""

    __pydantic_config__ = _STRICT

    name: str = "run"
    """Name of the run, and of its folder."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The large network."""
    assistants: tuple[AssistantConfig, ...] = ()
    """Networks between teacher and student, the first taught by the teacher; the last one teaches the students."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The small network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How the networks are trained."""
    method: dict[str, Any] = field(default_factory=lambda: {"name": "kd"})
    """The distillation method and its options (``understudy methods NAME`` lists them)."""
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further arms beside ``baseline`` and ``distilled``: name -> method and options. The key ``teacher`` names an arm to
    listen to in place of the last assistant (or the teacher, where there is none)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of each arm for each seed; arms of one seed share initial weights and data order."""
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    """How the models are timed."""
    reference: dict[str, dict[str, float]] = field(default_factory=dict)
    """Published figures to show beside ours: arm -> {accuracy, latency_ms, ...}."""

    def __post_init__(self) -> None:
        _require(len(self.seeds) >= 1, "seeds must name at least one seed")
        _require(len(set(self.seeds)) == len(self.seeds), "seeds must differ from each other")
        _require(
            max(map(abs, self.seeds)) < LARGEST_SEED,
            f"seeds must lie between -{LARGEST_SEED} and {LARGEST_SEED}",
        )
        _require("name" in self.method, "method.name is missing: see `understudy methods`")
        taken = {"teacher", "baseline", "distilled"} & set(self.arms)
        _require(not taken, f"arms.{next(iter(taken), '')} is a reserved name")
        for number in range(len(self.teacher.members)):
            self.member_train(number)
        for number in range(len(self.assistants)):
            self.assistant_train(number)
        parse(
            TrainConfig, {**dataclasses.asdict(self.train), **self.teacher.train}, "teacher.train"
        )
        for arm, method in self.arms.items():
            _require("name" in method, f"arms.{arm}.name is missing: see `understudy methods`")

    @property
    def teacher_train(self) -> TrainConfig:
        """``train`` with the teacher's own fields laid over it."""
        return parse(
            TrainConfig, {**dataclasses.asdict(self.train), **self.teacher.train}, "teacher.train"
        )

    def member_train(self, number: int) -> TrainConfig:
        """``teacher_train`` with the fields of a member of the ensemble (from 0) laid over it."""
        changes = {**self.teacher.train, **self.teacher.members[number].train}
        return parse(
            TrainConfig,
            {**dataclasses.asdict(self.train), **changes},
            f"teacher.members.{number}.train",
        )

    def assistant_train(self, number: int) -> TrainConfig:
        """``train`` with an assistant's own fields (from 0) laid over it."""
        changes = self.assistants[number].train
        return parse(
            TrainConfig, {**dataclasses.asdict(self.train), **changes}, f"assistants.{number}.train"
        )


def _require_normalisation(
    where: str, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> None:
    _require(
        (mean is None) == (std is None), f"{where}.mean and {where}.std must be given together"
    )
    if mean is not None and std is not None:
        _require(len(mean) == len(std), f"{where}.mean and {where}.std must have the same length")
        _require(all(s > 0 for s in std), f"{where}.std must be above 0")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def parse(kind: type[Config], values: Mapping[str, Any], where: str = "") -> Config:
    """Validate a mapping against a (nested) frozen dataclass.

    Args:
        kind: the dataclass.
        values: keys and values, as YAML or JSON would give them.
        where: dotted path of this mapping, for messages.

    Raises:
        UnderstudyError: for an unknown key (naming the nearest right one) or a value that does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    check_keys(kind, values, where)
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        # Where a field takes a number or a section, pydantic tries both and says which: that is no part of the key, and
        # what is wrong with a section is not that it is no number.
        tried, errors = ("float", "Schedule"), error.errors()
        first = next(
            (e for e in errors if not ("float" in e["loc"] and isinstance(e["input"], dict))),
            errors[0],
        )
        path = ".".join(
            str(part) for part in (where, *first["loc"]) if part != "" and part not in tried
        )
        message = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], (dict, list)) else f", not {first['input']!r}"
        raise UnderstudyError(f"{path or 'configuration'}: {message}{given}") from error


def check_keys(kind: type, values: Mapping[str, Any], where: str = "") -> None:
    """Refuse a key that the dataclass ``kind`` does not have, at any depth, naming the nearest one it has."""
    fields = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise UnderstudyError(unknown_key(path, key, known))
        inner = _dataclass_in(fields[key])
        if inner is not None and isinstance(value, Mapping):
            check_keys(inner, value, path)
        for number, item in enumerate(value if isinstance(value, (list, tuple)) else ()):
            if inner is not None and isinstance(item, Mapping):
                check_keys(inner, item, f"{path}.{number}")


def unknown_key(path: str, key: str, known: Iterable[str]) -> str:
    """The one line that a misspelled key deserves."""
    names = sorted(known)
    close = difflib.get_close_matches(str(key), names, n=1, cutoff=0.5)
    hint = (
        f"did you mean {path.rpartition('.')[0] + '.' if '.' in path else ''}{close[0]}?"
        if close
        else f"known: {', '.join(names)}"
    )
    return f"unknown key {path}: {hint}"


def _dataclass_in(annotation: Any) -> type | None:
    """The dataclass that an annotation admits, alone, in a union or as the items of a tuple."""
    several = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is tuple
    options = typing.get_args(annotation) if several else (annotation,)
    return next((o for o in options if dataclasses.is_dataclass(o) and isinstance(o, type)), None)
