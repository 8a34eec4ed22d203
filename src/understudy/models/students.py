"""The table of students: what small networks learned in one short training, all trained alike.

``benchmarks/students.py`` measures it; ``students.json`` holds it with the recipe, the machine and
the versions. Importing this loads no torch.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.files import from_json

TABLE = Path(__file__).with_name("students.json")
"""Where the table is."""


@dataclass(frozen=True, kw_only=True)
class KnownStudent:
    """A line of the table.

    Attributes:
        name: a network of :data:`~understudy.models.registry.MODELS`.
        options: of its constructor.
        parameters: trained elements, for the table's classes and channels.
        macs: multiply-accumulates of one image of the table's size.
        accuracy: on validation, in [0, 1]; seed -> that of its training.
    """

    name: str
    options: Mapping[str, Any]
    parameters: int
    macs: int
    accuracy: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds, in [0, 1]."""
        return sum(self.accuracy.values()) / len(self.accuracy)

    @property
    def variance(self) -> float | None:
        """Variance of the accuracy over the seeds; ``None`` with a single one."""
        if len(self.accuracy) < 2:
            return None
        squares = sum((value - self.mean) ** 2 for value in self.accuracy.values())
        return squares / (len(self.accuracy) - 1)


@dataclass(frozen=True, kw_only=True)
class StudentTable:
    """Small networks and their accuracy.

    Attributes:
        caveat: what the figures can tell and what not, for people.
        command: that measured them.
        created: day of the last training.
        data, images, val_images, image, num_classes: what the networks were trained on; shape of an
            image as ``[C, H, W]``.
        train: the recipe, fields of :class:`~understudy.config.schema.TrainConfig`.
        seeds: of the trainings.
        environment: the machine and the versions.
        students: in the order of their training.
    """

    caveat: str
    command: str
    created: str
    data: str
    images: int
    val_images: int
    image: tuple[int, int, int]
    num_classes: int
    train: Mapping[str, Any]
    seeds: tuple[int, ...]
    environment: Mapping[str, Any]
    students: tuple[KnownStudent, ...]

    @property
    def trained(self) -> tuple[KnownStudent, ...]:
        """The students whose accuracy is known."""
        return tuple(each for each in self.students if each.accuracy)

    @property
    def standard_error(self) -> float:
        """Of a student's mean accuracy, from the spread over seeds pooled over all students: two or
        three seeds of one student alone do not show their spread. 0 with a single seed."""
        variances = [each.variance for each in self.trained]
        known = [variance for variance in variances if variance is not None]
        if not known:
            return 0.0
        return math.sqrt(sum(known) / len(known) / len(self.seeds))

    def accuracy_of(self, name: str, options: Mapping[str, Any]) -> float | None:
        """Mean accuracy of a network with exactly these options; ``None`` if it is not known."""
        same = (each for each in self.trained if (each.name, each.options) == (name, options))
        found = next(same, None)
        return None if found is None else found.mean


@functools.cache
def known_students() -> StudentTable:
    """The table that comes with the package."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    return from_json(StudentTable, content, str(TABLE), "install the package again")
