"""The state of one training between two epochs, and the checkpoint file that holds it.

Every loop of the package uses it: the one in :mod:`understudy.training.loop` and the one of
stacked students. A checkpoint of either can be resumed by the other.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.errors import MachineError, one_line
from understudy.events import EpochResult
from understudy.files import replacing
from understudy.methods.base import Method
from understudy.training.curriculum import ranked_images, set_ranked_images
from understudy.training.ema import update_ema

_CHECKPOINT_FORMAT = 2
"""Part of the fingerprint. Increase it when old checkpoints can no longer be resumed."""


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training writes its checkpoint.

    Attributes:
        checkpoint: written after each epoch; ``None`` writes nothing.
        resume: start from the checkpoint if the file exists.
    """

    checkpoint: Path | None = None
    resume: bool = False


NO_FILES = TrainingFiles()


class Generators(Protocol):
    """The random generators that a training draws from."""

    def state(self) -> dict[str, Tensor]:
        """uint8 states under ``cpu`` and, on a GPU, ``cuda``."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Set the generators to a state returned by :meth:`state`."""


class GlobalGenerators:
    """PyTorch's global generators of the CPU and of a training's device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state(self) -> dict[str, Tensor]:
        """See :func:`rng_state`."""
        return rng_state(self.device)

    def restore(self, state: dict[str, Tensor]) -> None:
        """See :func:`set_rng_state`."""
        set_rng_state(state, self.device)


@dataclass(frozen=True, eq=False)
class BestEpoch:
    """The epoch with the highest validation accuracy so far; the earliest of several.

    Attributes:
        accuracy: on the validation split, in [0, 1].
        epoch: from 0.
        method: the method's state dict at its end, on the CPU.
    """

    accuracy: float
    epoch: int
    method: dict[str, Tensor]


class TrainState:
    """Everything of one training that lives from epoch to epoch.

    Args:
        method: the student with its loss, on its device; trained in place.
        optimizer: of the method's parameters.
        config: decides EMA, best epoch and the choice to compile.
        batches: hold the curriculum's image order, if there is a curriculum.
        fingerprint: of the training (:func:`run_fingerprint`).
        files: the checkpoint.
        generators: whose states the checkpoint holds.

    Attributes:
        ema: running average of the method's state dict; ``None`` without ``ema_decay``.
        best: the best epoch so far; stays ``None`` unless ``keep`` is ``best``.
        history: one result per finished epoch.
        compiled: whether the step is compiled; ``None`` until that is measured.
    """

    def __init__(
        self,
        method: Method,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        batches: TrainBatches,
        fingerprint: str,
        files: TrainingFiles,
        generators: Generators,
    ) -> None:
        self.method, self.optimizer, self.config, self.batches = method, optimizer, config, batches
        self.fingerprint, self.files, self.generators = fingerprint, files, generators
        self.ema: dict[str, Tensor] | None = None
        if config.ema_decay:
            self.ema = {name: value.clone() for name, value in method.state_dict().items()}
        self.best: BestEpoch | None = None
        self.history: list[EpochResult] = []
        self.compiled: bool | None = {"on": True, "off": False}.get(config.compile)

    @property
    def next_epoch(self) -> int:
        """The epoch to train next, from 0."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are trained."""
        return self.next_epoch >= self.config.epochs_run

    def load(self) -> list[EpochResult]:
        """Go on from the checkpoint, if there is one to resume: the results of its epochs.

        Raises:
            MachineError: if the checkpoint is damaged or belongs to another training.
        """
        path = self.files.checkpoint
        if not self.files.resume or path is None or not path.exists():
            return []
        content = load_checkpoint(path, self.fingerprint)
        self.method.load_state_dict(content["method"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.ema is not None:
            saved = content["ema"]
            self.ema = {name: saved[name].to(value.device) for name, value in self.ema.items()}
        self.generators.restore(content["rng"])
        self.best = None if content["best"] is None else BestEpoch(**content["best"])
        self.compiled = content["compiled"]
        if content.get("easy_first") is not None:
            set_ranked_images(self.batches, content["easy_first"])
        self.history = [EpochResult(**entry) for entry in content["history"]]
        return list(self.history)

    def update_ema(self) -> None:
        """Move the average towards the current weights, after a step, without host sync."""
        if self.ema is not None:
            update_ema(self.ema, self.method.state_dict(), self.config.ema_decay)

    @contextlib.contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Inside the block the method holds the weights to evaluate: the average, if any."""
        if self.ema is None:
            yield
            return
        current = {k: v.detach().clone() for k, v in self.method.state_dict().items()}
        self.method.load_state_dict(self.ema)
        yield
        self.method.load_state_dict(current)

    def end_epoch(self, result: EpochResult, evaluated: Mapping[str, Tensor]) -> None:
        """Record an epoch and copy its weights if they are the best so far.

        Args:
            result: of the epoch.
            evaluated: the state dict whose validation accuracy the result holds.
        """
        self.history.append(result)
        if self.config.keep != "best":
            return
        if self.best is None or result.val_accuracy > self.best.accuracy:
            weights = {name: value.detach().cpu().clone() for name, value in evaluated.items()}
            self.best = BestEpoch(result.val_accuracy, result.epoch, weights)

    def save(self) -> None:
        """Write the checkpoint of the last finished epoch; without a path, nothing.

        Raises:
            MachineError: if it cannot be written.
        """
        if self.files.checkpoint is None:
            return
        content = {
            "fingerprint": self.fingerprint,
            "epoch": self.history[-1].epoch,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema,
            "best": None if self.best is None else dict(vars(self.best)),
            "compiled": self.compiled,
            "rng": self.generators.state(),
            "easy_first": ranked_images(self.batches),
            "history": [asdict(result) for result in self.history],
        }
        save_checkpoint(self.files.checkpoint, content)

    def finish(self) -> None:
        """Load the final weights (best epoch, average or last) after the last epoch; eval mode."""
        if self.config.keep == "best" and self.best is not None:
            self.method.load_state_dict(self.best.method)
        elif self.ema is not None:
            self.method.load_state_dict(self.ema)
        self.method.eval()


def run_fingerprint(
    method: Method, data: TrainingData, config: TrainConfig, batches: TrainBatches
) -> str:
    """Everything that determines a training's numbers; a checkpoint with another one is refused."""
    own = f"{_CHECKPOINT_FORMAT} {data.fingerprint} {config.fingerprint} {method.config} "
    own += f"{batches.seed} "
    own += f"{batches.policy.fingerprint} {batches.policy.seed}"
    repeated = batches.policy.config.view_epochs
    return own if repeated is None else f"{own} {repeated}"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically: after a crash the path holds the old file or the new one.

    Raises:
        MachineError: if it cannot be written. A full disk may also raise ``OSError``.
    """
    with replacing(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's writer hides the error of the disk
            raise MachineError(
                f"the checkpoint {path} cannot be written ({one_line(error)}): is the disk full?"
            ) from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, nothing is unpickled.

    Args:
        path: the file.
        fingerprint: of the training that wants to resume.

    Raises:
        MachineError: if it is damaged, or belongs to a training with another configuration.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["fingerprint"]
    except Exception as error:
        raise MachineError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}): "
            "delete it to train this arm again"
        ) from error
    if found != fingerprint:
        raise MachineError(
            f"the checkpoint {path} belongs to another configuration or version: "
            "delete it, or give another --out"
        )
    return dict(content)


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """States (uint8) of the global generators that a training on ``device`` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Set the global generators to what :func:`rng_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
