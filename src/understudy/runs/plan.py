"""What a run trains and who teaches whom, resolved once from its configuration.

:func:`resolve_plan` is the only place that knows which setting is inherited from which: a member
takes what it does not set from the teacher, an assistant from ``train`` and ``method``, a
born-again generation from the arm that teaches it. Afterwards an :class:`Arm` is passed on,
complete and typed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from understudy.config.given import PRETRAINED, ClassList
from understudy.config.schema import (
    DataConfig,
    MemberConfig,
    ModelConfig,
    RunConfig,
    TeacherConfig,
)
from understudy.errors import UnderstudyError, suggest
from understudy.methods import method_config
from understudy.methods.base import MethodConfig
from understudy.methods.born_again import BornAgainConfig
from understudy.methods.combined import CombinedConfig
from understudy.models import MODELS
from understudy.runs.arms import Arm as Arm
from understudy.runs.arms import ArmRun as ArmRun
from understudy.runs.arms import Role

_GENERATED_NAME = re.compile(r"(member|assistant)\d+|.*-gen\d+")
_PLAIN = MethodConfig("ce")
_LIBRARIES = ("timm", "torchvision", "hf")
"""Sources of names that take ``pretrained: true``; other callables give the weights they give."""


@dataclass(frozen=True)
class RunPlan:
    """All arms of a run.

    Attributes:
        config: what it was resolved from.
        arms: by name, the teacher first, every other arm after the one that teaches it.
    """

    config: RunConfig
    arms: Mapping[str, Arm]

    def arm(self, name: str) -> Arm:
        """An arm by name.

        Raises:
            UnderstudyError: if the run has no such arm.
        """
        if name not in self.arms:
            raise UnderstudyError(f"there is no arm {name!r}: this run has {', '.join(self.arms)}")
        return self.arms[name]

    def arm_run(self, name: str, seed: int) -> ArmRun:
        """The training of an arm that belongs to a seed of the run: its own, or the one that all
        seeds share."""
        arm = self.arm(name)
        has_reference = arm.role not in ("teacher", "member")
        teacher_seed = self.arms["teacher"].seed_for(seed) if has_reference else None
        return ArmRun(arm, arm.seed_for(seed), teacher_seed)

    def teacher_of(self, arm: Arm) -> Arm | None:
        """The arm that teaches it; ``None`` without one."""
        return None if arm.teacher is None else self.arms[arm.teacher]

    def teacher_run(self, run: ArmRun) -> ArmRun:
        """The training that teaches this one.

        Raises:
            UnderstudyError: if no arm teaches it.
        """
        teacher = self.teacher_of(run.arm)
        if teacher is None:
            raise UnderstudyError(f"the arm {run.arm.name} has no teacher: set method.teacher")
        if teacher.is_shared and run.teacher_seed is not None:
            return self.arm_run(teacher.name, run.teacher_seed)
        return self.arm_run(teacher.name, run.seed)

    def needed_by(self, arm: Arm) -> list[Arm]:
        """The arms that are trained before this one can be, each after those that it needs
        itself."""
        needed: dict[str, Arm] = {}
        for name in (*arm.members, *_optional(arm.teacher)):
            direct = self.arms[name]
            for each in (*self.needed_by(direct), direct):
                needed.setdefault(each.name, each)
        return list(needed.values())

    def learns_from_teacher(self, arm: Arm) -> bool:
        """Whether the arm ``teacher`` teaches it, directly or through others between them."""
        return arm.uses_teacher and any(one.name == "teacher" for one in self.needed_by(arm))

    def depth(self, arm: Arm) -> int:
        """When it can be trained: 0 first; arms of one depth are independent. No student comes
        before the teacher."""
        before = [*arm.members, *_optional(arm.teacher)]
        if not arm.is_shared:
            before.append("teacher")
        return 1 + max((self.depth(self.arms[name]) for name in before), default=-1)

    def waves(self, seeds: Sequence[int]) -> list[list[ArmRun]]:
        """All trainings, in groups that follow each other; those of a group are independent. Seed
        by seed, arm by arm."""
        depths = {name: self.depth(arm) for name, arm in self.arms.items()}
        runs: dict[str, ArmRun] = {}
        for seed in seeds:
            for name in self.arms:
                run = self.arm_run(name, seed)
                runs.setdefault(run.name, run)
        waves: list[list[ArmRun]] = [[] for _ in range(max(depths.values()) + 1)]
        for run in runs.values():
            waves[depths[run.arm.name]].append(run)
        return waves


def resolve_plan(config: RunConfig) -> RunPlan:
    """Work out every arm of a run from its configuration.

    Raises:
        UnderstudyError: for an unknown method or option, a teacher that does not come before its
            student, an arm's name that is reserved, or an assistant with generations.
    """
    teacher = _teacher_arm(config)
    arms = {arm.name: arm for arm in (teacher, *_member_arms(config))}
    for assistant in _assistant_arms(config):
        arms[assistant.name] = assistant
    last = list(arms)[-1] if config.assistants else teacher.name
    baseline = _student_arm(config, "baseline", "baseline", _PLAIN, None)
    arms[baseline.name] = baseline
    for name, options in {"distilled": config.method, **config.arms}.items():
        taught_by = _teacher_in(name, options, last, arms)
        for arm in _taught_arms(config, name, options, taught_by):
            arms[arm.name] = arm
    return RunPlan(config, arms)


def generations_of(method: MethodConfig) -> int:
    """How many generations a method trains one after the other: 0 unless it is, or contains,
    ``born_again``."""
    parts = method.parts.values() if isinstance(method, CombinedConfig) else (method,)
    for part in parts:
        if isinstance(part, BornAgainConfig):
            return part.generations
    return 0


def _teacher_arm(config: RunConfig) -> Arm:
    """The teacher; an ensemble normalises the images inside, for each member on its own."""
    given, inputs = config.teacher, config.teacher_inputs
    _require_trunk(given)
    if given.members and inputs.channels == config.data.channels:
        inputs = _normalised(inputs, config.data.mean, config.data.std)
    return Arm(
        "teacher",
        "teacher",
        _with_weights(given.model, given.path),
        given.stages,
        config.teacher_train,
        _PLAIN,
        inputs,
        members=tuple(_member_name(number) for number in range(len(given.members))),
        weights=tuple(member.weight for member in given.members),
        path=given.path or given.model.own_file,
        head=given.head,
        classes=_names(given.classes),
        seed=_shared_seed(config),
    )


def _member_arms(config: RunConfig) -> list[Arm]:
    return [
        _member_arm(config, number, member) for number, member in enumerate(config.teacher.members)
    ]


def _member_arm(config: RunConfig, number: int, member: MemberConfig) -> Arm:
    """One member of the ensemble; what it does not set is the teacher's, and its seed the teacher's
    plus its number."""
    given = config.teacher
    model = member.model or given.model
    return Arm(
        _member_name(number),
        "member",
        _with_weights(model, member.path),
        given.stages if member.stages is None else member.stages,
        config.member_train(number),
        _PLAIN,
        _normalised(config.teacher_inputs, member.mean, member.std),
        path=member.path or model.own_file,
        classes=_names(member.classes),
        seed=given.seed + number if member.seed is None else member.seed,
    )


def _assistant_arms(config: RunConfig) -> list[Arm]:
    """The networks between teacher and student, the first taught by the teacher, each other one by
    the one before."""
    arms: list[Arm] = []
    for number, assistant in enumerate(config.assistants):
        method = _parse_method(assistant.method or config.method)
        if generations_of(method):
            raise UnderstudyError(
                f"assistants.{number}.method: born_again trains several generations: "
                "give the assistant another method"
            )
        arm = Arm(
            f"assistant{number + 1}",
            "assistant",
            assistant.model,
            assistant.stages,
            config.assistant_train(number),
            method,
            config.data,
            teacher=arms[-1].name if arms else "teacher",
            seed=_shared_seed(config),
        )
        arms.append(arm)
    return arms


def _student_arm(
    config: RunConfig, name: str, role: Role, method: MethodConfig, teacher: str | None
) -> Arm:
    student = config.student
    return Arm(
        name, role, student.model, student.stages, config.train, method, config.data, teacher
    )


def _teacher_in(
    name: str, options: Mapping[str, Any], default: str, arms: Mapping[str, Arm]
) -> Arm:
    """The arm that teaches a student: ``teacher`` in the options of its method, by default the last
    assistant.

    Raises:
        UnderstudyError: if no arm of that name comes before it.
    """
    asked = str(options.get("teacher", default))
    if asked in arms:
        return arms[asked]
    hint = suggest(asked, arms, otherwise="before it come")
    where = "method" if name == "distilled" else f"arms.{name}"
    raise UnderstudyError(f"{where}.teacher: there is no arm {asked!r} before this one: {hint}")


def _taught_arms(
    config: RunConfig, name: str, options: Mapping[str, Any], teacher: Arm
) -> Iterable[Arm]:
    """The arm of a method, and before it the generations that lead to it."""
    if _GENERATED_NAME.fullmatch(name):
        raise UnderstudyError(
            f"arms.{name}: member1, assistant1 and NAME-gen1 are names that a run gives itself"
        )
    role: Role = "distilled" if name == "distilled" else "extra"
    method = _parse_method(options)
    number = generations_of(method)
    if number:
        return _generations(_student_arm(config, name, role, method, teacher.name), teacher, number)
    return [_student_arm(config, name, role, method, teacher.name)]


def _generations(last: Arm, teacher: Arm, number: int) -> list[Arm]:
    """Born-again arms: the teacher's network, trained as the teacher is but to the end, on images
    of its size; each teaches the next one."""
    like_teacher = replace(
        last,
        model=teacher.model,
        stages=teacher.stages,
        train=replace(teacher.train, stop_epoch=None),
        inputs=last.inputs if teacher.inputs.pixels == last.inputs.pixels else teacher.inputs,
    )
    arms: list[Arm] = []
    for generation in range(1, number + 1):
        arm = replace(
            like_teacher,
            teacher=arms[-1].name if arms else teacher.name,
            generation=generation,
        )
        if generation < number:
            arm = replace(arm, name=f"{last.name}-gen{generation}", role="generation")
        arms.append(arm)
    return arms


def _parse_method(options: Mapping[str, Any]) -> MethodConfig:
    """The validated method; ``teacher``, which names an arm, is no option of it."""
    return method_config({key: value for key, value in options.items() if key != "teacher"})


def _normalised(
    data: DataConfig, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> DataConfig:
    return data if mean is None or std is None else replace(data, mean=mean, std=std)


def _with_weights(model: ModelConfig, path: str | None) -> ModelConfig:
    """The network, built with the weights that its name comes with if these are given.

    Raises:
        UnderstudyError: if there are none.
    """
    if path == PRETRAINED and model.name in MODELS:
        raise UnderstudyError(
            f"teacher.path: {model.name} comes without weights: give a file, or a network of "
            "another library"
        )
    if path != PRETRAINED or model.name.partition(":")[0] not in _LIBRARIES:
        return model
    return replace(model, options={**model.options, "pretrained": True})


def _require_trunk(given: TeacherConfig) -> None:
    """Raises UnderstudyError for a new head on a network whose other weights are random."""
    name = given.model.name
    source, colon, _ = name.partition(":")
    is_dotted = "." in source or (bool(colon) and source not in _LIBRARIES)
    if given.head != "own" and given.model.own_file:
        raise UnderstudyError(
            f"teacher.head={given.head} needs the features before the last layer, and {name} gives "
            "logits alone: take the network itself as the teacher, or name its outputs by "
            "teacher.classes"
        )
    has_weights = given.path or given.model.options.get("pretrained") or is_dotted
    if given.head != "own" and not has_weights:
        raise UnderstudyError(
            f"teacher.head={given.head} learns a head on a trained network, and {name} has random "
            f"weights: set teacher.path to its weights, or to `{PRETRAINED}` for those of its name"
        )


def _names(classes: ClassList) -> tuple[str, ...]:
    """Names that are listed; a file that is still to be read has none yet."""
    return () if classes is None or isinstance(classes, str) else tuple(map(str, classes))


def _shared_seed(config: RunConfig) -> int | None:
    """The seed of the one teacher for all students; ``None`` where each seed has its own."""
    return None if config.teacher.per_seed else config.teacher.seed


def _member_name(number: int) -> str:
    return f"member{number + 1}"


def _optional(name: str | None) -> list[str]:
    return [] if name is None else [name]
