"""The base class of methods: a loss that owns the student and whatever trains with it."""

import inspect
import math
import re
from abc import ABC
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from understudy.config.schedules import Curriculum, Schedule, bounds, value_at
from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.divergence import kd_loss
from understudy.models.base import Classifier, Outputs
from understudy.models.stages import stage_setting

Needs = Literal["nothing", "logits", "embedding", "features"]
NEEDS: tuple[Needs, ...] = get_args(Needs)
"""From the least to the most."""


@dataclass(frozen=True)
class MethodConfig:
    """Options of every method.

    A method adds its own term to the base loss ``(1 - alpha) * CE + alpha * T^2 * KL``.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    """The method's id, or several joined by ``+``."""
    temperature: float | Schedule = 4.0
    """T: both networks' logits are divided by it in the soft term. ``{start: 8, end: 1}`` moves it
    over the epochs."""
    alpha: float | Schedule = 0.0
    """Weight of the soft term, in [0, 1]; the cross-entropy gets the rest. ``{start: 1, end: 0}``
    moves it over the epochs."""
    ce_weight: float | None = None
    """Weight of the cross-entropy, if it is not 1 - alpha."""
    curriculum: Curriculum | None = None
    """Show the images that the teacher finds easy first: ``{by: loss, start: 0.3, over: 10}``."""

    def __post_init__(self) -> None:
        if not 0 < bounds(self.temperature)[0] <= bounds(self.temperature)[1] < math.inf:
            raise ValueError("method.temperature must be above 0")
        if not 0 <= bounds(self.alpha)[0] <= bounds(self.alpha)[1] <= 1:
            raise ValueError("method.alpha must lie in [0, 1]")
        # weight, ce_weight, stage_weights and any other weight of a method
        for field in fields(self):
            if not field.name.endswith(("weight", "weights")):
                continue
            value = getattr(self, field.name)
            values = value if isinstance(value, tuple) else (value,)
            if not all(one is None or 0 <= one < math.inf for one in values):
                raise ValueError(f"method.{field.name} must be at least 0")


@dataclass(frozen=True)
class MethodContext:
    """What a method may know about its run when it is built.

    Attributes:
        num_classes: K.
        labels: int64 ``[N]`` of the training split (memory banks, negatives from other classes).
        epochs: length of the run (warm-ups).
        label_smoothing: of the cross-entropy.
        class_weights: float32 ``[K]`` of the cross-entropy with the label; ``None`` for none.
        student_example, teacher_example: outputs for a batch of two images, to size adapters by;
            the teacher's is ``None`` without a teacher and has no features where only logits are
            known.
        teacher: the frozen network itself, where it runs live (SimKD borrows its head).
    """

    num_classes: int
    labels: Tensor
    epochs: int
    label_smoothing: float
    student_example: Outputs
    teacher_example: Outputs | None = None
    teacher: Classifier | None = None
    class_weights: Tensor | None = None


class Method(nn.Module, ABC):
    """A student with its loss.

    Subclasses set ``config_class`` and ``needs``, and override ``terms`` to add to the base loss.

    ``forward(batch, teacher_outputs)`` runs the student and returns the named, weighted losses
    whose sum is differentiated; it is the entry that data-parallel wrapping sees. The teacher is no
    child of the method: it is in no checkpoint.
    """

    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    needs: ClassVar[Needs] = "logits"
    """What of the teacher is read: ``nothing``, ``logits``, logits and pooled ``embedding`` (both
    can be cached), or feature maps as well, ``features`` (the teacher runs live)."""
    reference: ClassVar[str] = ""
    """The source paper."""
    min_classes: ClassVar[int] = 2
    """The fewest classes K for which the method's own term teaches anything."""
    with_few_classes: ClassVar[str] = "take another, such as method=kd"
    """What to do with fewer classes."""
    keeps_adapter: ClassVar[bool] = False
    """Whether what is deployed is more than the student (SimKD): then it can only be built again as
    part of the method."""

    def __init__(self, student: Classifier, config: MethodConfig, context: MethodContext) -> None:
        super().__init__()
        self.student = student
        self.config = config
        self.num_classes = context.num_classes
        self.epochs = context.epochs
        self.label_smoothing = context.label_smoothing
        # Follows the method to its device; no part of a checkpoint, since the labels determine it.
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", context.class_weights, persistent=False)
        self.epoch = 0
        """The current epoch, set by the loop before each: for warm-ups and schedules."""

    @classmethod
    def needs_with(cls, config: MethodConfig) -> Needs:
        """What of the teacher is read under these options: by default ``needs``."""
        return cls.needs

    @classmethod
    def require_classes(cls, config: MethodConfig, num_classes: int) -> None:
        """Refuse a number of classes for which the method's term means nothing.

        Raises:
            UnderstudyError: naming the method, both numbers and what to use instead.
        """
        if num_classes < cls.min_classes:
            raise UnderstudyError(
                f"method {config.name} needs at least {cls.min_classes} classes, and the images "
                f"have {num_classes}: {cls.with_few_classes}"
            )

    @property
    def temperature_now(self) -> float:
        """T in this epoch."""
        return value_at(self.config.temperature, self.epoch, self.epochs)

    @property
    def alpha_now(self) -> float:
        """Weight of the soft term in this epoch."""
        return value_at(self.config.alpha, self.epoch, self.epochs)

    def measures(self) -> dict[str, Tensor]:
        """Scalars reported after each epoch, such as a discriminator's accuracy."""
        return {}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The method's own weighted scalar losses, in addition to the base loss."""
        return {}

    def losses(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted scalar losses; their sum is what is differentiated.

        Args:
            student, teacher: outputs for the same images; ``teacher`` is ``None`` only for methods
                that need nothing.
            batch: images and labels.
        """
        config, alpha = self.config, self.alpha_now
        ce_weight = 1 - alpha if config.ce_weight is None else config.ce_weight
        result = {}
        if ce_weight or (config.ce_weight is None and isinstance(config.alpha, Schedule)):
            hard = self.label_loss(student.logits, batch)
            result["ce"] = hard if ce_weight == 1 else ce_weight * hard
        if teacher is not None:
            # A schedule that passes 0 keeps its column in the history.
            if alpha or isinstance(config.alpha, Schedule):
                result["kd"] = alpha * kd_loss(student.logits, teacher.logits, self.temperature_now)
            result |= self.terms(student, teacher, batch)
        if not result:
            raise UnderstudyError(
                f"{config.name} has no loss: method.alpha, method.ce_weight and method.weight are "
                "all 0"
            )
        return result

    def label_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy with the labels, smoothed and weighted as ``train`` has it."""
        return cross_entropy(logits, batch, self.label_smoothing, self.class_weights)

    def forward(
        self, batch: Batch, teacher: Outputs | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Run the student on a batch: the losses, and its logits ``[B, K]``."""
        student = self.student.outputs(batch.images)
        # Losses in fp32 whatever the network computed in: softmax tails and T^2 do not fit bf16.
        student = Outputs(student.logits.float(), student.features, student.embedding)
        with torch.autocast(batch.images.device.type, enabled=False):
            return self.losses(student, teacher, batch), student.logits

    def deployed(self) -> Classifier:
        """The network that takes the teacher's place: the student alone, without adapters.

        ``keeps_adapter`` marks the exceptions.
        """
        return self.student

    @classmethod
    def card(cls) -> str:
        """The method's documentation: what it does, when to use it, cost, options, reference."""
        module = inspect.getmodule(cls)
        return inspect.cleandoc((module and module.__doc__) or cls.__doc__ or "")

    @classmethod
    def options(cls) -> list[dict[str, Any]]:
        """Name, type, default and explanation of every option."""
        return describe_fields(cls.config_class)


def attach_part(method: Method, name: str, part: Method) -> None:
    """Make ``part`` a child of a method that has the same student.

    The student is the method's child alone: a part that held it too would save it a second time.
    """
    del part._modules["student"]
    object.__setattr__(part, "student", method.student)
    method.add_module(name, part)


def cross_entropy(
    logits: Tensor, batch: Batch, label_smoothing: float, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of ``[B, K]`` logits with the batch's labels.

    If images are mixed, both labels count by their shares. With ``class_weights`` (float ``[K]``)
    each image's loss is multiplied by the weight of its label, and the mean is still over B images:
    unlike torch's ``weight``, a batch of small classes has a larger loss.
    """
    if batch.partner_labels is None or batch.lam is None:
        if class_weights is None:
            return nn.functional.cross_entropy(
                logits, batch.labels, label_smoothing=label_smoothing
            )
        return _per_image(logits, batch.labels, label_smoothing, class_weights).mean()
    own = _per_image(logits, batch.labels, label_smoothing, class_weights)
    other = _per_image(logits, batch.partner_labels, label_smoothing, class_weights)
    return (batch.lam * own + (1 - batch.lam) * other).mean()


def _per_image(
    logits: Tensor, labels: Tensor, label_smoothing: float, class_weights: Tensor | None
) -> Tensor:
    loss = nn.functional.cross_entropy(
        logits, labels, label_smoothing=label_smoothing, reduction="none"
    )
    return loss if class_weights is None else class_weights[labels] * loss


def describe_fields(kind: type) -> list[dict[str, Any]]:
    """Name, type, default and docstring of each field of a config, inherited fields first."""
    documentation: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if parent is not object:
            documentation |= _field_docstrings(parent)
    return [
        {
            "name": f.name,
            "type": _type_name(f.type),
            "default": repr(f.default),
            "description": documentation.get(f.name, ""),
        }
        for f in fields(kind)
        if f.name != "name"
    ]


def _type_name(annotation: Any) -> str:
    """``float | None`` for what Python prints with the module's name before every class."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(getattr(annotation, "__name__", annotation)))


def _field_docstrings(kind: type) -> dict[str, str]:
    import ast
    import textwrap

    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except OSError:  # a class typed into an interactive session has no source
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        named = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = " ".join(str(after.value.value).split())
            found[statement.target.id] = text  # type: ignore[attr-defined]
    return found


class NoStages(UnderstudyError):
    """A method reads features, but a network shows none because its stages are not named.

    Attributes:
        role: ``student`` or ``teacher``.
        instead: another way out, appended to the message.
        proposed: module paths that would serve, shallow to deep; empty if none are known.
    """

    def __init__(
        self, needs: str, role: str, instead: str = "", proposed: tuple[str, ...] = ()
    ) -> None:
        self.needs, self.role, self.instead, self.proposed = needs, role, instead, proposed
        such = f", such as {stage_setting(role, proposed)}" if proposed else ""
        super().__init__(
            f"{needs}, but the {role} shows none: set {role}.stages to its modules{such}{instead}"
        )

    def proposing(self, stages: tuple[str, ...]) -> "NoStages":
        """The same with stages that would serve; unchanged if there are none."""
        return NoStages(self.needs, self.role, self.instead, stages)


def require_features(name: str, context: MethodContext) -> None:
    """Refuse to build a feature-based method if either network shows no features.

    Raises:
        UnderstudyError: naming the setting to change.
    """
    for role, example in (
        ("student", context.student_example),
        ("teacher", context.teacher_example),
    ):
        if example is None or not example.features:
            raise NoStages(f"{name} compares feature maps", role)


def require_embeddings(name: str, context: MethodContext, instead: str = "") -> None:
    """Refuse to build an embedding-based method if either network shows no embedding.

    Args:
        name: of the method.
        context: with the examples of both networks.
        instead: another way out, appended to the message.

    Raises:
        UnderstudyError: naming the setting to change.
    """
    for role, example in (
        ("student", context.student_example),
        ("teacher", context.teacher_example),
    ):
        if example is None or example.embedding is None:
            raise NoStages(f"{name} compares embeddings", role, instead)


def embeddings_of(name: str, context: MethodContext, instead: str = "") -> tuple[Tensor, Tensor]:
    """Example embeddings ``[2, D]`` of student and teacher, to size adapters by.

    Raises:
        UnderstudyError: as :func:`require_embeddings`.
    """
    require_embeddings(name, context, instead)
    assert context.student_example.embedding is not None
    assert context.teacher_example is not None and context.teacher_example.embedding is not None
    return context.student_example.embedding, context.teacher_example.embedding
