"""What a sweep is to do, checked before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from understudy.config.recipe import to_mapping
from understudy.config.schema import LARGEST_SEED, RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.students import choose_student
from understudy.events import SILENT, Observer
from understudy.execution.registry import BACKENDS
from understudy.methods.base import NEEDS
from understudy.runs.folder import earlier_config
from understudy.runs.given_inputs import resolved_plan
from understudy.runs.plan import Arm, RunPlan, resolve_plan
from understudy.runs.precheck import Precheck
from understudy.runs.student import with_student
from understudy.sweep.folder import SweepFolder
from understudy.sweep.search import SearchSpec, default_storage, hide_password, make_search_spec
from understudy.sweep.space import (
    Choice,
    Dimension,
    check_space,
    describe,
    label,
    make_space,
    representative,
    trial_plan,
)
from understudy.sweep.students import with_students
from understudy.training.device import resolve_device


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep searches, and how its trainings are carried out.

    Attributes:
        search: ``grid``, ``random`` or ``tpe``.
        trials: their number, for ``random`` and ``tpe``.
        pruner: ``none``, ``median`` or ``hyperband``: end trials early that do badly on the first
            seed.
        backend: ``auto`` measures and takes the fastest; or ``sequential``, ``processes``,
            ``fused``, ``ray``.
        storage: database URL of the study; SQLite in the sweep's directory by default. Sweeps with
            the same one and the same ``config.name`` share the work.
        final_seeds: on which the winner and the baseline are trained again and tested; by default
            as many as ``config.seeds``, from the next number on.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: trainings side by side; ``None`` is the backend's own choice.
        resume: continue the sweep in that directory.
        command: as typed, for the record.
        cache: folder of teacher outputs; the user's cache by default.
    """

    search: str = "grid"
    trials: int | None = None
    pruner: str = "none"
    backend: str = "auto"
    storage: str | None = None
    final_seeds: Sequence[int] | None = None
    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    command: str = ""
    cache: str | None = None

    @property
    def shown_storage(self) -> str:
        """Where the study is, without a password."""
        return hide_password(self.storage) if self.storage else "SQLite in the sweep's folder"

    @property
    def shown_command(self) -> str:
        """The command without a password."""
        if not self.storage:
            return self.command
        return self.command.replace(self.storage, hide_password(self.storage))


@dataclass(frozen=True)
class SweepSpec:
    """A sweep that can begin.

    Attributes:
        plan: of the recipe.
        search: what is searched.
        folder: the sweep's directory.
        final_seeds: of the final comparison.
        options: as given.
        data: training and validation images.
        num_test: number of test images, which stay sealed.
    """

    plan: RunPlan
    search: SearchSpec
    folder: SweepFolder
    final_seeds: tuple[int, ...]
    options: SweepOptions
    data: TrainingData
    num_test: int

    @property
    def config(self) -> RunConfig:
        """The recipe."""
        return self.plan.config

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return resolve_device(self.options.device).type

    @property
    def storage(self) -> str:
        """Database URL of the study."""
        return self.options.storage or default_storage(self.folder.path)

    @property
    def prunes(self) -> bool:
        """Whether trials may be ended early."""
        return self.search.pruner != "none"

    @property
    def identity(self) -> dict[str, Any]:
        """What sweeps that share a study must agree on: everything but the paths of data and
        teacher."""
        recipe = to_mapping(self.config)
        recipe["data"]["path"] = recipe["teacher"]["path"] = None
        return {
            "recipe": recipe,
            "space": describe(self.search.space),
            "search": self.search.search,
            "pruner": self.search.pruner,
            "trials": self.search.trials,
        }

    @cached_property
    def method_variants(self) -> list[RunPlan]:
        """The recipe, and the recipe with each of the methods in the search."""
        variants = [self.plan]
        for dimension in self.search.space:
            if dimension.key not in ("method", "method.name") or not isinstance(dimension, Choice):
                continue
            for value in dimension.values:
                variants.append(trial_plan(self.plan, {dimension.key: value}))
        return variants

    @property
    def needs_teacher(self) -> bool:
        """Whether any method in the search reads a teacher's outputs."""
        return any(plan.arm("distilled").uses_teacher for plan in self.method_variants)

    def costliest(self, plan: RunPlan) -> RunPlan:
        """Of a trial's plan and the method variants, the first that reads most of its teacher."""
        variants = (plan, *self.method_variants[1:])
        return max(variants, key=lambda variant: NEEDS.index(variant.arm("distilled").needs))


def make_sweep_spec(
    config: RunConfig,
    space: Mapping[str, Any] | Sequence[Dimension],
    folder: SweepFolder,
    options: SweepOptions,
    observer: Observer = SILENT,
) -> SweepSpec:
    """Check a sweep: its space, search, seeds, backend, device, images and networks.

    Students that are budgets (``auto:100k``) become networks.

    Args:
        config: the recipe.
        space: what is searched.
        folder: the sweep's directory.
        options: how.
        observer: gets a line about each such student, and about a given teacher.

    Raises:
        UnderstudyError: for the first thing that is wrong, before anything is written.
    """
    dimensions = make_space(space)
    check_space(config, dimensions)
    search = make_search_spec(
        dimensions, options.search, options.pruner, options.trials, config.train.epochs
    )
    final_seeds = _final_seeds(config.seeds, options.final_seeds)
    if options.backend != "auto" and options.backend not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise UnderstudyError(f"unknown backend {options.backend!r}: there are auto, {known}")
    resolve_device(options.device)
    resolve_plan(config)  # a bad option is refused before any image is decoded
    data, test = prepare_data(config.data)
    earlier = earlier_config(folder.run) if options.resume else None
    config = with_student(config, data, earlier, observer)
    dimensions = with_students(
        dimensions, lambda name: choose_student(name, data.image, data.num_classes, observer)
    )
    search = replace(search, space=dimensions)
    plan = resolved_plan(config, data, observer, earlier)
    _check_trials(plan, dimensions, data, options.resume)
    return SweepSpec(plan, search, folder, final_seeds, options, data, len(test))


def _check_trials(
    plan: RunPlan, space: Sequence[Dimension], data: TrainingData, resume: bool
) -> None:
    """Assemble the arms of every kind of trial and run each on one batch.

    Raises:
        UnderstudyError: naming the values that cannot work.
    """
    checked = Precheck(data, read_files=not resume)
    checked.check(plan, [arm for arm in plan.arms.values() if arm.is_shared])
    for values in representative(space):
        trial = trial_plan(plan, values)
        try:
            checked.check(trial, [trial.arm("baseline"), *_distilled(trial)])
        except UnderstudyError as error:
            raise UnderstudyError(f"{label(values)}: {error}") from error


def _distilled(plan: RunPlan) -> list[Arm]:
    """The arm of a trial, after its generations."""
    arm = plan.arm("distilled")
    return [*(each for each in plan.needed_by(arm) if not each.is_shared), arm]


def _final_seeds(seeds: Sequence[int], given: Sequence[int] | None) -> tuple[int, ...]:
    """Seeds that no trial was chosen on.

    Raises:
        UnderstudyError: if the given ones are not such seeds.
    """
    if given is None:
        first = max(seeds) + 1
        given = range(first, first + len(seeds))
    chosen = tuple(given)
    if not chosen or len(set(chosen)) != len(chosen):
        raise UnderstudyError("--final-seeds must name at least one seed, and each only once")
    if max(map(abs, chosen)) >= LARGEST_SEED:
        raise UnderstudyError(f"--final-seeds must lie between -{LARGEST_SEED} and {LARGEST_SEED}")
    used = sorted(set(chosen) & set(seeds))
    if used:
        raise UnderstudyError(
            f"--final-seeds {used[0]} is a seed of the search: the winner was chosen on it, "
            "take a fresh one"
        )
    return chosen
