"""Another teacher's outputs, computed once per view and read from disk afterwards.

Several processes label together: each claims chunks of images by a lock. The rows themselves are
in :mod:`understudy.teachers.output_store`.
"""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor

from understudy.config.schema import AugmentConfig
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
    NO_FEATURES,
    FeatureShapes,
    OutputStore,
    decode_rows,
    default_cache,
    encode_rows,
    row_width,
    teacher_fingerprint,
    valid_rows,
)

_BATCH = 512
"""Images in a forward pass while labelling, at most; the last batch is filled up, so that every
pass runs the same kernels and gives the same bits."""
_BATCH_PIXELS = 2**23
"""Pixels of the images in a forward pass, at most: all 512 up to 128 pixels a side."""
_CHUNK = 4096
"""Images claimed and labelled together, at least."""
_MOST_CHUNKS = 65536
"""Chunks in an epoch, at most: each has a lock file."""
_CHUNK_BYTES = 2**26
"""Of the rows of a chunk with feature maps."""
_LARGEST_EPOCH = 2**30
"""Bytes of an epoch's rows up to which they are held in memory; larger ones are read by batch."""


class CachedTeacher(Teacher):
    """Another teacher's logits, and its embeddings and feature maps if the store has room for them.

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
        self._checked: set[int] = set()  # epochs whose long rows were found complete

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        """Label what is missing of this epoch, then read all of it; see :class:`Teacher`.

        Raises:
            UnderstudyError: if an output is not finite in fp16.
        """
        policy = self.batches.policy
        drawn_in = self._drawn_in(epoch)
        rows = self.store.open(drawn_in)
        self.teacher.prepare(epoch, views, observer)
        # The checksums of feature maps take a while: once for the epochs that repeat is enough.
        if drawn_in not in self._checked:
            self._fill(rows, drawn_in, views, observer)
        if self.store.feature_shapes:
            self._checked.add(drawn_in)
        self.epoch_rows, self._in_file = None, None
        if policy.num_images * self.store.width * 2 > _LARGEST_EPOCH:
            self._in_file = rows, views
        else:
            values = self._read_checked(rows, views, torch.arange(policy.num_images))
            self.epoch_rows = values.to(self.batches.device)

    def outputs(self, batch: Batch) -> Outputs:
        """The cached logits (fp32 ``[B, K]``) of the batch's images under this epoch's views.

        In addition the embeddings (fp32 ``[B, D]``) and feature maps (fp32 ``[B, C, H, W]``) if
        they are cached, and of an ensemble the members' logits, each ``[B, K]``.
        """
        rows = self._rows_of(batch).float()
        if self.weights is not None:
            members = [Outputs(logits) for logits in rows.chunk(len(self.weights), 1)]
            return mean_outputs(members, self.weights)
        shapes = self.store.feature_shapes
        sizes = (self.store.num_classes, self.store.embedding_dim, *map(math.prod, shapes))
        logits, embedding, *maps = rows.split(sizes, 1)
        return Outputs(
            logits,
            tuple(part.unflatten(1, shape) for part, shape in zip(maps, shapes, strict=True)),
            embedding if self.store.embedding_dim else None,
        )

    def read(self, epoch: int, views: Views, images: np.ndarray) -> np.ndarray:
        """uint16 ``[M, width + 1]``: the rows, valid or not, of some images' views in an epoch."""
        rows = self.store.open(self._drawn_in(epoch))
        return rows[self._row_numbers(views, torch.from_numpy(images))]

    def row_values(self, outputs: Outputs) -> Tensor:
        """What rows hold, fp32 ``[B, width]``: logits (of an ensemble all members'), then embedding
        and feature maps."""
        if outputs.members:
            return torch.cat([member.logits for member in outputs.members], 1)
        parts = [outputs.logits]
        if self.store.embedding_dim:
            assert outputs.embedding is not None, "the store has the teacher's own embedding_dim"
            parts.append(outputs.embedding.float())
        if self.store.feature_shapes:
            parts += [feature.float().flatten(1) for feature in outputs.features]
        return torch.cat(parts, 1)

    def _drawn_in(self, epoch: int) -> int:
        """The epoch under which the store has an epoch's rows."""
        return epoch if epoch == UNAUGMENTED else self.batches.policy.drawn_in(epoch)

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
        if not self.store.feature_shapes and not valid_rows(found).all():
            raise UnderstudyError(
                f"the teacher cache {self.store.folder} was damaged while in use: "
                "run again with --resume"
            )
        return decode_rows(found)

    def _fill(self, rows: np.memmap, epoch: int, views: Views, observer: Observer) -> None:
        """Label the images whose views are missing, sharing the work with other processes."""
        policy = self.batches.policy
        size = max(self._chunk(), -(-policy.num_images // _MOST_CHUNKS))
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

    def _chunk(self) -> int:
        """Images claimed together: of long rows whole forward passes of about 64 MB."""
        if not self.store.feature_shapes:
            return _CHUNK
        passes = _CHUNK_BYTES // (2 * self.store.width * self._batch())
        return max(passes, 1) * self._batch()

    def _batch(self) -> int:
        """Images in a forward pass."""
        own = self.teacher.own if isinstance(self.teacher, FrozenTeacher) else None
        height, width = (own.image if own else self.batches.split.image).size
        return min(_BATCH, max(_BATCH_PIXELS // (height * width), 8))

    def _missing(self, rows: np.memmap, views: Views, start: int, size: int) -> Tensor:
        """int64: those of a chunk's images whose rows are empty or damaged."""
        chunk = torch.arange(start, min(start + size, self.batches.policy.num_images))
        return chunk[torch.from_numpy(~valid_rows(rows[self._row_numbers(views, chunk)]))]

    def _label(self, rows: np.memmap, views: Views, on_device: Views, missing: Tensor) -> None:
        """Compute and write the rows of these images (int64), a batch at a time."""
        size = self._batch()
        for part in missing.split(size) if len(missing) else ():
            filled = torch.cat((part, part[-1:].expand(size - len(part)))).to(self.batches.device)
            outputs = self.teacher.outputs(self.batches.render(filled, on_device))
            values = self.row_values(outputs)[: len(part)]
            rows[self._row_numbers(views, part)] = encode_rows(values)
            self.labelled += len(part)


Cached = Literal["logits", "embedding", "features"]
"""What a row holds: logits; with the embedding; with the embedding and the maps of all stages."""


def what_is_cached(
    teacher: FrozenTeacher, needs: str, outputs: str, augment: AugmentConfig
) -> Cached | None:
    """What a training caches of its teacher; ``None`` if the teacher runs in every step.

    Args:
        teacher: the network.
        needs: what is read: ``logits``, ``embedding`` or ``features``.
        outputs: ``auto`` caches logits and one teacher's embeddings, and its feature maps if the
            views repeat; ``cached`` insists on it, ``live`` caches nothing.
        augment: of the training.

    Raises:
        UnderstudyError: if ``cached`` is demanded for what cannot be cached.
    """
    if outputs == "live":
        return None
    several = isinstance(teacher.model, Ensemble)
    repeats = augment.view_epochs is not None
    if needs == "logits":
        return "logits"
    if needs == "embedding" and not several:
        return "embedding"
    if needs == "features" and not several and repeats:
        return "features"
    if outputs == "cached":
        reads = "embeddings" if needs == "embedding" else "feature maps"
        if several:
            reads = f"the {reads} of several teachers"
        way = "set teacher.outputs=live"
        if not several:
            way += ", or let the views repeat (data.augment.view_epochs)"
        raise UnderstudyError(
            "teacher.outputs=cached stores logits and one teacher's embeddings, but this "
            f"method reads {reads}: {way}"
        )
    return None


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
        teacher, needs, outputs: as for :func:`what_is_cached`.
        data, batches, cache: as for :func:`cached_teacher`.

    Raises:
        UnderstudyError: as both.
    """
    cached = what_is_cached(teacher, needs, outputs, batches.policy.config)
    if cached is None:
        return teacher
    return cached_teacher(teacher, data, batches, cache, cached)


def cached_teacher(
    teacher: FrozenTeacher,
    data: TrainingData,
    batches: TrainBatches,
    cache: str | None = None,
    cached: Cached = "logits",
) -> CachedTeacher:
    """A teacher with its cache, under the fingerprint of everything that its outputs depend on.

    Args:
        teacher: the network.
        data: training images.
        batches: render the views.
        cache: folder of all caches; :func:`~understudy.teachers.output_store.default_cache` by
            default.
        cached: what a row holds.

    Raises:
        UnderstudyError: if embeddings are to be cached of a network that shows none, or the disk
            has no room for feature maps.
    """
    policy = batches.policy
    root = Path(cache) if cache else default_cache()
    views, num_views = policy.fingerprint, policy.num_views
    width, shapes = 0, NO_FEATURES
    if cached != "logits":
        outputs = teacher.plain_outputs(data, 2, batches.device)
        width, shapes = _long_row(outputs, cached)
        views, num_views = f"{views} seed {policy.seed}", None
        require_room(outputs, cached, len(data.train), policy.config, root)
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
        root,
        parts,
        len(data.train),
        data.num_classes,
        num_views,
        len(weights or (1.0,)),
        width,
        shapes,
    )
    return CachedTeacher(teacher, batches, store, weights)


def require_room(
    outputs: Outputs, cached: Cached, num_images: int, augment: AugmentConfig, root: Path
) -> None:
    """Refuse to cache feature maps on a disk without room for them.

    Args:
        outputs: of the teacher, for any images.
        cached: what a row holds; only feature maps are large.
        num_images: of the training.
        augment: of the training: how many epochs' views there are.
        root: folder of all caches, which need not exist.

    Raises:
        UnderstudyError: with the size, and the ways to make it smaller.
    """
    if cached != "features" or augment.view_epochs is None:
        return
    width, shapes = _long_row(outputs, cached)
    numbers = row_width(outputs.logits.shape[1], 1, width, shapes)
    needed = 2 * numbers * num_images * augment.view_epochs
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UnderstudyError(
            f"the teacher's feature maps of {augment.view_epochs} epochs take "
            f"{needed / 1e9:.1f} GB in {root}, and the disk has {free / 1e9:.1f} GB free: lower "
            "data.augment.view_epochs, name fewer teacher.stages, or set teacher.outputs=live"
        )


def _long_row(outputs: Outputs, cached: Cached) -> tuple[int, FeatureShapes]:
    """Length of the embedding and shapes of the feature maps in a row.

    Raises:
        UnderstudyError: if an embedding is read and the network shows none.
    """
    embedding = outputs.embedding
    if cached == "features":
        shapes = tuple((f.shape[1], f.shape[2], f.shape[3]) for f in outputs.features)
        return 0 if embedding is None else embedding.shape[1], shapes
    if embedding is None:
        raise UnderstudyError(
            "the teacher shows no embedding: name its stages (teacher.stages), or take another "
            "method"
        )
    return embedding.shape[1], ()
