"""Another teacher's outputs, computed once per view and read from disk afterwards.

Several processes label together: each claims chunks of images by a lock. The rows themselves are
in :mod:`understudy.teachers.output_store`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor

from understudy.data.loader import Batch, TrainBatches
from understudy.data.prepare import TrainingData
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress
from understudy.models.base import Outputs
from understudy.models.ensemble import Ensemble, mean_outputs
from understudy.teachers.base import UNAUGMENTED, Teacher
from understudy.teachers.frozen import FrozenTeacher
from understudy.teachers.output_store import (
    OutputStore,
    decode_rows,
    default_cache,
    encode_rows,
    teacher_fingerprint,
    valid_rows,
)

_BATCH = 512
"""Images in a forward pass while labelling; the last batch is filled up, so that every pass runs
the same kernels and gives the same bits."""
_OWN_BATCH = 64
"""The same for a teacher with larger images of its own: as much memory at 3 times the side."""
_CHUNK = 4096
"""Images claimed and labelled together, at least."""
_MOST_CHUNKS = 65536
"""Chunks in an epoch, at most: each has a lock file."""
_LARGEST_EPOCH = 2**30
"""Bytes of an epoch's rows up to which they are held in memory; larger ones are read by batch."""


class CachedTeacher(Teacher):
    """Another teacher's logits, and its embeddings if the store has room for them.

    Args:
        teacher: computes what is missing.
        batches: render the views; must be those of the training that reads the cache.
        store: the files.
        weights: of an ensemble's members, summing to 1; ``None`` for a single network. The rows do
            not depend on them.

    Attributes:
        epoch_rows: fp16 ``[N, width]`` on the device; ``None`` if an epoch is too large for that.
        labelled: views that this process has labelled so far.
    """

    def __init__(
        self,
        teacher: Teacher,
        batches: TrainBatches,
        store: OutputStore,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.teacher, self.batches, self.store, self.weights = teacher, batches, store, weights
        assert store.num_teachers == len(weights or (1.0,)), "rows are as wide as the ensemble"
        self.epoch_rows: Tensor | None = None
        self.labelled = 0
        self._in_file: tuple[np.memmap, Views] | None = None

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        """Label what is missing of this epoch, then read all of it; see :class:`Teacher`.

        Raises:
            UnderstudyError: if an output is not finite in fp16.
        """
        policy = self.batches.policy
        rows = self.store.open(epoch)
        self.teacher.prepare(epoch, views, observer)
        self._fill(rows, epoch, views, observer)
        self.epoch_rows, self._in_file = None, None
        if policy.num_images * self.store.width * 2 > _LARGEST_EPOCH:
            self._in_file = rows, views
        else:
            values = self._read_checked(rows, views, torch.arange(policy.num_images))
            self.epoch_rows = values.to(self.batches.device)

    def outputs(self, batch: Batch) -> Outputs:
        """The cached logits (fp32 ``[B, K]``) of the batch's images under this epoch's views.

        In addition the embeddings (fp32 ``[B, D]``) if they are cached, and of an ensemble the
        members' logits, each ``[B, K]``. Never features.
        """
        rows = self._rows_of(batch).float()
        if self.weights is not None:
            members = [Outputs(logits) for logits in rows.chunk(len(self.weights), 1)]
            return mean_outputs(members, self.weights)
        if self.store.embedding_dim:
            logits, embedding = rows.split((self.store.num_classes, self.store.embedding_dim), 1)
            return Outputs(logits, embedding=embedding)
        return Outputs(rows)

    def read(self, epoch: int, views: Views, images: np.ndarray) -> np.ndarray:
        """uint16 ``[M, width + 1]``: the rows, valid or not, of some images' views in an epoch."""
        return self.store.open(epoch)[self._row_numbers(views, torch.from_numpy(images))]

    def row_values(self, outputs: Outputs) -> Tensor:
        """What rows hold, ``[B, width]``: logits (of an ensemble all members'), then embedding."""
        if outputs.members:
            return torch.cat([member.logits for member in outputs.members], 1)
        if not self.store.embedding_dim:
            return outputs.logits
        assert outputs.embedding is not None, "the store has the teacher's own embedding_dim"
        return torch.cat((outputs.logits, outputs.embedding.float()), 1)

    def _rows_of(self, batch: Batch) -> Tensor:
        """fp16 ``[B, width]`` on the device."""
        if self._in_file is not None:
            rows, views = self._in_file
            # On a GPU the one wait in a step, for lack of memory.
            return self._read_checked(rows, views, batch.index.cpu()).to(self.batches.device)
        assert self.epoch_rows is not None, "prepare(epoch, views) comes before outputs(batch)"
        return self.epoch_rows[batch.index]

    def _row_numbers(self, views: Views, images: Tensor) -> np.ndarray:
        """int64 ``[M]``: the rows of these images (int64 ``[M]``) under an epoch's ``views``."""
        number = self.store.num_views
        if number is None or number == 1:
            return images.numpy()
        return (images * number + self.batches.policy.view_ids(views[images])).numpy()

    def _read_checked(self, rows: np.memmap, views: Views, images: Tensor) -> Tensor:
        """fp16 ``[M, width]``: the values of these images' views.

        Raises:
            UnderstudyError: if a row was damaged after it had been labelled.
        """
        found = rows[self._row_numbers(views, images)]
        if not valid_rows(found).all():
            raise UnderstudyError(
                f"the teacher cache {self.store.folder} was damaged while in use: "
                "run again with --resume"
            )
        return decode_rows(found)

    def _fill(self, rows: np.memmap, epoch: int, views: Views, observer: Observer) -> None:
        """Label the images whose views are missing, sharing the work with other processes."""
        policy = self.batches.policy
        size = max(_CHUNK, -(-policy.num_images // _MOST_CHUNKS))
        starts = range(0, policy.num_images, size)
        waiting = [start for start in starts if len(self._missing(rows, views, start, size))]
        on_device = views.to(self.batches.device)
        done, total = 0, len(waiting) * size
        number = None if epoch == UNAUGMENTED else epoch
        while waiting:
            left = []
            for start in waiting:
                try:
                    with self.store.lock(f"epoch-{epoch}-{policy.seed}-{start}").acquire(timeout=0):
                        # None at all if another process has just labelled the chunk.
                        self._label(rows, views, on_device, self._missing(rows, views, start, size))
                        done += size
                        observer.progress(Progress("label", min(done, total), total, number))
                except Timeout:
                    left.append(start)  # another process is labelling it
            if len(left) == len(waiting):
                time.sleep(0.05)
            waiting = left

    def _missing(self, rows: np.memmap, views: Views, start: int, size: int) -> Tensor:
        """int64: those of a chunk's images whose rows are empty or damaged."""
        chunk = torch.arange(start, min(start + size, self.batches.policy.num_images))
        return chunk[torch.from_numpy(~valid_rows(rows[self._row_numbers(views, chunk)]))]

    def _label(self, rows: np.memmap, views: Views, on_device: Views, missing: Tensor) -> None:
        """Compute and write the rows of these images (int64), a batch at a time."""
        is_own = isinstance(self.teacher, FrozenTeacher) and self.teacher.own is not None
        size = _OWN_BATCH if is_own else _BATCH
        for part in missing.split(size) if len(missing) else ():
            filled = torch.cat((part, part[-1:].expand(size - len(part)))).to(self.batches.device)
            outputs = self.teacher.outputs(self.batches.render(filled, on_device))
            values = self.row_values(outputs)[: len(part)]
            rows[self._row_numbers(views, part)] = encode_rows(values)
            self.labelled += len(part)


def caches_embedding(needs: str, teacher: FrozenTeacher) -> bool:
    """Whether embeddings are cached with the logits: if they are read, but not of an ensemble."""
    return needs == "embedding" and not isinstance(teacher.model, Ensemble)


def live_or_cached(
    teacher: FrozenTeacher,
    needs: str,
    outputs: str,
    data: TrainingData,
    batches: TrainBatches,
    cache: str | None,
) -> Teacher:
    """The teacher itself, or a cache of what a training reads of it.

    Args:
        teacher: the network.
        needs: what is read: ``logits``, ``embedding`` or ``features``.
        outputs: ``auto`` caches logits and embeddings, ``cached`` insists on it, ``live`` caches
            nothing.
        data, batches, cache: as for :func:`cached_teacher`.

    Raises:
        UnderstudyError: if ``cached`` is demanded for what cannot be cached.
    """
    if runs_live(teacher, needs, outputs):
        return teacher
    embedding = caches_embedding(needs, teacher)
    return cached_teacher(teacher, data, batches, cache, embedding=embedding)


def runs_live(teacher: FrozenTeacher, needs: str, outputs: str) -> bool:
    """Whether the teacher runs in every step; otherwise its outputs are read from a cache.

    Args:
        teacher, needs, outputs: as for :func:`live_or_cached`.

    Raises:
        UnderstudyError: if ``cached`` is demanded for what cannot be cached.
    """
    embedding = caches_embedding(needs, teacher)
    cannot_be_cached = needs == "features" or (needs == "embedding" and not embedding)
    if cannot_be_cached and outputs == "cached":
        reads = "the embeddings of several teachers" if needs == "embedding" else "feature maps"
        raise UnderstudyError(
            "teacher.outputs=cached stores logits and one teacher's embeddings, but this "
            f"method reads {reads}: set teacher.outputs=live"
        )
    return cannot_be_cached or outputs == "live"


def cached_teacher(
    teacher: FrozenTeacher,
    data: TrainingData,
    batches: TrainBatches,
    cache: str | None = None,
    *,
    embedding: bool = False,
) -> CachedTeacher:
    """A teacher with its cache, under the fingerprint of everything that its outputs depend on.

    Args:
        teacher: the network.
        data: training images.
        batches: render the views.
        cache: folder of all caches; :func:`~understudy.teachers.output_store.default_cache` by
            default.
        embedding: cache its embeddings as well; not of an ensemble.

    Raises:
        UnderstudyError: if embeddings are to be cached of a network that shows none.
    """
    policy = batches.policy
    views, num_views, width = policy.fingerprint, policy.num_views, 0
    if embedding:
        shown = teacher.plain_outputs(data, 2, batches.device).embedding
        if shown is None:
            raise UnderstudyError(
                "the teacher shows no embedding: name its stages (teacher.stages), "
                "or take another method"
            )
        views, num_views, width = f"{views} seed {policy.seed}", None, shown.shape[1]
    parts = {
        "teacher": teacher_fingerprint(teacher.model, teacher.description),
        "data": data.fingerprint,
        "views": views,
        "normalisation": f"{data.config.mean} {data.config.std}",
        "precision": teacher.precision,
    }
    if teacher.own is not None:
        parts["images"] = teacher.own.fingerprint
    weights = teacher.model.weights if isinstance(teacher.model, Ensemble) else None
    store = OutputStore(
        Path(cache) if cache else default_cache(),
        parts,
        len(data.train),
        data.num_classes,
        num_views,
        len(weights or (1.0,)),
        width,
    )
    return CachedTeacher(teacher, batches, store, weights)
