"""One configuration over its seeds: a trial, a baseline, or one side of the final comparison."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from understudy.execution.backend import Training
from understudy.runs.folder import training_name
from understudy.runs.plan import RunPlan
from understudy.runs.results import ArmResult
from understudy.sweep.folder import SweepFolder
from understudy.sweep.results import TrialRun
from understudy.sweep.search import ClaimedTrial


@dataclass
class Group:
    """Trainings that differ in their seed alone, and what has become of them.

    Attributes:
        name: ``0003``, ``plain`` or ``final-best``; with a seed it names a training.
        plan: of the configuration.
        arm: ``distilled``, or ``baseline``.
        seeds: of all its trainings.
        values: of the swept keys, that make it different from the recipe.
        final: whether its trainings are tested.
        claimed: the trial; ``None`` for a baseline and in the final comparison.
        running: names of the trainings that the backend works on.
        submitted: seeds that have been given to the backend.
        epochs_seen: finished epochs of each training.
        results: seed -> result.
        failed: why one of its trainings has failed.
        pruned: why it was ended early.
    """

    name: str
    plan: RunPlan
    arm: str
    seeds: tuple[int, ...]
    values: dict[str, Any]
    final: bool = False
    claimed: ClaimedTrial | None = None
    running: set[str] = field(default_factory=set)
    submitted: set[int] = field(default_factory=set)
    epochs_seen: Counter[str] = field(default_factory=Counter)
    results: dict[int, ArmResult] = field(default_factory=dict)
    failed: str | None = None
    pruned: str | None = None

    @property
    def epochs(self) -> int:
        """Of each of its trainings."""
        return self.plan.config.train.epochs_run

    @property
    def missing_seeds(self) -> list[int]:
        """Seeds without a result."""
        return [seed for seed in self.seeds if seed not in self.results]

    def training(self, seed: int, folder: SweepFolder, cache: str | None) -> Training:
        """Its training on a seed."""
        name = training_name(self.name, seed)
        run = self.plan.arm_run(self.arm, seed)
        return Training(name, self.plan, run, folder.training(name), folder.run, cache, self.final)

    def seed_of(self, training: str) -> int:
        """The seed of one of its trainings."""
        return next(s for s in self.seeds if training_name(self.name, s) == training)

    def runs(self) -> tuple[TrialRun, ...]:
        """Its results as the sweep records them."""
        done = [self.results[seed] for seed in self.seeds if seed in self.results]
        return tuple(TrialRun.of(result, self.final) for result in done)
