"""What a teacher said about each view, computed once and kept on disk.

A policy with finitely many views (crop and flip: 162) gets one file with a row for every image and view, filled as views
come up or all at once; an endless policy (mixing, RandAugment) gets a file per epoch of its seed. A row holds the fp16
logits (of an ensemble every member's, side by side: they are exact at any temperature, their mean is not), for methods that
read it the pooled embedding, and a checksum, so that a file can be cut off, half written or hit by a killed process at any
point: rows that do not check are labelled again, the others are kept. Several processes label together: each claims chunks
by a lock. Rows with an embedding are long; they, too, lie in a file per epoch, since among the places of all views those of
a few epochs would leave most of every disk block empty.

The folder's name is the fingerprint of everything that the logits depend on (teacher weights and architecture, data,
views, normalisation, precision); ``meta.json`` says what they were, so that a cache from elsewhere is refused with a reason.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor

from understudy.data.loader import Batch, TrainBatches, plain_batches
from understudy.data.prepare import TrainingData
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.models.base import Outputs
from understudy.models.ensemble import Ensemble, mean_outputs
from understudy.teachers.frozen import FrozenTeacher, LabelProgress, Teacher
from understudy.teachers.output_store import (
    _CHUNK,
    _LARGEST_EPOCH,
    _MOST_CHUNKS,
    OutputStore,
    default_cache,
    encode_rows,
    teacher_fingerprint,
    valid_rows,
)

_BATCH = 512
"""Images in a forward pass while labelling. Always this many (the last batch is filled up): the same kernels, the same bits."""


class CachedTeacher(Teacher):
    """Another teacher's logits, and its embeddings where the store has room for them, each view's computed once.

    Args:
        teacher: the live one, asked for what is missing.
        batches: renders the views; must be those of the run that reads the cache.
        store: the files.
        shares: of an ensemble's members, summing to 1; ``None`` for a single network. The rows do not depend on them.
    """

    def __init__(
        self,
        teacher: Teacher,
        batches: TrainBatches,
        store: OutputStore,
        shares: Sequence[float] | None = None,
    ) -> None:
        self.teacher, self.batches, self.store, self.shares = teacher, batches, store, shares
        assert store.num_teachers == len(shares or (1.0,)), "rows as wide as there are teachers"
        self.epoch_rows: Tensor | None = None
        """fp16 ``[N, width]`` on the device; ``None`` where an epoch is too large for that."""
        self._in_file: tuple[np.memmap, Views] | None = None
        self.labelled = 0
        """Views this process has labelled so far."""

    def prepare(self, epoch: int, views: Views, progress: LabelProgress | None = None) -> None:
        """Bring together what is kept of every image's view in this epoch, labelling what no one has labelled yet."""
        policy = self.batches.policy
        rows = self.store.open(epoch)
        self._fill(rows, views, f"epoch-{epoch}-{policy.seed}", progress)
        self.epoch_rows, self._in_file = None, None
        if policy.num_images * self.store.width * 2 > _LARGEST_EPOCH:
            self._in_file = rows, views
        else:
            self.epoch_rows = self._sound(rows, views, torch.arange(policy.num_images)).to(
                self.batches.device
            )

    def read(self, epoch: int, views: Views, images: np.ndarray) -> np.ndarray:
        """uint16 ``[M, width + 1]``: what is kept, valid or not, about some images' views in this epoch."""
        return self.store.open(epoch)[self._where(views, torch.from_numpy(images))]

    def _where(self, views: Views, images: Tensor) -> np.ndarray:
        """int64 ``[M]``: the row of the view that each of these images (int64 ``[M]``) has among an epoch's ``views``."""
        number = self.store.num_views
        if number is None or number == 1:
            return images.numpy()
        return (images * number + self.batches.policy.view_ids(views[images])).numpy()

    def _sound(self, rows: np.memmap, views: Views, images: Tensor) -> Tensor:
        """fp16 ``[M, width]``: what is kept of these images' views, whose rows check.

        Raises:
            UnderstudyError: if a row was damaged after it had been checked.
        """
        found = rows[self._where(views, images)]
        if not valid_rows(found).all():
            raise UnderstudyError(
                f"the teacher cache {self.store.folder} was damaged while in use: run again with --resume"
            )
        return torch.from_numpy(found[:, :-1].copy().view(np.float16))

    def _fill(
        self, rows: np.memmap, views: Views, name: str, progress: LabelProgress | None
    ) -> None:
        """Label the images whose views are missing, sharing the work with other processes."""
        num = self.batches.policy.num_images
        size = max(_CHUNK, -(-num // _MOST_CHUNKS))
        done = 0
        waiting = [
            start for start in range(0, num, size) if len(self._missing(rows, views, start, size))
        ]
        on_device = views.to(self.batches.device)
        total = len(waiting) * size
        while waiting:
            left = []
            for start in waiting:
                try:
                    with self.store.lock(f"{name}-{start}").acquire(timeout=0):
                        self._label(rows, views, on_device, self._missing(rows, views, start, size))
                        done += size
                        if progress:
                            progress(min(done, total), total)
                except Timeout:
                    left.append(start)  # another process is at it
            if len(left) == len(waiting):
                time.sleep(0.05)
            waiting = left

    def _missing(self, rows: np.memmap, views: Views, start: int, size: int) -> Tensor:
        """int64: those of a chunk's images whose rows do not check."""
        chunk = torch.arange(start, min(start + size, self.batches.policy.num_images))
        return chunk[torch.from_numpy(~valid_rows(rows[self._where(views, chunk)]))]

    def _label(self, rows: np.memmap, views: Views, on_device: Views, missing: Tensor) -> None:
        for first in range(
            0, len(missing), _BATCH
        ):  # none at all where another process has just labelled the chunk
            part = missing[first : first + _BATCH]
            filled = torch.cat((part, part[-1:].expand(_BATCH - len(part)))).to(self.batches.device)
            values = self.kept_of(self.teacher.outputs(self.batches.render(filled, on_device)))[
                : len(part)
            ]
            rows[self._where(views, part)] = encode_rows(values)
            self.labelled += len(part)

    def outputs(self, batch: Batch) -> Outputs:
        """The kept logits (fp32 ``[B, K]``) of the batch's images under this epoch's views; no features.

        With them the embeddings (fp32 ``[B, D]``) where they are kept, and of an ensemble the members' logits, each ``[B, K]``.
        """
        return self._answer(self._rows_of(batch).float())

    def _rows_of(self, batch: Batch) -> Tensor:
        """fp16 ``[B, width]`` on the device."""
        if self._in_file is not None:
            found = self._sound(
                *self._in_file, batch.index.cpu()
            )  # on a GPU the one wait in a step, for lack of memory
            return found.to(self.batches.device)
        assert self.epoch_rows is not None, "prepare(epoch, views) comes before outputs(batch)"
        return self.epoch_rows[batch.index]

    def _answer(self, kept: Tensor) -> Outputs:
        if self.shares is not None:
            return mean_outputs(
                [Outputs(one) for one in kept.chunk(len(self.shares), 1)], self.shares
            )
        if self.store.embedding_dim:
            logits, embedding = kept.split((self.store.num_classes, self.store.embedding_dim), 1)
            return Outputs(logits, embedding=embedding)
        return Outputs(kept)

    def kept_of(self, outputs: Outputs) -> Tensor:
        """What a row keeps, ``[B, width]``: logits (of an ensemble all members' side by side), then the embedding."""
        if outputs.members:
            return torch.cat([member.logits for member in outputs.members], 1)
        if not self.store.embedding_dim:
            return outputs.logits
        assert outputs.embedding is not None, "a store is made with the teacher's own embedding_dim"
        return torch.cat((outputs.logits, outputs.embedding.float()), 1)


def keeps_embedding(needs: str, teacher: FrozenTeacher) -> bool:
    """Whether embeddings are kept beside the logits: for methods that read them, and not of several teachers."""
    return needs == "embedding" and not isinstance(teacher.model, Ensemble)


def cached(
    teacher: FrozenTeacher,
    data: TrainingData,
    batches: TrainBatches,
    cache: str | None = None,
    *,
    embedding: bool = False,
) -> CachedTeacher:
    """A teacher whose logits are kept on disk, under the fingerprint of everything they depend on.

    Args:
        teacher: the live one.
        data: training images.
        batches: the views that will be asked about.
        cache: folder of all caches; the user's cache by default.
        embedding: keep its embeddings as well; not of an ensemble.

    Raises:
        UnderstudyError: if embeddings are to be kept of a network that shows none.
    """
    policy = batches.policy
    views, num_views, width = policy.fingerprint, policy.num_views, 0
    if embedding:
        example = teacher.outputs(
            next(iter(plain_batches(data.val, data.config, 2, batches.device)))
        ).embedding
        if example is None:
            raise UnderstudyError(
                "the teacher shows no embedding: name its stages (teacher.stages), or take another method"
            )
        views, num_views, width = f"{views} seed {policy.seed}", None, example.shape[1]
    parts = {
        "teacher": teacher_fingerprint(teacher.model, teacher.description),
        "data": data.fingerprint,
        "views": views,
        "normalisation": f"{data.config.mean} {data.config.std}",
        "precision": teacher.precision,
    }
    shares = teacher.model.weights if isinstance(teacher.model, Ensemble) else None
    store = OutputStore(
        Path(cache) if cache else default_cache(),
        parts,
        len(data.train),
        data.num_classes,
        num_views,
        len(shares or (1.0,)),
        width,
    )
    return CachedTeacher(teacher, batches, store, shares)
