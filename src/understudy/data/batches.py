"""Batches: the epoch's order and views, rendered on the device that holds the images."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.config import DataConfig
from understudy.data.dataset import Split
from understudy.data.views import Normalise, ViewPolicy, Views, generator_for, render


class Batch(NamedTuple):
    """What a step sees.

    Attributes:
        images: float32 ``[B, C, H, W]``, normalised, channels-last.
        labels: int64 ``[B]``.
        index: int64 ``[B]``, position of each image in the training split: the address of its teacher outputs.
        partner_labels: int64 ``[B]``, labels of the images mixed in; ``None`` unless the policy mixes.
        share: float32 ``[B]``, each image's own share of the mixture; ``None`` unless the policy mixes.
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # the design's name; hides tuple.index
    partner_labels: Tensor | None = None
    share: Tensor | None = None


class TrainBatches:
    """Training batches of one run: the images of a split in the order and the views of a seed.

    The whole split lies on ``device`` as bytes. Order and views depend on (seed, epoch) alone, so a run that resumes, or
    another arm of the same seed, sees the same batches.

    Args:
        split: training images.
        config: augmentation and normalisation.
        batch_size: images per step over all ranks.
        seed: of order and views.
        device: where batches are made.
        drop_last: leave out a smaller last batch.
        rank, world_size: this process takes every ``world_size``-th image of each batch.
    """

    def __init__(
        self,
        split: Split,
        config: DataConfig,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _, channels, height, width = split.images.shape
        self.device = device
        self.images = split.images if device.type == "cpu" else to_device(split.images, device)
        self.labels = split.labels.to(device)
        self.policy = ViewPolicy(config.augment, seed, len(split), (channels, height, width))
        self.normalise = Normalise(config.mean, config.std, width, device)
        self.batch_size, self.seed, self.drop_last = batch_size, seed, drop_last
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Steps per epoch."""
        full, rest = divmod(self.policy.num_images, self.batch_size)
        return full if self.drop_last and full else full + (rest > 0)

    def order(self, epoch: int) -> Tensor:
        """int64 ``[N]``, the order of the images in this epoch."""
        return torch.randperm(self.policy.num_images, generator=generator_for("order", self.seed, epoch))

    def epoch(self, epoch: int, views: Views) -> Iterator[Batch]:
        """The batches of one epoch under the views drawn for it (``policy.epoch(epoch)``)."""
        order, views = self.order(epoch).to(self.device), views.to(self.device)
        for step in range(len(self)):
            whole = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self.render(whole[self.rank :: self.world_size], views)

    def render(self, rows: Tensor, views: Views) -> Batch:
        """The batch of these rows (int64 ``[B]``) under the epoch's views (of all N images)."""
        chosen = views[rows]
        images = render(self.images, rows, chosen, self.policy, self.normalise)
        partner_labels = None if chosen.partner is None else self.labels[chosen.partner]
        return Batch(images, self.labels[rows], rows, partner_labels, chosen.share)


def plain_batches(split: Split, config: DataConfig, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """The images of a split as they are, in order: for validation, the final evaluation and measurements."""
    normalise = Normalise(config.mean, config.std, split.images.shape[3], device)
    for start in range(0, len(split), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(split)))
        pixels = split.images.permute(0, 2, 3, 1)[start : start + batch_size].to(device)
        yield Batch(normalise(pixels), split.labels[rows].to(device), rows.to(device))


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """uint8 ``[N, C, H, W]`` on ``device``, still in NHWC memory."""
    return images.permute(0, 2, 3, 1).contiguous().to(device).permute(0, 3, 1, 2)
