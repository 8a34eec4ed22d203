"""Who teaches whom: a run's arms as a chain, worked out from its configuration before anything is trained.

A chain is a sequence of trainings. Each :class:`Link` names its network, how it is trained and the arm it listens to:
the teacher (or the members of an ensemble, then the ensemble), the assistants, the generations of a born-again arm, and
the students. Links of one depth depend only on links of lesser depth, so that they can be trained side by side.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from understudy.config.schema import DataConfig, ModelConfig, RunConfig, TrainConfig
from understudy.errors import UnderstudyError

BORN_AGAIN = "born_again"
"""The method whose arms are chains of generations."""
GENERATIONS = 2
"""How many, where ``method.generations`` does not say."""

Role = Literal["teacher", "member", "assistant", "generation", "baseline", "distilled", "extra"]
_OF_THE_TEACHER = ("teacher", "member", "assistant")
_GENERATED = re.compile(r"(member|assistant)\d+|.*-gen\d+")


@dataclass(frozen=True)
class ArmSpec:
    """Which training this is.

    Attributes:
        arm: ``teacher``, ``baseline``, ``distilled`` or the name of a further arm (:func:`understudy.runs.plan.chain_of`).
        seed: of initial weights, order, views and dropout.
        teacher_seed: of the teacher that it is compared with and, unless its chain says otherwise, listens to; ``None`` for
            the teacher itself and its members.
    """

    arm: str
    seed: int
    teacher_seed: int | None

    @property
    def name(self) -> str:
        """Folder and file name."""
        return f"{self.arm}-seed{self.seed}"


@dataclass(frozen=True)
class Link:
    """One arm of a run.

    Attributes:
        arm: its name.
        role: what it is for.
        model, stages: its network.
        train: how it is trained.
        method: id and options of the method that trains it.
        teacher: the arm it listens to; ``None`` where there is none.
        members: the arms that an ensemble is made of; it is put together, not trained.
        weights: of these members.
        path: weights that are given, so that it is measured and not trained.
        mean, std: how images are normalised for it; ``None``: as the data's.
        seed: of its one training; ``None`` for one training for each seed of the run.
        generation: from 1 in a born-again arm; 0 elsewhere.
    """

    arm: str
    role: Role
    model: ModelConfig
    stages: tuple[str, ...]
    train: TrainConfig
    method: Mapping[str, Any]
    teacher: str | None = None
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    path: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    seed: int | None = None
    generation: int = 0

    @property
    def teaches_all(self) -> bool:
        """Whether it belongs to what students have in common: teacher, members, assistants."""
        return self.role in _OF_THE_TEACHER

    @property
    def epochs(self) -> int:
        """How many it is trained for: none where its weights are given or it is put together from its members."""
        return 0 if self.path is not None or self.members else self.train.epochs_run

    def seed_for(self, seed: int) -> int:
        """The seed of its training that serves a student of this seed."""
        return seed if self.seed is None else self.seed


def chain_of(config: RunConfig) -> dict[str, Link]:
    """All arms of a run by name, each after those it depends on, but for the teacher, which stands first.

    Raises:
        UnderstudyError: for an arm that listens to one that is not there, an arm's name that is taken, or a chain in a chain.
    """
    plain = {"name": "ce"}
    given = config.teacher
    shared = None if given.per_seed else given.seed
    links: dict[str, Link] = {}

    def add(link: Link) -> None:
        links[link.arm] = link

    add(
        Link(
            "teacher",
            "teacher",
            given.model,
            given.stages,
            config.teacher_train,
            plain,
            members=tuple(f"member{number + 1}" for number in range(len(given.members))),
            weights=tuple(member.weight for member in given.members),
            path=given.path,
            mean=given.mean,
            std=given.std,
            seed=shared,
        )
    )
    for number, member in enumerate(given.members):
        own = member if member.mean is not None else given
        add(
            Link(
                f"member{number + 1}",
                "member",
                member.model or given.model,
                given.stages if member.stages is None else member.stages,
                config.member_train(number),
                plain,
                path=member.path,
                mean=own.mean,
                std=own.std,
                seed=given.seed + number if member.seed is None else member.seed,
            )
        )
    if given.members:
        links["teacher"] = replace(
            links["teacher"], mean=None, std=None
        )  # each member sees its own normalisation inside
    last = "teacher"
    for number, assistant in enumerate(config.assistants):
        method = _without_teacher(assistant.method or config.method)
        if generations_in(method):
            raise UnderstudyError(
                f"assistants.{number}.method: {BORN_AGAIN} is a chain of its own; give the assistant another"
            )
        name = f"assistant{number + 1}"
        add(
            Link(
                name,
                "assistant",
                assistant.model,
                assistant.stages,
                config.assistant_train(number),
                method,
                teacher=last,
                seed=shared,
            )
        )
        last = name
    student = config.student
    add(Link("baseline", "baseline", student.model, student.stages, config.train, plain))
    for arm, method in {"distilled": config.method, **config.arms}.items():
        if _GENERATED.fullmatch(arm):
            raise UnderstudyError(
                f"arms.{arm}: member1, assistant1 and NAME-gen1 are names that a run gives itself"
            )
        asked = str(method.get("teacher", last))
        if asked not in links:
            close = difflib.get_close_matches(asked, links, n=1)
            where = "method" if arm == "distilled" else f"arms.{arm}"
            hint = f"did you mean {close[0]}?" if close else f"before it come {', '.join(links)}"
            raise UnderstudyError(
                f"{where}.teacher: there is no arm {asked!r} before this one: {hint}"
            )
        options = _without_teacher(method)
        role: Role = "distilled" if arm == "distilled" else "extra"
        generations = generations_in(options)
        if not generations:
            add(
                Link(arm, role, student.model, student.stages, config.train, options, teacher=asked)
            )
            continue
        # Born again: the network of the arm it listens to, trained as that one was, but to the end.
        model = links[asked]
        train = replace(model.train, stop_epoch=None)
        for generation in range(1, generations + 1):
            final = generation == generations
            name = arm if final else f"{arm}-gen{generation}"
            add(
                Link(
                    name,
                    role if final else "generation",
                    model.model,
                    model.stages,
                    train,
                    options,
                    teacher=asked,
                    generation=generation,
                )
            )
            asked = name
    return links


def _without_teacher(method: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in method.items() if key != "teacher"}


def generations_in(method: Mapping[str, Any]) -> int:
    """How many generations a method's options ask for: 0 unless it is, or contains, ``born_again``.

    Raises:
        UnderstudyError: if that is no whole number of at least 1.
    """
    names = str(method.get("name")).split("+")
    if BORN_AGAIN not in names:
        return 0
    own = method if len(names) == 1 else method.get(BORN_AGAIN, {})
    number = own.get("generations", GENERATIONS) if isinstance(own, Mapping) else GENERATIONS
    if type(number) is not int or number < 1:
        raise UnderstudyError(
            f"method.generations must be a whole number of at least 1, not {number!r}"
        )
    return number


def depths(links: Mapping[str, Link]) -> dict[str, int]:
    """When each arm can be trained: 0 first; arms of one depth side by side. No student comes before the teacher."""
    found: dict[str, int] = {}

    def depth(arm: str) -> int:
        if arm not in found:
            link = links[arm]
            before = [
                *link.members,
                *([link.teacher] if link.teacher else []),
                *([] if link.teaches_all else ["teacher"]),
            ]
            found[arm] = 1 + max((depth(name) for name in before), default=-1)
        return found[arm]

    return {arm: depth(arm) for arm in links}


def needed_by(links: Mapping[str, Link], arm: str) -> list[str]:
    """The arms that must be there before this one is trained, each after those that it needs itself."""
    link, found = links[arm], []
    for name in (*link.members, *([link.teacher] if link.teacher else [])):
        found += [one for one in (*needed_by(links, name), name) if one not in found]
    return found


def link_of(config: RunConfig, arm: str) -> Link:
    """An arm's place in the run's chain: its network, training, method and teacher.

    Raises:
        UnderstudyError: if the run has no such arm.
    """
    links = chain_of(config)
    if arm not in links:
        raise UnderstudyError(f"there is no arm {arm!r}: this run has {', '.join(links)}")
    return links[arm]


def method_of(config: RunConfig, arm: str) -> dict[str, Any]:
    """The method and options of an arm.

    Raises:
        UnderstudyError: if the run has no such arm.
    """
    return dict(link_of(config, arm).method)


def spec_of(config: RunConfig, arm: str, seed: int) -> ArmSpec:
    """The training of an arm that belongs to a seed of the run: its own, or the one that all seeds share."""
    links = chain_of(config)
    compared = None if links[arm].role in ("teacher", "member") else links["teacher"].seed_for(seed)
    return ArmSpec(arm, links[arm].seed_for(seed), compared)


def shown_to(config: RunConfig, arm: str) -> DataConfig:
    """How images are normalised for an arm's network: the data's way, but the teacher's own for a teacher that has one."""
    link = link_of(config, arm)
    return (
        config.data
        if link.mean is None or link.std is None
        else replace(config.data, mean=link.mean, std=link.std)
    )
