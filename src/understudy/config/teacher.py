"""The part of a configuration that is about the teacher: which network, and what it is fed."""

from dataclasses import dataclass, field
from typing import Any, Literal

from understudy.config.given import ClassList, HeadKind, require_given
from understudy.config.images import Interpolation
from understudy.config.networks import ModelConfig, with_model_or_path
from understudy.config.parse import STRICT, require


@dataclass(frozen=True)
class MemberConfig:
    """One of several teachers. Fields that are not given are those of ``teacher``."""

    __pydantic_config__ = STRICT
    of_text = staticmethod(with_model_or_path)

    model: ModelConfig | None = None
    """The network."""
    train: dict[str, Any] = field(default_factory=dict)
    """Fields of ``teacher.train`` that differ for this member."""
    path: str | None = None
    """Weights of a trained network: measured on validation, not trained again."""
    classes: ClassList = None
    """Names of its outputs, as ``teacher.classes``."""
    seed: int | None = None
    """Seed of its training; none: ``teacher.seed`` plus its position in the list, from 0."""
    weight: float = 1.0
    """Its weight in the mean of the members' outputs, relative to the other weights."""
    mean: tuple[float, ...] | None = None
    """Its own normalisation: per-channel mean."""
    std: tuple[float, ...] | None = None
    """Its own normalisation: per-channel standard deviation."""
    stages: tuple[str, ...] | None = None
    """Module paths of its stages, for feature-based methods."""

    def __post_init__(self) -> None:
        require(0 <= self.weight < float("inf"), "teacher.members: weight must be at least 0")
        require_given("teacher.members", self.classes, self.path)
        _require_normalisation("teacher.members", self.mean, self.std)


@dataclass(frozen=True)
class TeacherConfig:
    """The large network, and how its outputs reach the student."""

    __pydantic_config__ = STRICT
    of_text = staticmethod(with_model_or_path)

    model: ModelConfig = field(default_factory=lambda: ModelConfig("founding_teacher"))
    """The network."""
    train: dict[str, Any] = field(default_factory=dict)
    """Fields of ``train`` that differ for the teacher."""
    path: str | None = None
    """File of a trained teacher's weights, of any training code: measured on validation, not
    trained again. ``pretrained`` stands for the weights that the network's name comes with."""
    classes: ClassList = None
    """Names of the outputs of a given teacher, in their order: a list, or a file with one name a
    line or JSON. They are matched with the classes of the images by name, in any order; of a
    teacher with more classes the logits of those of the images are used. None: what file or network
    records."""
    head: HeadKind = "own"
    """The last layer. ``linear-probe`` keeps all other weights, those of ``path`` or of the
    network's name, and solves a new last layer for the classes of the images; ``finetune`` trains
    all weights from there."""
    head_views: int = 2
    """Views of each training image whose features the new last layer is solved on: the image, and
    views of ``data.augment``, without mixing."""
    go_on: bool = False
    """Go on with a teacher that is no better on validation than the student without one."""
    per_seed: bool = False
    """Train one teacher for each seed instead of one for all."""
    seed: int = 0
    """Seed of the shared teacher."""
    min_accuracy: float | None = None
    """Validation accuracy in [0, 1] below which a teacher from ``path`` is refused; none: a
    little above chance, which is the share of the most frequent class."""
    outputs: Literal["auto", "live", "cached"] = "auto"
    """``cached`` labels each view once and stores the logits on disk; ``live`` runs the teacher in
    every step."""
    image_size: int | tuple[int, int] | None = None
    """Size in pixels at which the teacher sees the images: a number for squares, or ``[height,
    width]``. None: what a given teacher's network or file records, else ``data.image_size``."""
    interpolation: Interpolation | None = None
    """Filter by which images are brought to that size. None: as ``image_size``."""
    channels: int | None = None
    """1 for grey, 3 for RGB. None: what a given teacher's network takes, else ``data.channels``."""
    mean: tuple[float, ...] | None = None
    """The teacher's own normalisation, if it is not ``data.mean``. None: as ``image_size``."""
    std: tuple[float, ...] | None = None
    """The teacher's own normalisation, if it is not ``data.std``. None: as ``image_size``."""
    stages: tuple[str, ...] = ()
    """Module paths of a foreign teacher's stages, shallow to deep, for feature-based methods."""
    members: tuple[MemberConfig, ...] = ()
    """Several teachers instead of one, trained here (``[{seed: 0}, {seed: 1}]``) or given as files
    (``[{path: A}, {path: B}]``): the student learns from each, by its weight; the arm ``teacher``
    is their mean. All see the images at ``teacher.image_size``."""

    def __post_init__(self) -> None:
        _require_normalisation("teacher", self.mean, self.std)
        sizes = self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)
        require(
            all(size is None or size >= 1 for size in sizes),
            "teacher.image_size must be at least 1",
        )
        require(self.channels in (None, 1, 3), "teacher.channels must be 1 for grey or 3 for RGB")
        require(self.head_views >= 1, "teacher.head_views must be at least 1")
        if self.head == "own":
            require_given("teacher", self.classes, self.model.own_file or self.path)
        else:
            require(
                self.classes is None,
                "teacher.classes names the outputs of the teacher's own last layer: remove it, or "
                "set teacher.head=own",
            )
            require(
                not self.members,
                "teacher.head is for one teacher: of several, make each in a run of its own and "
                "give the files",
            )
        if self.members:
            require(len(self.members) > 1, "teacher.members must be at least two")
            require(
                sum(member.weight for member in self.members) > 0,
                "teacher.members: the weights must not all be 0",
            )
            require(
                self.path is None,
                "teacher.path is for one teacher: give each of teacher.members its own path",
            )
            require(
                not self.per_seed,
                "teacher.per_seed trains one teacher for each seed: "
                "it cannot be combined with teacher.members",
            )


def _require_normalisation(
    where: str, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> None:
    require((mean is None) == (std is None), f"{where}.mean and {where}.std must be given together")
    if mean is not None and std is not None:
        require(len(mean) == len(std), f"{where}.mean and {where}.std must have the same length")
        require(all(s > 0 for s in std), f"{where}.std must be above 0")
