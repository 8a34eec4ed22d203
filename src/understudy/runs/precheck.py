"""Every arm of a plan, assembled and run on one batch before the first one trains.

What can be refused at second 2 is refused then: a method whose networks show no stages, shapes that
do not fit, too few classes, an average of weights that would stay at the initial ones, a given
teacher of another network or normalisation. Nothing here changes the numbers of the run: the global
generator is restored, and the networks are thrown away.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from understudy.data.loader import Batch, TrainBatches, plain_batches, steps_per_epoch
from understudy.data.own_size import has_own_pixels, image_of, own_copy
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError, one_line
from understudy.events import SILENT, Observer
from understudy.methods.base import MethodConfig
from understudy.methods.combined import CombinedConfig
from understudy.models import deployed
from understudy.models.base import Classifier, Outputs
from understudy.models.ensemble import Ensemble
from understudy.models.heads import find_head
from understudy.runs.given import require_own_normalisation
from understudy.runs.networks import build_arm, keeps_adapter, load_given
from understudy.runs.plan import Arm, RunPlan
from understudy.teachers.cached import require_room, what_is_cached
from understudy.teachers.frozen import FrozenTeacher, renormalisation
from understudy.teachers.output_store import default_cache
from understudy.training.setup import Teaching, build_training

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_IMAGES = 2
"""In the batch, of two classes: the fewest that batch norm and the pairwise losses take."""
_MOST_INITIAL = 0.5
"""Share of the initial weights in the average of weights above which it is refused."""
_MUCH_INITIAL = 0.1
"""The same share above which a line points it out."""
_CPU = torch.device("cpu")


class Precheck:
    """Checks the arms of one plan, or of all trials of a sweep; networks and steps are shared.

    Args:
        data: of the run.
        observer: gets lines about what is allowed but hardly meant.
        read_files: load the weights of given teachers, too.
        cache: folder of teacher outputs; the user's cache folder by default.
    """

    def __init__(
        self,
        data: TrainingData,
        observer: Observer = SILENT,
        *,
        read_files: bool = True,
        cache: str | None = None,
    ) -> None:
        self.cache = Path(cache) if cache else default_cache()
        self.data, self.observer, self.read_files = data, observer, read_files
        labels = data.train.labels
        other = int((labels != labels[0]).int().argmax())  # some methods contrast two classes
        self.rows = torch.tensor([0, other])
        self.few: dict[str, TrainingData] = {}  # by what an arm sees of the images
        self.networks: dict[str, Classifier] = {}
        self.teachers: dict[str, _HeldTeacher] = {}
        self.passed: dict[str, Classifier] = {}  # what a checked training would deploy
        self.lines: set[str] = set()

    def check(self, plan: RunPlan, arms: Iterable[Arm] | None = None) -> None:
        """Assemble these arms (all of the plan by default) and run each on one batch.

        Raises:
            UnderstudyError: for the first that cannot be trained, naming it.
        """
        with torch.random.fork_rng(devices=[]):
            for arm in plan.arms.values() if arms is None else arms:
                self._check_arm(plan, arm)

    def num_bytes(self, arm: Arm) -> int:
        """Size of the weights of a checked arm's network."""
        if arm.members:
            return 0  # its members have files of their own
        state = deployed(self._network(arm)).state_dict()
        return sum(tensor.numel() * tensor.element_size() for tensor in state.values())

    def _check_arm(self, plan: RunPlan, arm: Arm) -> None:
        if arm.members:
            return
        try:
            head = ""
            if arm.head != "own":
                image = image_of(self.data, arm.inputs)
                head = find_head(self._network(arm), image, arm.model.name).path
            if arm.path is not None:
                self._check_given(arm, Path(arm.path), head)
            if not arm.epochs:
                return
            self._check_average(arm)
            if _key(plan, arm) not in self.passed:
                self.passed[_key(plan, arm)] = self._step(plan, arm)
        except UnderstudyError as error:
            raise UnderstudyError(f"{arm.name}: {error}") from error

    def _check_given(self, arm: Arm, path: Path, head: str) -> None:
        network = self._network(arm)
        if self.read_files:
            require_own_normalisation(path, arm.inputs)
            self._show(arm, load_given(network, arm, head))

    def _check_average(self, arm: Arm) -> None:
        """Refuse an average of weights that hardly leaves the initial ones."""
        decay = arm.train.ema_decay
        train, images = arm.train, len(self.data.train)
        steps = arm.epochs * steps_per_epoch(images, train.batch_size, train.drop_last)
        share = decay**steps
        if share <= _MUCH_INITIAL:
            return
        line = (
            f"train.ema_decay={decay} over {steps} steps leaves {share:.0%} of the average on the "
            f"initial weights: set it to at most {_longest_decay(steps):.3g}, or to 0"
        )
        if share > _MOST_INITIAL:
            raise UnderstudyError(line)
        self._show(arm, line)

    def _show(self, arm: Arm, line: str) -> None:
        """A line about an arm, once; none if it is empty."""
        if line and line not in self.lines:
            self.lines.add(line)
            self.observer.message(f"{arm.name}: {line}")

    def _step(self, plan: RunPlan, arm: Arm) -> Classifier:
        """The forward and the backward pass of one batch; returns the network to deploy."""
        size = _batch_size(arm)
        config = replace(arm.train, batch_size=size)
        few = self._few_images(arm)
        batches = TrainBatches(few.train, few.config, size, 0, _CPU, grid=few.grid)
        frozen = None
        if arm.uses_teacher:
            frozen = self._teacher(plan, arm)
            self._check_cache(plan, arm, frozen)
        teaching = Teaching(arm.method, frozen, "live")
        student = copy.deepcopy(self._network(arm))  # a method may change its student
        if next(student.parameters(), None) is None:
            raise UnderstudyError(
                f"model {arm.model.name} has no parameters to train: it can only be a teacher"
            )
        try:
            method, teacher = build_training(
                student, few, teaching, config, cast("Fabric", _THIS_PROCESS), batches
            )
            method.train()
            batch = next(iter(batches.epoch(0, batches.policy.epoch(0))))
            losses, _ = method(batch, None if teacher is None else teacher.outputs(batch))
            loss = torch.stack(list(losses.values())).sum()
            loss.backward()
        except (UnderstudyError, AssertionError):
            raise
        except Exception as error:  # of a network or method that is not ours, too
            why = " (train.batch_size=1: batch norm needs 2)" if size == 1 else ""
            raise UnderstudyError(
                f"cannot take a training step{why}: {one_line(error, with_type=True)}"
            ) from error
        if not loss.isfinite():
            named = ", ".join(f"{name} {float(value):g}" for name, value in losses.items())
            raise UnderstudyError(f"the first loss is not finite: {named}")
        method.zero_grad(set_to_none=True)
        return method.deployed()

    def _check_cache(self, plan: RunPlan, arm: Arm, teacher: "_HeldTeacher") -> None:
        """Refuse what cannot be cached, or has no room."""
        augment = self.data.config.augment
        cached = what_is_cached(teacher, arm.needs, plan.config.teacher.outputs, augment)
        if cached == "features":
            shown = teacher.plain_outputs(self._few_images(arm), 2, _CPU)
            require_room(shown, cached, len(self.data.train), augment, self.cache)

    def _network(self, arm: Arm) -> Classifier:
        """The arm's network with random weights; arms of the same network share it."""
        key = repr((arm.model, arm.stages, arm.classes, image_of(self.data, arm.inputs)))
        if key not in self.networks:
            self.networks[key] = build_arm(arm, self.data)
        return self.networks[key]

    def _few_images(self, arm: Arm) -> TrainingData:
        """Two training images as the arm's network sees them."""
        key = repr(arm.inputs) if has_own_pixels(self.data, arm.inputs) else ""
        if key not in self.few:
            seen = own_copy(self.data, arm.inputs, self.observer)
            few = seen.train.take(self.rows)
            self.few[key] = replace(seen, train=few, val=few, rows=seen.rows[self.rows])
        return self.few[key]

    def _teacher(self, plan: RunPlan, arm: Arm) -> "_HeldTeacher":
        """The arm that teaches, untrained; its outputs are computed once."""
        teacher = plan.teacher_of(arm)
        assert teacher is not None, "an arm that uses a teacher has one"
        parts = [plan.arm(name) for name in teacher.members] or [teacher]
        key = repr([_key(plan, part) for part in parts])
        if key not in self.teachers:
            few = self._few_images(teacher)
            given = few.config
            networks = [self._deployed(plan, part) for part in parts]
            changes = [
                renormalisation(given.mean, given.std, own.mean, own.std, _CPU)
                for own in (part.inputs for part in parts)
            ]
            self.teachers[key] = (
                _HeldTeacher(few, Ensemble(networks, teacher.weights, changes))
                if teacher.members
                else _HeldTeacher(few, networks[0], changes[0])
            )
        return self.teachers[key]

    def _deployed(self, plan: RunPlan, arm: Arm) -> Classifier:
        """What is left of an arm after its training: more than its network, for some methods."""
        if not keeps_adapter(arm.method):
            return copy.deepcopy(self._network(arm))  # to be frozen
        self._check_arm(plan, arm)
        return self.passed[_key(plan, arm)]


class _HeldTeacher(FrozenTeacher):
    """Its outputs for two images serve every batch: only their shapes count here."""

    def __init__(
        self,
        few: TrainingData,
        network: Classifier,
        renormalise: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(network, renormalise=renormalise)
        self.few = few
        self.held: Outputs | None = None

    def outputs(self, batch: Batch) -> Outputs:
        return self._held(len(batch.labels))

    def plain_outputs(self, data: TrainingData, count: int, device: torch.device) -> Outputs:
        return self._held(count)

    def _held(self, count: int) -> Outputs:
        if self.held is None or len(self.held.logits) != count:
            images = next(plain_batches(self.few.val, self.few.config, count, _CPU)).images
            self.held = self.run_network(images)
        return self.held


@dataclass(frozen=True)
class _ThisProcess:
    """What an assembly reads of Fabric, without other ranks."""

    device: torch.device = _CPU

    def broadcast(self, value: Tensor) -> Tensor:
        return value


_THIS_PROCESS = _ThisProcess()


def _key(plan: RunPlan, arm: Arm) -> str:
    """What decides whether a batch passes: networks, method, a batch of one or of more."""
    teacher = plan.teacher_of(arm)
    taught_by = None
    if teacher is not None:
        taught_by = (
            *(teacher.name, teacher.model, teacher.stages),
            *(teacher.inputs.pixels, teacher.classes),
        )
    kind, size = _kind(arm.method), _batch_size(arm)
    return repr((arm.model, arm.stages, arm.inputs.pixels, taught_by, kind, size))


def _kind(method: MethodConfig) -> dict[str, Any]:
    """The options of a method, numbers only by whether they are 0."""
    kind: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if isinstance(value, float):
            value = bool(value)
        kind[field.name] = value
    if isinstance(method, CombinedConfig):
        kind["parts"] = {name: _kind(part) for name, part in method.parts.items()}
    return kind


def _batch_size(arm: Arm) -> int:
    return min(arm.train.batch_size, _IMAGES)


def _longest_decay(steps: int) -> float:
    """The decay that leaves a hundredth of the average on the initial weights."""
    return float(0.01 ** (1 / steps))
