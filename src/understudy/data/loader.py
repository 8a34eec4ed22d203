"""Batches: the order and views of an epoch, rendered on the device of the images."""

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.config.schema import DataConfig
from understudy.data.dataset import Split
from understudy.data.prefetch import ahead
from understudy.data.sampling import Sampler
from understudy.data.spec import ImageSpec
from understudy.data.views import Normalise, ViewPolicy, Views, generator_for, render


class Batch(NamedTuple):
    """The images and labels of a training step.

    Attributes:
        images: float32 ``[B, C, H, W]``, normalised, channels-last.
        labels: int64 ``[B]``.
        index: int64 ``[B]``, position of each image in the training split, by which its teacher
            outputs are found.
        partner_labels: int64 ``[B]``, labels of the images mixed in; ``None`` unless the policy
            mixes.
        lam: float32 ``[B]``, weight of each image's own label; ``None`` unless the policy mixes.
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    partner_labels: Tensor | None = None
    lam: Tensor | None = None


class TrainBatches:
    """Training batches of one run: the images of a split in the order and the views of a seed.

    The whole split is on ``device`` as bytes if it fits; otherwise a thread reads the bytes of the
    next batches from the memory-mapped file while the device works on this one. Order and views
    depend on (seed, epoch) alone, so a resumed run, or another arm of the same seed, has the same
    batches.

    Args:
        split: training images.
        config: augmentation and normalisation.
        batch_size: images per step over all ranks.
        seed: of order and views.
        device: where batches are made.
        drop_last: leave out a smaller last batch.
        rank, world_size: this process takes every ``world_size``-th image of each batch.
        streaming: read batches ahead of the device; ``None`` decides by size.
        grid: the images that views are drawn for, where the split has them in another size.
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
        streaming: bool | None = None,
        grid: ImageSpec | None = None,
    ) -> None:
        self.device = device
        self.split = split
        self.streaming = too_large(split, device) if streaming is None else streaming
        resident = not self.streaming and split.rows is None
        self.images: Tensor | None = None
        if resident:
            on_cpu = device.type == "cpu"
            self.images = split.images if on_cpu else to_device(split.images, device)
        self.labels = split.labels.to(device)
        self.policy = ViewPolicy(config.augment, seed, len(split), grid or split.image)
        self.grid = None if grid is None or grid.size == split.image.size else grid
        self.normalise = Normalise(config.mean, config.std, split.image.width, device)
        self.batch_size, self.seed, self.drop_last = batch_size, seed, drop_last
        self.rank, self.world_size = rank, world_size
        self.sampler: Sampler | None = None
        """Which images each epoch draws; ``None`` for each of them once."""

    def __len__(self) -> int:
        """Steps per epoch."""
        return steps_per_epoch(self.policy.num_images, self.batch_size, self.drop_last)

    def order(self, epoch: int) -> Tensor:
        """The order of the images in this epoch, int64 ``[N]``; a sampler may repeat images."""
        generator = generator_for("order", self.seed, epoch)
        if self.sampler is not None:
            return self.sampler.order(epoch, generator)
        return torch.randperm(self.policy.num_images, generator=generator)

    def epoch(self, epoch: int, views: Views) -> Iterator[Batch]:
        """The batches of one epoch under the views drawn for it (``policy.epoch(epoch)``)."""
        device = self.device if self.images is not None else torch.device("cpu")
        order, views = self.order(epoch).to(device), views.to(device)
        starts = (step * self.batch_size for step in range(len(self)))
        batches = (order[start : start + self.batch_size] for start in starts)
        parts = (rows[self.rank :: self.world_size] for rows in batches)
        if self.images is not None:
            yield from (self.render(rows, views) for rows in parts)
            return
        readers = (functools.partial(self._read, rows, views) for rows in parts)
        for block, rows, chosen in ahead(readers):
            yield self._render_block(block, rows, chosen)

    def render(self, rows: Tensor, views: Views) -> Batch:
        """The batch of these rows (int64 ``[B]``) under the epoch's views (of all N images)."""
        if self.images is None:
            return self._render_block(*self._read(rows.cpu(), views.to(torch.device("cpu"))))
        return self._batch(self.images, rows, rows, views[rows])

    def _read(self, rows: Tensor, views: Views) -> tuple[Tensor, Tensor, Views]:
        """On the host: the bytes of a batch, followed by those of the partners mixed in."""
        chosen = views[rows]
        wanted = rows if chosen.partner is None else torch.cat((rows, chosen.partner))
        block = self.split.gather(wanted)
        return block.pin_memory() if self.device.type == "cuda" else block, rows, chosen

    def _render_block(self, block: Tensor, rows: Tensor, chosen: Views) -> Batch:
        block = block.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        positions = torch.arange(len(rows), device=self.device)
        return self._batch(block, positions, rows.to(self.device), chosen.to(self.device))

    def _batch(self, block: Tensor, positions: Tensor, rows: Tensor, chosen: Views) -> Batch:
        """Render the images at ``positions`` of a block.

        The block is the whole split, or the images of this batch followed by their partners.
        """
        partner_labels = None if chosen.partner is None else self.labels[chosen.partner]
        if self.images is None and chosen.partner is not None:
            chosen = replace(chosen, partner=positions + len(positions))
        images = render(block, positions, chosen, self.policy, self.normalise, self.grid)
        return Batch(images, self.labels[rows], rows, partner_labels, chosen.lam)


def steps_per_epoch(num_images: int, batch_size: int, drop_last: bool) -> int:
    """Batches of an epoch; a last one of a single image is left out in any case.

    One image has no statistics for batch norm, and no pair for the pairwise losses.
    """
    full, rest = divmod(num_images, batch_size)
    left_out = full > 0 and (drop_last or rest == 1)
    return full if left_out else full + (rest > 0)


def plain_batches(
    split: Split, config: DataConfig, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """The unaugmented images of a split, in order: for validation, evaluation and measurements."""
    normalise = Normalise(config.mean, config.std, split.image.width, device)
    for start in range(0, len(split), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(split)))
        images = normalise(split.gather(rows).to(device))
        yield Batch(images, split.labels[rows].to(device), rows.to(device))


def too_large(split: Split, device: torch.device) -> bool:
    """Whether to stream a split: above half of the GPU's free memory, or half of the host's."""
    if device.type == "cuda":
        return split.num_bytes > torch.cuda.mem_get_info(device)[0] // 2
    if not hasattr(os, "sysconf"):
        return False
    return split.num_bytes > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """uint8 ``[N, C, H, W]`` on ``device``, still in NHWC memory."""
    return images.permute(0, 2, 3, 1).contiguous().to(device).permute(0, 3, 1, 2)
