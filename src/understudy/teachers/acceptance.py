"""When a given teacher is good enough to teach, by its accuracy on validation images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.config.images import Interpolation
from understudy.errors import UnderstudyError
from understudy.models.normalisation import Normalisation, Source


def least_teacher_accuracy(labels: Tensor, logits: Tensor | None = None) -> float:
    """The validation accuracy in [0, 1] below which a teacher is refused by default.

    Chance plus a ninth of the room above it, but never more than twice chance. Chance is the share
    of the most frequent class, which needs no image to be guessed. With equal classes: 0.56 for
    two, 0.41 for three, 0.2 for ten, 0.02 for a hundred.

    Where one class has nearly all images, a teacher that finds the others may be right less often
    than a guess. So one whose mean accuracy over the classes passes, with a share of each class as
    chance, needs no accuracy at all.

    Args:
        labels: int64 ``[N]``, of the validation images.
        logits: ``[N, K]``, the teacher's outputs for them.
    """
    if logits is not None and len(labels.unique()) > 1:
        classes, right = labels.unique(), logits.argmax(1) == labels
        shares = torch.stack([right[labels == one].double().mean() for one in classes])
        if float(shares.mean()) >= _least_above(1 / len(classes)):
            return 0.0
    return _least_above(float(labels.bincount().max()) / len(labels))


def _least_above(chance: float) -> float:
    return min(2 * chance, chance + (1 - chance) / 9)


def require_accuracy(name: str, accuracy: float, least: float, remedy: str) -> None:
    """Refuse a teacher that knows too little; usually its input or its classes are wrong.

    Args:
        name: of the teacher, for the message.
        accuracy: on validation images, in [0, 1].
        least: the accuracy that it must reach, in [0, 1].
        remedy: what to check or set.

    Raises:
        UnderstudyError: if ``accuracy`` is below ``least``.
    """
    if accuracy < least:
        raise UnderstudyError(
            f"{name} has {100 * accuracy:.1f} % on validation, below {100 * least:.1f} %: {remedy}"
        )


@dataclass(frozen=True)
class TeacherCheck:
    """What ``distill`` found out about a teacher before training.

    Attributes:
        name: class of the network.
        accuracy: on the validation images, in [0, 1].
        normalisation: with which it is fed.
        source: where that comes from: ``given``, ``recorded``, ``pretrained_cfg`` or ``assumed``.
        size: (height, width) of its images, where they are not the student's.
        interpolation: filter by which they were brought to that size.
    """

    name: str
    accuracy: float
    normalisation: Normalisation
    source: Source
    size: tuple[int, int] | None = None
    interpolation: Interpolation | None = None

    def __post_init__(self) -> None:
        if self.size is not None:  # JSON has lists
            object.__setattr__(self, "size", tuple(self.size))

    def __str__(self) -> str:
        mean, std = self.normalisation.mean, self.normalisation.std
        seen = ""
        if self.size is not None:
            seen = f"{self.size[0]}x{self.size[1]} pixels, {self.interpolation}, "
        return (
            f"teacher {self.name}: {100 * self.accuracy:.1f} % on validation, "
            f"{seen}mean {mean} and std {std} ({self.source})"
        )
