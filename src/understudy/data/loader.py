"""Batches: the epoch's order and views, rendered on the device that holds the images."""

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
from understudy.data.sampling import Pace
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

    The whole split lies on ``device`` as bytes where it fits; otherwise a thread reads the next batches' bytes from the
    memory-mapped file while the device works on this one. Order and views depend on (seed, epoch) alone, so a run that
    resumes, or another arm of the same seed, sees the same batches.

    Args:
        split: training images.
        config: augmentation and normalisation.
        batch_size: images per step over all ranks.
        seed: of order and views.
        device: where batches are made.
        drop_last: leave out a smaller last batch.
        rank, world_size: this process takes every ``world_size``-th image of each batch.
        streaming: read batches ahead of the device; ``None`` decides by size.
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
    ) -> None:
        _, channels, height, width = split.images.shape
        self.device = device
        self.split = split
        self.streaming = too_large(split, device) if streaming is None else streaming
        resident = not self.streaming and split.rows is None
        self.images = (
            (split.images if device.type == "cpu" else to_device(split.images, device))
            if resident
            else None
        )
        self.labels = split.labels.to(device)
        self.policy = ViewPolicy(config.augment, seed, len(split), (channels, height, width))
        self.normalise = Normalise(config.mean, config.std, width, device)
        self.batch_size, self.seed, self.drop_last = batch_size, seed, drop_last
        self.rank, self.world_size = rank, world_size
        self.pace: Pace | None = None
        """Which images each epoch draws from; all where there is none."""

    def __len__(self) -> int:
        """Steps per epoch."""
        full, rest = divmod(self.policy.num_images, self.batch_size)
        return full if self.drop_last and full else full + (rest > 0)

    def order(self, epoch: int) -> Tensor:
        """int64 ``[N]``, the order of the images in this epoch; with a pace, some of them more than once."""
        generator = generator_for("order", self.seed, epoch)
        if self.pace is not None:
            return self.pace.order(epoch, generator)
        return torch.randperm(self.policy.num_images, generator=generator)

    def epoch(self, epoch: int, views: Views) -> Iterator[Batch]:
        """The batches of one epoch under the views drawn for it (``policy.epoch(epoch)``)."""
        where = self.device if self.images is not None else torch.device("cpu")
        order, views = self.order(epoch).to(where), views.to(where)
        wholes = (
            order[step * self.batch_size : (step + 1) * self.batch_size]
            for step in range(len(self))
        )
        parts = (whole[self.rank :: self.world_size] for whole in wholes)
        if self.images is not None:
            yield from (self.render(rows, views) for rows in parts)
        else:
            yield from (
                self._show(*read)
                for read in ahead(functools.partial(self._read, rows, views) for rows in parts)
            )

    def render(self, rows: Tensor, views: Views) -> Batch:
        """The batch of these rows (int64 ``[B]``) under the epoch's views (of all N images)."""
        if self.images is None:
            return self._show(*self._read(rows.cpu(), views.to(torch.device("cpu"))))
        return self._batch(self.images, rows, rows, views[rows])

    def _read(self, rows: Tensor, views: Views) -> tuple[Tensor, Tensor, Views]:
        """The bytes of a batch and of the partners mixed in, as a small block of their own, on the host."""
        chosen = views[rows]
        wanted = rows if chosen.partner is None else torch.cat((rows, chosen.partner))
        block = self.split.gather(wanted)
        return block.pin_memory() if self.device.type == "cuda" else block, rows, chosen

    def _show(self, block: Tensor, rows: Tensor, chosen: Views) -> Batch:
        block = block.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        here = torch.arange(len(rows), device=self.device)
        return self._batch(block, here, rows.to(self.device), chosen.to(self.device))

    def _batch(self, block: Tensor, here: Tensor, rows: Tensor, chosen: Views) -> Batch:
        """Render images ``here`` of a block; a block of the batch's own has the partners behind the images."""
        partner_labels = None if chosen.partner is None else self.labels[chosen.partner]
        if self.images is None and chosen.partner is not None:
            chosen = replace(chosen, partner=here + len(here))
        images = render(block, here, chosen, self.policy, self.normalise)
        return Batch(images, self.labels[rows], rows, partner_labels, chosen.share)


def plain_batches(
    split: Split, config: DataConfig, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """The images of a split as they are, in order: for validation, the final evaluation and measurements."""
    normalise = Normalise(config.mean, config.std, split.images.shape[3], device)
    for start in range(0, len(split), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(split)))
        yield Batch(
            normalise(split.gather(rows).to(device)), split.labels[rows].to(device), rows.to(device)
        )


def too_large(split: Split, device: torch.device) -> bool:
    """Whether a split shall be streamed: over half of the memory that is free, on the device or on the host."""
    if device.type == "cuda":
        return split.num_bytes > torch.cuda.mem_get_info(device)[0] // 2
    return (
        split.num_bytes > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        if hasattr(os, "sysconf")
        else False
    )


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """uint8 ``[N, C, H, W]`` on ``device``, still in NHWC memory."""
    return images.permute(0, 2, 3, 1).contiguous().to(device).permute(0, 3, 1, 2)
