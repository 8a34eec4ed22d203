"""The configuration of a run: frozen dataclasses whose fields are the keys of a recipe."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from understudy.config.budget import Budget, is_budget
from understudy.config.given import FINETUNE
from understudy.config.images import AugmentConfig as AugmentConfig
from understudy.config.images import DataConfig as DataConfig
from understudy.config.images import Interpolation as Interpolation
from understudy.config.networks import ModelConfig as ModelConfig
from understudy.config.networks import with_model
from understudy.config.parse import STRICT, parse, require
from understudy.config.teacher import MemberConfig as MemberConfig
from understudy.config.teacher import TeacherConfig as TeacherConfig

_LATER_FIELDS = {"sampling": "natural", "class_weights": "none"}


@dataclass(frozen=True)
class TrainConfig:
    """How one network is trained: optimizer, schedule, length."""

    __pydantic_config__ = STRICT

    epochs: int = 15
    """Passes over the training images."""
    stop_epoch: int | None = None
    """Stop after this many epochs, with every schedule still planned over all ``epochs``: an
    early-stopped teacher (Cho and Hariharan 2019) is ``teacher.train.stop_epoch``. None trains to
    the end."""
    batch_size: int = 128
    """Images in a step, over all ranks together."""
    drop_last: bool = False
    """Drop the last, smaller batch of an epoch. A last batch of a single image is always dropped:
    batch norm and the pairwise losses have nothing to compute from it."""
    sampling: Literal["natural", "balanced"] = "natural"
    """``natural`` shows each image once in an epoch. ``balanced`` draws as many images of each
    class, and as many in all: those of small classes repeat, of large ones a part is shown."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced`` weighs the cross-entropy with the label by N / (K * images of the class): as if
    all K classes had the same size. Terms that compare with the teacher have no such weight."""
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
    schedule: Literal["constant", "step", "cosine", "onecycle"] = "cosine"
    """Learning rate over the run. ``cosine`` rises linearly from near zero over warmup_fraction of
    the steps, then falls to zero along a cosine; ``onecycle`` is another name for it. ``step``
    multiplies by step_gamma."""
    warmup_fraction: float = 0.2
    """Share of the steps in which ``cosine`` rises to the peak; 0 for no warm-up."""
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
    """Decay per step of an exponential moving average of the weights, which is then evaluated and
    saved instead of the last weights; 0 for none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto`` is bf16 autocast on hardware with bf16 matrix units (AMX, AVX512-BF16, CUDA from
    Ampere), else fp32."""
    channels_last: bool = True
    """Keep images and weights in NHWC memory order."""
    compile: Literal["auto", "on", "off"] = "off"
    """``torch.compile``; ``auto`` times both and takes the faster."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights are saved: the last, or the best on validation (never on test)."""

    def __post_init__(self) -> None:
        if self.schedule == "onecycle":
            object.__setattr__(self, "schedule", "cosine")  # one schedule, one name everywhere
        require(self.epochs >= 1, "train.epochs must be at least 1")
        require(
            self.stop_epoch is None or 1 <= self.stop_epoch <= self.epochs,
            "stop_epoch must lie between 1 and epochs",
        )
        require(
            self.sampling == "natural" or self.class_weights == "none",
            "train.sampling=balanced and train.class_weights=balanced would count small classes "
            "twice: set one of them",
        )
        require(self.batch_size >= 1, "train.batch_size must be at least 1")
        require(self.lr > 0, "train.lr must be above 0")
        require(self.weight_decay >= 0, "train.weight_decay must be at least 0")
        require(0 <= self.warmup_fraction < 1, "train.warmup_fraction must lie in [0, 1)")
        require(self.step_epochs >= 1, "train.step_epochs must be at least 1")
        require(0 <= self.label_smoothing < 1, "train.label_smoothing must lie in [0, 1)")
        require(0 <= self.ema_decay < 1, "train.ema_decay must lie in [0, 1)")
        require(self.grad_clip >= 0, "train.grad_clip must be at least 0")

    def changed(self, changes: Mapping[str, Any], where: str = "train") -> "TrainConfig":
        """The same with some fields changed; ``where`` is the section named in messages."""
        return parse(TrainConfig, {**dataclasses.asdict(self), **changes}, where)

    @property
    def fingerprint(self) -> str:
        """All fields as text; checkpoints were written before the later ones existed, which are
        left out at their defaults."""
        fields = dataclasses.asdict(self)
        for name, default in _LATER_FIELDS.items():
            if fields[name] == default:
                del fields[name]
        return str(fields)

    @property
    def epochs_run(self) -> int:
        """How many epochs are trained: ``stop_epoch`` where it is given."""
        return self.epochs if self.stop_epoch is None else self.stop_epoch


@dataclass(frozen=True)
class AssistantConfig:
    """A network between teacher and student: it learns from the one before and teaches the next."""

    __pydantic_config__ = STRICT
    of_text = staticmethod(with_model)

    model: ModelConfig
    """The network; its size usually lies between the teacher's and the student's."""
    train: dict[str, Any] = field(default_factory=dict)
    """Fields of ``train`` that differ for this assistant."""
    method: dict[str, Any] = field(default_factory=dict)
    """The method that trains it; by default that of the student (``method``)."""
    stages: tuple[str, ...] = ()
    """Module paths of a foreign assistant's stages, shallow to deep, for feature-based methods."""

    def __post_init__(self) -> None:
        require(
            not self.method or "name" in self.method,
            "assistants: method.name is missing: see `understudy methods`",
        )


@dataclass(frozen=True)
class StudentConfig:
    """The small network."""

    __pydantic_config__ = STRICT
    of_text = staticmethod(with_model)

    model: ModelConfig = field(default_factory=lambda: ModelConfig("founding_student"))
    """The network, or a budget: ``auto:100k`` chooses the best known one of at most 100,000
    parameters, ``auto:10M-macs`` and ``auto:5ms@onnx`` limit what an image costs."""
    stages: tuple[str, ...] = ()
    """Module paths of a foreign student's stages, shallow to deep, for feature-based methods."""

    def __post_init__(self) -> None:
        if is_budget(self.model.name):
            Budget.of(self.model.name)
            require(
                not self.model.options and not self.stages,
                f"student: {self.model.name} chooses options and stages as well: leave them out",
            )


@dataclass(frozen=True)
class BenchmarkConfig:
    """How models are timed."""

    __pydantic_config__ = STRICT

    batch_sizes: tuple[int, ...] = (1, 128)
    """Batch sizes of the latency measurement."""
    threads: int = 1
    """CPU threads during it."""
    repeats: int = 30
    """Timed rounds; in each round every model is timed once."""
    warmup: int = 5
    """Untimed rounds before them."""


LARGEST_SEED = 2**62
"""Generators take 64-bit seeds; below this limit a seed plus an arm's offset still fits."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run's numbers."""

    __pydantic_config__ = STRICT

    name: str = "run"
    """Name of the run, and of its folder."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The large network."""
    assistants: tuple[AssistantConfig, ...] = ()
    """Networks between teacher and student: the first learns from the teacher, the students learn
    from the last."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The small network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How the networks are trained."""
    method: dict[str, Any] = field(default_factory=lambda: {"name": "kd"})
    """The distillation method and its options (``understudy methods NAME`` lists them)."""
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further arms in addition to ``baseline`` and ``distilled``: name -> method and options. The
    key ``teacher`` names the arm that teaches, instead of the last assistant or the teacher."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of each arm per seed; arms of one seed share initial weights and data order."""
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    """How the models are timed."""
    reference: dict[str, dict[str, float]] = field(default_factory=dict)
    """Published figures to show next to the measured ones: arm -> {accuracy, latency_ms, ...}."""

    def __post_init__(self) -> None:
        require(len(self.seeds) >= 1, "seeds must name at least one seed")
        require(len(set(self.seeds)) == len(self.seeds), "seeds must differ from each other")
        small = all(abs(seed) < LARGEST_SEED for seed in self.seeds)
        require(small, f"seeds must lie between -{LARGEST_SEED} and {LARGEST_SEED}")
        require("name" in self.method, "method.name is missing: see `understudy methods`")
        taken = {"teacher", "baseline", "distilled"} & set(self.arms)
        require(not taken, f"arms.{next(iter(taken), '')} is a reserved name")
        for number in range(len(self.teacher.members)):
            self.member_train(number)
        for number in range(len(self.assistants)):
            self.assistant_train(number)
        _ = self.teacher_train
        for arm, method in self.arms.items():
            require("name" in method, f"arms.{arm}.name is missing: see `understudy methods`")

    @property
    def teacher_inputs(self) -> DataConfig:
        """``data`` as the teacher sees it: with its own size, filter, channels and
        normalisation."""
        own = self.teacher
        names = ("image_size", "interpolation", "channels", "mean", "std")
        changes = {name: getattr(own, name) for name in names if getattr(own, name) is not None}
        if self.data.channels != changes.get("channels", self.data.channels):
            default = DataConfig(channels=changes["channels"])
            changes = {"mean": default.mean, "std": default.std, **changes}
        return dataclasses.replace(self.data, **changes)

    @property
    def teacher_train(self) -> TrainConfig:
        """``train`` with the teacher's own fields laid over it.

        For fine-tuning they are laid over :data:`~understudy.config.given.FINETUNE` first.
        """
        changes = self.teacher.train
        if self.teacher.head == "finetune":
            changes = {**FINETUNE, **changes}
        return self.train.changed(changes, "teacher.train")

    def member_train(self, number: int) -> TrainConfig:
        """``teacher_train`` with the fields of a member of the ensemble (from 0) laid over it."""
        changes = {**self.teacher.train, **self.teacher.members[number].train}
        return self.train.changed(changes, f"teacher.members.{number}.train")

    def assistant_train(self, number: int) -> TrainConfig:
        """``train`` with an assistant's own fields (from 0) laid over it."""
        changes = self.assistants[number].train
        return self.train.changed(changes, f"assistants.{number}.train")
