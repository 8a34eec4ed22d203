"""One optimisation step: forward, loss, backward, clip, update."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from understudy.config.schema import TrainConfig
from understudy.data.loader import Batch, TrainBatches
from understudy.methods.base import Method
from understudy.models.base import Outputs
from understudy.training.optim import make_optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Step:
    """The step of a training, called once per batch; it never waits for the device.

    Args:
        method: the student with its loss; moved to Fabric's device.
        config: optimizer and gradient clipping.
        fabric: device, precision and ranks.

    Attributes:
        wrapped: the method as Fabric wraps it (data parallel on several ranks).
        optimizer: over everything in the method that trains.
    """

    def __init__(self, method: Method, config: TrainConfig, fabric: "Fabric") -> None:
        self.method, self.fabric, self.grad_clip = method, fabric, config.grad_clip
        self.wrapped, self.optimizer = fabric.setup(method, make_optimizer(method, config))

    def __call__(
        self, batch: Batch, teacher_outputs: Outputs | None, lr: float, weight: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Train on a batch: its named losses (scalar tensors), and the student's logits ``[B, K]``.

        Args:
            batch: this rank's part.
            teacher_outputs: for the batch; ``None`` without a teacher.
            lr: learning rate of this step.
            weight: of this rank's loss (:func:`rank_weight`).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses, logits = self._forward(batch, teacher_outputs)
        terms = list(losses.values())
        loss = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
        self.fabric.backward(loss if weight == 1.0 else loss * weight)
        if self.grad_clip:
            parameters = self.method.parameters()
            torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return losses, logits

    def _forward(
        self, batch: Batch, teacher_outputs: Outputs | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        if self.fabric.world_size > 1 or _in_autocast_precision(teacher_outputs):
            losses, logits = self.wrapped(batch, teacher_outputs)
        else:
            # Without other ranks and without bf16 inputs to convert, Fabric's wrapper only searches
            # its arguments: the method is called directly.
            with self.fabric.autocast():
                losses, logits = self.method(batch, teacher_outputs)
        return losses, logits


def rank_weight(batches: TrainBatches, number: int, images: int) -> float:
    """Weight of this rank's mean loss, such that averaged gradients equal those of one process.

    It differs from 1 only when a last batch does not split evenly.

    Args:
        batches: of the training.
        number: of the step in its epoch, from 0.
        images: of this rank in this step.
    """
    if batches.world_size == 1:
        return 1.0
    left = batches.policy.num_images - number * batches.batch_size
    return images * batches.world_size / min(batches.batch_size, left)


def _in_autocast_precision(outputs: Outputs | None) -> bool:
    """Whether teacher outputs may be in bf16: those of a live network; cached ones are fp32."""
    if outputs is None:
        return False
    embedding = outputs.embedding
    return bool(outputs.features) or (
        embedding is not None and embedding.dtype is not torch.float32
    )
