"""Sums over an epoch that stay on the device until its end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from understudy.data.loader import TrainBatches
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class EpochMeans:
    """What an epoch's steps add up to, over all ranks.

    Attributes:
        losses: mean of each weighted term over the images.
        accuracy: share of correct predictions on the training batches, in [0, 1].
        images: trained on.
        measures: of the method, averaged over ranks.
    """

    losses: dict[str, float]
    accuracy: float
    images: float
    measures: dict[str, float]


class EpochTotals:
    """Correct predictions and losses of an epoch, summed in fp64 on the device."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sums = torch.zeros(0)
        self.images = 0

    @torch.no_grad()
    def add(self, losses: Mapping[str, Tensor], logits: Tensor, labels: Tensor) -> None:
        """Add a step; never waits for the device.

        Args:
            losses: scalar tensors, the means over the batch; the same names in every step.
            logits: ``[B, K]``.
            labels: int64 ``[B]``.
        """
        if not self.names:
            self.names = ["correct", *losses]
            self.sums = torch.zeros(len(self.names), dtype=torch.float64, device=logits.device)
        self.images += len(labels)
        correct = (logits.argmax(1) == labels).sum()
        terms = [term.detach() * len(labels) for term in losses.values()]
        self.sums.add_(torch.stack([correct, *terms]))

    def means(self, fabric: "Fabric", measures: Mapping[str, Tensor]) -> EpochMeans:
        """Reduce over ranks and read the sums: the one point of an epoch that waits for the device.

        Args:
            fabric: the ranks.
            measures: scalar tensors of this rank (:meth:`understudy.methods.base.Method.measures`).
        """
        parts = [self.sums, self.sums.new_full((1,), self.images)]
        if measures:
            parts.append(torch.stack([value.detach().double() for value in measures.values()]))
        totals: Any = torch.cat(parts)
        if fabric.world_size > 1:
            totals = fabric.all_reduce(totals, reduce_op="sum")
        correct, *rest = totals.tolist()
        names = self.names[1:]
        terms, images, measured = rest[: len(names)], rest[len(names)], rest[len(names) + 1 :]
        return EpochMeans(
            losses={name: value / images for name, value in zip(names, terms, strict=True)},
            accuracy=correct / images,
            images=images,
            measures={
                name: value / fabric.world_size
                for name, value in zip(measures, measured, strict=True)
            },
        )


def check_finite(means: Mapping[str, float], epoch: int) -> None:
    """Refuse an epoch whose mean losses are not all finite.

    Raises:
        UnderstudyError: naming the loss.
    """
    for name, value in means.items():
        if not math.isfinite(value):
            raise UnderstudyError(
                f"the loss ({name}) is not finite in epoch {epoch}: lower train.lr or set "
                "train.grad_clip; the checkpoint still holds the last good epoch"
            )


def steady_rate(batches: TrainBatches, images: float, seconds: float, first_step: float) -> float:
    """Images per second of an epoch, without a first step that compiles and allocates.

    Args:
        batches: of all ranks.
        images: of the epoch, over all ranks.
        seconds: wall time of the epoch's steps.
        first_step: wall time of its first step in the first epoch of a session; otherwise 0.
    """
    if first_step == 0.0 or len(batches) == 1:
        return images / seconds
    return (images - batches.batch_size) / (seconds - first_step)
