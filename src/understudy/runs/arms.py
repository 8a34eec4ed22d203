"""An arm of a run: one network and how it is trained, complete and typed."""

from dataclasses import dataclass
from typing import Literal

from understudy.config.given import HeadKind
from understudy.config.schema import DataConfig, ModelConfig, TrainConfig
from understudy.methods import needs_of
from understudy.methods.base import MethodConfig
from understudy.runs.folder import training_name
from understudy.training.curriculum import refuse_two_samplers

Role = Literal["teacher", "member", "assistant", "generation", "baseline", "distilled", "extra"]
_SHARED_ROLES = ("teacher", "member", "assistant")
_STUDENT_ROLES = ("generation", "distilled", "extra")


@dataclass(frozen=True)
class Arm:
    """One network of a run and how it is trained, once or once for each seed.

    Attributes:
        name: ``teacher``, ``baseline``, ``distilled``, ``assistant1``, or any other arm's.
        role: what it is for.
        model: the network.
        stages: module paths of a foreign network's stages, shallow to deep.
        train: how it is trained.
        method: the method that trains it, with its options.
        inputs: the run's ``data`` with the size, filter, channels and normalisation that this
            network expects.
        teacher: the arm that teaches it; ``None`` without one.
        members: arms that an ensemble consists of; it is built from them, not trained.
        weights: of these members.
        path: a weights file, or ``pretrained``; the network is then measured, not trained, unless
            it gets a new head.
        head: ``own``, or how a new head is learnt: ``linear-probe`` or ``finetune``.
        classes: names of the network's outputs in their order, to be matched with the classes of
            the images; empty if they are these.
        seed: of its one training; ``None`` for one training for each seed of the run.
        generation: from 1 in a born-again arm; 0 elsewhere.
    """

    name: str
    role: Role
    model: ModelConfig
    stages: tuple[str, ...]
    train: TrainConfig
    method: MethodConfig
    inputs: DataConfig
    teacher: str | None = None
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    path: str | None = None
    head: HeadKind = "own"
    classes: tuple[str, ...] = ()
    seed: int | None = None
    generation: int = 0

    def __post_init__(self) -> None:
        refuse_two_samplers(self.method.curriculum, self.train)

    @property
    def is_shared(self) -> bool:
        """Whether students have it in common: teacher, members, assistants."""
        return self.role in _SHARED_ROLES

    @property
    def is_taught(self) -> bool:
        """Whether it is a student trained by a method, to be compared with a plainly trained
        network."""
        return self.role in _STUDENT_ROLES

    @property
    def needs(self) -> str:
        """What of the teacher its method reads: ``nothing``, ``logits``, ``embedding`` or
        ``features``."""
        return needs_of(self.method)

    @property
    def uses_teacher(self) -> bool:
        """Whether its method reads a teacher's outputs."""
        return self.needs != "nothing"

    @property
    def is_given(self) -> bool:
        """Whether its weights are from a file or a library, and remain as they were."""
        return self.path is not None and self.head == "own"

    @property
    def epochs(self) -> int:
        """Number of epochs it is trained for: 0 with given weights, for a linear probe, and for an
        ensemble."""
        is_trained = not (self.is_given or self.head == "linear-probe" or self.members)
        return self.train.epochs_run if is_trained else 0

    def seed_for(self, seed: int) -> int:
        """The seed of its training that serves a student of this seed."""
        return seed if self.seed is None else self.seed


@dataclass(frozen=True)
class ArmRun:
    """One training of an arm.

    Attributes:
        arm: what is trained.
        seed: of initial weights, order, views and dropout.
        teacher_seed: of the teacher whose predictions it is compared with; ``None`` for the teacher
            and its members.
    """

    arm: Arm
    seed: int
    teacher_seed: int | None

    @property
    def name(self) -> str:
        """Folder and file name: ``distilled-seed0``."""
        return training_name(self.arm.name, self.seed)
