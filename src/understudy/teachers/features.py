"""The features before a network's head, computed once for each view and cached as outputs are."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.config.schema import AugmentConfig
from understudy.data.loader import Batch, TrainBatches
from understudy.data.prepare import TrainingData
from understudy.data.views import Views
from understudy.events import SILENT, Observer
from understudy.models.base import Classifier, Outputs
from understudy.models.heads import Head, head_inputs, set_head
from understudy.teachers.base import UNAUGMENTED, Teacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.output_store import (
    OutputStore,
    decode_rows,
    default_cache,
    teacher_fingerprint,
)

_BATCH = 64
"""Images in a forward pass: a network at 224 pixels takes 10 MB and more for each."""


class FeatureTeacher(Teacher):
    """A network that gives the features before its head in the place of its logits.

    Args:
        network: in eval mode, on the device.
        head: its head.
        precision: ``fp32`` or ``bf16`` (autocast).
    """

    def __init__(self, network: Classifier, head: Head, precision: str) -> None:
        self.network, self.head, self.precision = network, head, precision

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        """Features, fp32 ``[B, width]``, as logits."""
        device, is_bf16 = batch.images.device.type, self.precision == "bf16"
        parts = []
        for images in batch.images.split(_BATCH):
            with (
                head_inputs(self.network, self.head) as found,
                torch.autocast(device, torch.bfloat16, enabled=is_bf16),
            ):
                self.network(images)
            parts.append(found[-1].float())
        return Outputs(torch.cat(parts))


class Features:
    """The features of a data set's images under a network.

    Args:
        network: in eval mode, on the device of the batches; its head is set to zero, since the
            features do not depend on it, and a cache is found again whatever it was.
        head: its head.
        data: training and validation images as the network is fed them.
        precision: ``fp32`` or ``bf16``.
        description: what decides the features next to the network's weights.
        cache: folder of all caches; the user's cache folder by default.
        observer: follows the computation.
    """

    def __init__(
        self,
        network: Classifier,
        head: Head,
        data: TrainingData,
        *,
        precision: str = "fp32",
        description: str = "",
        cache: str | None = None,
        observer: Observer = SILENT,
    ) -> None:
        bias = torch.zeros(head.num_outputs) if head.has_bias else None
        set_head(network, head, torch.zeros(head.num_outputs, head.width), bias)
        self.network, self.head, self.data = network, head, data
        self.precision, self.observer = precision, observer
        self.root = Path(cache) if cache else default_cache()
        self.teacher = teacher_fingerprint(network, f"features of {description}")

    def train(self, batches: TrainBatches, views: int) -> Iterator[Tensor]:
        """Features of the training images, fp32 ``[N, width]``, view by view.

        Args:
            batches: render the images.
            views: how many views; the first is the image itself, the others are those of the first
                epochs. Under a policy with one view there is only one.
        """
        policy = batches.policy
        rows = self._cached(batches, "train")
        yield _read(rows, UNAUGMENTED, policy.identity_views(), self.observer)
        for epoch in range(views - 1 if policy.num_views != 1 else 0):
            yield _read(rows, epoch, policy.epoch(epoch), self.observer)

    def val(self, device: torch.device) -> Tensor:
        """Features of the validation images, fp32 ``[N, width]``."""
        plain = AugmentConfig(padding=0, flip=False, view_seed=0)
        config = replace(self.data.config, augment=plain)
        batches = TrainBatches(self.data.val, config, 1, 0, device, grid=self.data.grid)
        rows = self._cached(batches, "val")
        return _read(rows, UNAUGMENTED, batches.policy.identity_views(), self.observer)

    def _cached(self, batches: TrainBatches, split: str) -> CachedTeacher:
        policy, config = batches.policy, self.data.config
        parts = {
            "teacher": self.teacher,
            "data": f"{self.data.fingerprint} {split} {_digest(batches.split.labels)}",
            "views": f"{policy.fingerprint} seed {policy.seed}",
            "normalisation": f"{config.mean} {config.std}",
            "precision": self.precision,
        }
        store = OutputStore(self.root, parts, policy.num_images, self.head.width, None)
        teacher = FeatureTeacher(self.network, self.head, self.precision)
        return CachedTeacher(teacher, batches, store)


def _read(rows: CachedTeacher, epoch: int, views: Views, observer: Observer) -> Tensor:
    rows.prepare(epoch, views, observer)
    return decode_rows(rows.read(epoch, views, np.arange(rows.batches.policy.num_images))).float()


def _digest(labels: Tensor) -> str:
    """Of the images in validation the fingerprint of the training images does not tell all."""
    return hashlib.sha256(labels.numpy().data).hexdigest()[:16]
