"""The classes of a given teacher, matched by name with those of the images before anything trains.

Names are, in this order: those of the configuration, a list or a file; those that the file of the
weights records; those that the network records. What differs from the classes of the images is
written into the configuration as a list, as a measured ``data.mean`` is: nothing is read a second
time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from understudy.config.given import PRETRAINED, ClassList
from understudy.config.schema import DataConfig, MemberConfig, ModelConfig, RunConfig, TeacherConfig
from understudy.data.names import counted, listed
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.models.class_lists import read_class_list
from understudy.models.class_matching import are_placeholders, match_classes
from understudy.models.expects import expects
from understudy.runs.given import recorded
from understudy.runs.networks import build, outputs_in_file, own_network

_REMEDY = (
    "name them in their order by teacher.classes, or learn a new head by teacher.head=linear-probe"
)


def with_teacher_classes(
    config: RunConfig, images: TrainingData, observer: Observer = SILENT
) -> RunConfig:
    """The configuration with the names of given teachers' outputs, where they are not the classes
    of the images in their order.

    Args:
        config: as the user has it.
        images: of the run.
        observer: gets a line for each given teacher: what was matched.

    Raises:
        UnderstudyError: if a class of the images is missing or ambiguous, or classes differ in
            number and have no names.
    """
    given = config.teacher
    if given.head != "own":
        return config
    parts = _parts(given)
    found: list[ClassList] = []
    for number, part in enumerate(parts):
        model = part.model or given.model
        path = part.path or (PRETRAINED if model.own_file else None)
        if path is None:
            found.append(part.classes)
            continue
        names = _Names(images, config.teacher_inputs, model, path, part.classes)
        name = f"member{number + 1}" if given.members else "teacher"
        found.append(names.resolved(name, observer))
    return replace(config, teacher=_with_classes(given, found))


def _parts(teacher: TeacherConfig) -> Sequence[TeacherConfig | MemberConfig]:
    return teacher.members or (teacher,)


def _with_classes(given: TeacherConfig, classes: Sequence[ClassList]) -> TeacherConfig:
    if not given.members:
        return replace(given, classes=classes[0])
    pairs = zip(given.members, classes, strict=True)
    return replace(given, members=tuple(replace(one, classes=names) for one, names in pairs))


@dataclass(frozen=True)
class _Names:
    """What is known of one given teacher's outputs.

    Attributes:
        images: with the classes that are wanted.
        inputs: the images as the network sees them.
        model: its network.
        path: of its weights, or ``pretrained``.
        given: names in the configuration, or the file that lists them.
    """

    images: TrainingData
    inputs: DataConfig
    model: ModelConfig
    path: str
    given: ClassList

    def resolved(self, name: str, observer: Observer) -> ClassList:
        """Names that differ from the classes of the images, or that were configured.

        Raises:
            UnderstudyError: see :func:`with_teacher_classes`.
        """
        is_gone = self.path != PRETRAINED and not Path(self.path).exists()
        if is_gone and self.given is None:
            return None  # its weights are missed by name next
        names = self._listed()
        if names is None:
            names, count = self._recorded()
            if names is None:
                observer.message(f"{name}: {self._assumed(count)}")
                return None
        match = match_classes(names, self.images.class_names)
        observer.message(f"{name}: {match}")
        return None if self.given is None and match.is_identity else names

    def _listed(self) -> tuple[str, ...] | None:
        """The names in the configuration."""
        if isinstance(self.given, str):
            return read_class_list(Path(self.given))
        return None if self.given is None else tuple(map(str, self.given))

    def _recorded(self) -> tuple[tuple[str, ...] | None, int | None]:
        """The names that file or network record, and how many outputs there are, if known."""
        count, network = self._outputs()
        names = () if self.path == PRETRAINED else recorded(Path(self.path)).class_names
        if not names or (count is not None and len(names) != count):
            names = () if network is None else expects(network).all_names
        usable = names and len(names) == count and not are_placeholders(names)
        same = set(names) == set(self.images.class_names)  # the digits' names are numbers
        return (names if usable or (names and same) else None), count

    def _outputs(self) -> tuple[int | None, nn.Module | None]:
        """How many outputs the teacher has, and the network for so many."""
        with torch.random.fork_rng(devices=[]):
            if self.path == PRETRAINED:
                return own_network(self.model, self.images, self.inputs)
            count = outputs_in_file(Path(self.path), self.model, self.images, self.inputs)
            if count is None:
                return None, None
            network = build(self.model, self.images, inputs=self.inputs, num_classes=count)
            return count, network

    def _assumed(self, count: int | None) -> str:
        """The line for a teacher whose classes have no names.

        Raises:
            UnderstudyError: if their number differs from that of the images.
        """
        own, where = self.images.class_names, self.path
        if where == PRETRAINED:
            where = self.model.name
        if count is not None and count != len(own):
            raise UnderstudyError(
                f"the teacher {where} has {counted(count, 'output')} without names, and the images "
                f"have {counted(len(own), 'class', 'classes')} ({listed(own)}): {_REMEDY}"
            )
        return (
            f"the names of its classes are not known: they are taken to be {listed(own)}, in this "
            "order; if that is wrong, its accuracy will be low: set teacher.classes"
        )
