"""What a given teacher expects of its images, read once and written into the configuration.

A network from elsewhere was trained at a size, with a filter and a normalisation of its own. They
are what the configuration gives; else what its file records; else what its network records; else
those of the student. A network that is trained here sees the student's images, unless the
configuration gives it others. Afterwards the configuration holds numbers, as it does for a measured
``data.mean``: nothing is read a second time.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import torch

from understudy.config.given import PRETRAINED
from understudy.config.schema import MemberConfig, ModelConfig, RunConfig, TeacherConfig
from understudy.data.own_size import has_own_pixels, own_dataset
from understudy.data.prepare import TrainingData
from understudy.data.spec import size_of
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.models.class_lists import read_class_list
from understudy.models.expects import Expects, expects, input_channels
from understudy.models.libraries import build_module
from understudy.models.normalisation import Normalisation
from understudy.runs.given import is_same, recorded
from understudy.runs.plan import RunPlan, resolve_plan
from understudy.runs.teacher_classes import with_teacher_classes

Value = TypeVar("Value", bound=Hashable)
Part = TypeVar("Part", TeacherConfig, MemberConfig)

_READ = ("image_size", "interpolation", "channels", "mean", "std", "classes")
"""Settings that are read of files and networks where they are left open."""


def resolved_plan(
    config: RunConfig,
    data: TrainingData,
    observer: Observer = SILENT,
    earlier: RunConfig | None = None,
) -> RunPlan:
    """The plan of a run whose images have been read, with everything in numbers.

    Images that a network sees at a size of its own are decoded here, before any training starts.

    Args:
        config: as the user has it.
        data: prepared from ``config.data``.
        observer: gets lines about what a teacher is fed and its classes, and the progress of
            decoding.
        earlier: of the run that is resumed: what it read of the same teacher is not read again,
            since files may be gone, and an earlier version may have read less of them.

    Raises:
        UnderstudyError: if a teacher's images would show other parts than the student's, several
            given teachers expect different images, or their classes cannot be matched.
    """
    config = replace(config, data=data.config)  # with mean and std in numbers
    if earlier is not None and _networks(earlier.teacher) == _networks(config.teacher):
        config = replace(config, teacher=_as_begun(config.teacher, earlier.teacher))
    else:
        config = replace(config, teacher=_with_inputs(config, data, observer))
        config = with_teacher_classes(config, data, observer)
    plan = resolve_plan(config)
    for arm in plan.arms.values():
        if has_own_pixels(data, arm.inputs):
            own_dataset(data, arm.inputs, observer)
    return plan


def _networks(teacher: TeacherConfig) -> list[object]:
    """What decides what is read of the teachers: networks, files, heads."""
    return [(part.model, part.path, teacher.head) for part in teacher.members or (teacher,)]


def _as_begun(given: TeacherConfig, begun: TeacherConfig) -> TeacherConfig:
    """The teacher with what it leaves open as the run that goes on has it."""
    pairs = zip(given.members, begun.members, strict=True)
    return replace(
        _filled(given, begun), members=tuple(_filled(one, other) for one, other in pairs)
    )


def _filled(given: Part, begun: Part) -> Part:
    if isinstance(given.classes, str):
        path = Path(given.classes).expanduser()
        names = read_class_list(path) if path.exists() else None
        given = replace(given, classes=names)
    left_open = [
        field.name
        for field in fields(given)
        if field.name in _READ and getattr(given, field.name) is None
    ]
    return replace(given, **{name: getattr(begun, name) for name in left_open})


@dataclass(frozen=True)
class _Known:
    """What is known of one given network, by its file or by itself.

    Attributes:
        name: of the network.
        inputs: size, filter, normalisation.
        channels: that it takes; ``None`` if it does not show.
    """

    name: str
    inputs: Expects
    channels: int | None = None


def _with_inputs(config: RunConfig, data: TrainingData, observer: Observer) -> TeacherConfig:
    """The teacher with its size, filter, channels and normalisation; unchanged if they are the
    student's."""
    given = config.teacher
    parts = given.members or (given,)
    of_parts = [_known_of(part, given, data) for part in parts]
    known = [one for one in of_parts if one is not None]
    size = size_of(given.image_size) or _agreed("image_size", [one.inputs.size for one in known])
    height, width = size or data.image.size
    filters = [one.inputs.interpolation for one in known]
    interpolation = given.interpolation or _agreed("interpolation", filters)
    channels = given.channels or _agreed("channels", [one.channels for one in known])
    own = replace(
        given,
        image_size=height if height == width else (height, width),
        interpolation=interpolation or data.config.interpolation,
        channels=channels or data.config.channels,
    )
    is_own = has_own_pixels(data, replace(config, teacher=own).teacher_inputs)
    teacher = own if is_own else given
    inputs = replace(config, teacher=teacher).teacher_inputs
    fed = Normalisation(inputs.mean, inputs.std)
    if given.members:
        pairs = zip(given.members, of_parts, strict=True)
        members = (_with_normalisation(member, own, given, fed) for member, own in pairs)
        teacher = replace(teacher, members=tuple(members))
    elif known and given.mean is None and _differs(known[0].inputs.normalisation, fed):
        fed = known[0].inputs.normalisation or fed
        teacher = replace(teacher, mean=fed.mean, std=fed.std)
    if is_own:
        teacher = replace(teacher, mean=fed.mean, std=fed.std)
    if teacher != given:
        observer.message(_line(config, teacher, known))
    return teacher


def _known_of(
    part: TeacherConfig | MemberConfig, teacher: TeacherConfig, data: TrainingData
) -> _Known | None:
    """What is known of a teacher or member that comes with weights; ``None`` if it is trained
    here."""
    model = part.model or teacher.model
    path = part.path or model.own_file
    if teacher.head != "own":  # the network brings its other weights along, with or without a path
        path = path or PRETRAINED
    return None if path is None else _known(model, path, data)


def _known(model: ModelConfig, path: str, data: TrainingData) -> _Known:
    found = recorded(Path(path))
    if found.normalisation is not None:
        return _Known(model.name, found, len(found.normalisation.mean))
    if ":" not in model.name and "." not in model.name:
        return _Known(model.name, Expects())  # ours: it takes what it is trained on
    with torch.random.fork_rng(devices=[]):
        network = build_module(
            model.name, data.num_classes, image_size=data.image.size, options=model.options
        )
    channels = 1 if input_channels(network) == 1 else 3
    return _Known(model.name, expects(network, channels), channels)


def _agreed(field: str, values: Sequence[Value | None]) -> Value | None:
    """The value that all given teachers expect; ``None`` if none records one.

    Raises:
        UnderstudyError: if they differ: the members of an ensemble get the same images.
    """
    found = list(dict.fromkeys(value for value in values if value is not None))
    if len(found) > 1:
        raise UnderstudyError(
            f"the given teachers expect different images ({', '.join(map(str, found))}), and "
            f"several teachers see the same ones: set teacher.{field}"
        )
    return found[0] if found else None


def _with_normalisation(
    member: MemberConfig, known: _Known | None, teacher: TeacherConfig, fed: Normalisation
) -> MemberConfig:
    """A given member with the normalisation that is known of it, unless one is configured."""
    if known is None or member.mean is not None or teacher.mean is not None:
        return member
    own = known.inputs.normalisation
    if own is None or not _differs(own, fed):
        return member
    return replace(member, mean=own.mean, std=own.std)


def _differs(own: Normalisation | None, fed: Normalisation) -> bool:
    return own is not None and len(own.mean) == len(fed.mean) and not is_same(own, fed)


def _line(config: RunConfig, teacher: TeacherConfig, known: Sequence[_Known]) -> str:
    """What the teacher is fed, and how that is known, for people."""
    inputs = replace(config, teacher=teacher).teacher_inputs
    names = list(dict.fromkeys(one.name for one in known)) or [teacher.model.name]
    size = size_of(inputs.image_size)
    seen = "" if size is None else f" {size[0]}x{size[1]} pixels, {inputs.interpolation},"
    grey = " in grey," if inputs.channels == 1 else ""
    sources = sorted({one.inputs.source for one in known if one.inputs.source is not None})
    text = (
        f"the teacher {' + '.join(names)} sees{seen}{grey} mean {list(inputs.mean)} and std "
        f"{list(inputs.std)} ({' and '.join(sources) or 'given'})"
    )
    crop = known[0].inputs.crop if known else None
    if crop is None or crop >= 1:
        return text
    return (
        f"{text}; its own evaluation cuts out the central {crop:.0%} of each side, here it sees "
        "all that the student sees"
    )
