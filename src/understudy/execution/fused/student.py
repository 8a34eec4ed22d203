"""A student of a stack between two epochs: its state is that of one trained alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.execution.fused.losses import why_no_stacked_loss
from understudy.execution.fused.network import architecture, why_no_stacked_network
from understudy.methods.base import Method
from understudy.teachers.base import Teacher
from understudy.training.device import resolve_precision
from understudy.training.optim import make_optimizer
from understudy.training.state import NO_FILES, TrainingFiles, TrainState, run_fingerprint

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def why_not_stacked(method: Method) -> str:
    """Why a training cannot be stacked with others of its kind; empty if it can."""
    return why_no_stacked_network(method.student) or why_no_stacked_loss(method)


class StackLike(Protocol):
    """What a student knows of the :class:`~understudy.execution.fused.stack.Stack` it is in."""

    students: list["StackedStudent"]


class StudentGenerators:
    """A student's own random generators, in the form of the loop's checkpoint.

    Attributes:
        cpu: draws dropout masks on the CPU, as the loop's global generator does.
        cuda: the state that the loop would start from on a GPU; not drawn from here.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.cpu = torch.Generator().manual_seed(seed)
        self.cuda: Tensor | None = None
        if device.type == "cuda":
            self.cuda = torch.Generator(device).manual_seed(seed).get_state()

    def state(self) -> dict[str, Tensor]:
        """See :class:`~understudy.training.state.Generators`."""
        state = {"cpu": self.cpu.get_state()}
        return state if self.cuda is None else state | {"cuda": self.cuda}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :class:`~understudy.training.state.Generators`."""
        self.cpu.set_state(state["cpu"])
        self.cuda = state.get("cuda", self.cuda)


class StackedStudent:
    """One of K students that are trained as one network.

    Between epochs its method, optimizer and state are up to date: the loop can resume its
    checkpoint, and it can resume one of the loop. During an epoch its weights are in a
    :class:`~understudy.execution.fused.stack.Stack`.

    Args:
        method, data, config, fabric, teacher, batches, files: as for
            :func:`~understudy.training.loop.train_steps`.

    Attributes:
        state: EMA, best epoch, history and checkpoint.
        generator: draws dropout masks on the CPU.
        seconds: wall time of its share of the stacks' epochs so far.
        done: the last epoch is trained; the method holds the weights to keep.
        stack: of its latest epoch; the next epoch uses it again if the group is the same.
    """

    def __init__(
        self,
        method: Method,
        data: TrainingData,
        config: TrainConfig,
        fabric: "Fabric",
        teacher: Teacher | None,
        batches: TrainBatches,
        files: TrainingFiles = NO_FILES,
    ) -> None:
        self.method, self.data, self.config, self.teacher = method, data, config, teacher
        self.batches, self.seed, self.device = batches, batches.seed, fabric.device
        self.precision = resolve_precision(config.precision, fabric.device)
        fingerprint = run_fingerprint(method, data, config, batches)
        if config.channels_last:
            method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.architecture = architecture(method.student)
        self.optimizer = make_optimizer(method, config)
        generators = StudentGenerators(batches.seed, fabric.device)
        self.generator = generators.cpu
        self.state = TrainState(
            method, self.optimizer, config, batches, fingerprint, files, generators
        )
        self.seconds, self.done = 0.0, False
        self.stack: StackLike | None = None

    @property
    def group_key(self) -> tuple[object, ...]:
        """What students that are stacked together have in common."""
        config = self.config
        return (
            id(self.data),
            self.architecture,
            config.optimizer,
            config.epochs,
            config.epochs_run,
            config.batch_size,
            config.drop_last,
            self.precision,
            config.channels_last,
            self.device,
        )

    def start(self) -> list[EpochResult]:
        """Go on from the checkpoint, if there is one to resume: the results of its epochs.

        Raises:
            UnderstudyError: if the checkpoint is damaged or belongs to another training, or a batch
                is too small for the method.
        """
        if self._has_single_image_batch() and "dist" in self.method.config.name.split("+"):
            raise UnderstudyError(
                "dist needs at least two images in every batch: set train.drop_last, "
                "or another train.batch_size"
            )
        history = self.state.load()
        self._finish_after_last_epoch()
        return history

    def end_epoch(self, result: EpochResult, evaluated: Mapping[str, Tensor]) -> None:
        """Record an epoch and write the checkpoint; after the last epoch load the weights to keep.

        Args:
            result: of the epoch.
            evaluated: the state dict whose validation accuracy the result holds.
        """
        self.state.end_epoch(result, evaluated)
        self.state.save()
        self._finish_after_last_epoch()

    def _finish_after_last_epoch(self) -> None:
        if self.state.finished:
            self.state.finish()
            self.done, self.stack = True, None

    def _has_single_image_batch(self) -> bool:
        images, size = self.batches.policy.num_images, self.config.batch_size
        has_smaller_last_batch = len(self.batches) * size > images
        return (images % size if has_smaller_last_batch else size) == 1
