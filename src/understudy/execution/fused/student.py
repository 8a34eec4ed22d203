"""A student that is trained in a stack, as it is between two epochs: the state and the checkpoint of one trained alone."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from understudy.teachers.frozen import Teacher
from understudy.training.checkpoint import load_checkpoint, save_checkpoint
from understudy.training.device import resolve_precision
from understudy.training.loop import run_fingerprint
from understudy.training.optim import make_optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from understudy.execution.fused.stack import Stack


def why_not_stacked(method: Method) -> str:
    """Why a training cannot be stacked with others of its kind; empty where it can."""
    return why_no_stacked_network(method.student) or why_no_stacked_loss(method)


class StackedStudent:
    """One of K: its method, optimizer, history and checkpoint, all of them as :func:`~understudy.training.loop.train_steps` has them.

    Between epochs they are up to date, so that a checkpoint is one that the loop goes on from, and the other way round. During
    an epoch the weights live in a :class:`~understudy.execution.fused.stack.Stack`.

    Args:
        method, data, settings, fabric, teacher, batches, seed, checkpoint: as for :func:`~understudy.training.loop.train_steps`.
    """

    def __init__(
        self,
        method: Method,
        data: TrainingData,
        settings: TrainConfig,
        fabric: "Fabric",
        teacher: Teacher | None,
        batches: TrainBatches,
        seed: int,
        checkpoint: Path | None = None,
    ) -> None:
        self.method, self.data, self.settings, self.teacher = method, data, settings, teacher
        self.batches, self.seed, self.checkpoint, self.device = (
            batches,
            seed,
            checkpoint,
            fabric.device,
        )
        self.precision = resolve_precision(settings.precision, fabric.device)
        self.fingerprint = run_fingerprint(method, data, settings, batches, seed)
        if settings.channels_last:
            method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.architecture = architecture(method.student)
        self.optimizer = make_optimizer(method, settings)
        state = method.state_dict()
        self.ema = {k: v.clone() for k, v in state.items()} if settings.ema_decay else None
        self.best: dict[str, Any] | None = None
        self.history: list[EpochResult] = []
        self.seconds, self.done = 0.0, False
        self.stack: Stack | None = None
        """The one of its latest epoch, which goes on with the next where the company is the same."""
        self.generator = torch.Generator().manual_seed(seed)
        """What dropout draws from on the CPU, as the loop's does."""
        self.cuda_rng = None  # not drawn from; kept for the loop to go on with
        if self.device.type == "cuda":
            self.cuda_rng = torch.Generator(self.device).manual_seed(seed).get_state()

    @property
    def company(self) -> tuple[object, ...]:
        """What students that are stacked together have in common."""
        s = self.settings
        agree = (
            s.optimizer,
            s.epochs,
            s.epochs_run,
            s.batch_size,
            s.drop_last,
            self.precision,
            s.channels_last,
            self.device,
        )
        return (id(self.data), self.architecture, *agree)

    def start(self) -> list[EpochResult]:
        """Read the checkpoint where there is one: the epochs that are done.

        Raises:
            UnderstudyError: if it is damaged or of another training, or the last batch is too small for the method.
        """
        images, size = self.batches.policy.num_images, self.settings.batch_size
        if (
            "dist" in self.method.config.name.split("+")
            and (images % size if len(self.batches) * size > images else size) == 1
        ):
            raise UnderstudyError(
                "dist needs at least two images in every batch: set train.drop_last, or another train.batch_size"
            )
        if self.checkpoint is None or not self.checkpoint.exists():
            return []
        state = load_checkpoint(self.checkpoint, self.fingerprint)
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema = {k: v.to(self.device) for k, v in state["ema"].items()}
        self.generator.set_state(state["rng"]["cpu"])
        self.cuda_rng = state["rng"].get("cuda", self.cuda_rng)
        self.best = state["best"]
        self.history = [EpochResult(**entry) for entry in state["history"]]
        self._end()
        return list(self.history)

    def end_epoch(self, result: EpochResult, evaluated: Mapping[str, Tensor]) -> None:
        """Note an epoch, keep the weights that were evaluated if they are the best so far, write the checkpoint."""
        self.history.append(result)
        settings = self.settings
        if settings.keep == "best" and (
            self.best is None or result.val_accuracy > self.best["accuracy"]
        ):
            kept = {k: v.detach().cpu().clone() for k, v in evaluated.items()}
            self.best = {"accuracy": result.val_accuracy, "epoch": result.epoch, "method": kept}
        if self.checkpoint is not None:
            rng = {"cpu": self.generator.get_state()} | (
                {} if self.cuda_rng is None else {"cuda": self.cuda_rng}
            )
            state = {
                "fingerprint": self.fingerprint,
                "epoch": result.epoch,
                "method": self.method.state_dict(),
            }
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema,
                "best": self.best,
                "rng": rng,
            }
            compiled = {"on": True, "off": False}.get(settings.compile)
            history = [asdict(entry) for entry in self.history]
            save_checkpoint(self.checkpoint, state | {"compiled": compiled, "history": history})
        self._end()

    def _end(self) -> None:
        """After the last epoch: the weights to keep, in eval mode."""
        if len(self.history) < self.settings.epochs_run:
            return
        if self.settings.keep == "best" and self.best is not None:
            self.method.load_state_dict(self.best["method"])
        elif self.ema is not None:
            self.method.load_state_dict(self.ema)
        self.method.eval()
        self.done, self.stack = True, None
