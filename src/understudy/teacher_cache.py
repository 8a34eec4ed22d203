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

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from understudy.data.batches import Batch, TrainBatches
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.files import write_bytes
from understudy.models.base import Outputs
from understudy.models.ensemble import pooled
from understudy.teachers import LabelProgress, Teacher

_CHUNK = 4096
"""Rows claimed and labelled together, at least; an epoch has at most ``_MOST_CHUNKS`` of them, each with a lock file."""
_MOST_CHUNKS = 65536
_BATCH = 512
"""Images in a forward pass while labelling. Always this many (the last batch is filled up): the same kernels, the same bits."""
_LARGEST_EPOCH = 2**30
"""Bytes of an epoch's logits up to which they are brought together in memory; beyond it batches read them from the file."""
_SALT = 0x5EED
PLAIN = -1
"""In place of an epoch's number: the images as they are (:meth:`understudy.data.views.ViewPolicy.plain`)."""


def teacher_fingerprint(model: nn.Module, description: str) -> str:
    """Hex digest of a network: its description (name and options) and every tensor of its state dict, bit by bit."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def default_cache() -> Path:
    """Folder of teacher outputs: ``$UNDERSTUDY_CACHE/teacher-outputs``, else in the user's cache directory."""
    from understudy.data.memmap import cache_root

    return cache_root(None) / "teacher-outputs"


class OutputStore:
    """The files of one cache: rows of fp16 logits (and embeddings) addressed by (image, view) or by (epoch, image).

    Args:
        root: folder that holds all caches.
        parts: what the logits depend on, by name.
        num_images, num_classes: N and K.
        num_views: V of a finite policy, or ``None``.
        num_teachers: how many networks' logits a row holds.
        embedding_dim: D of the embedding that follows the logits; 0 for none.

    Raises:
        UnderstudyError: if the folder holds a cache made of other parts.
    """

    def __init__(
        self,
        root: Path,
        parts: Mapping[str, str],
        num_images: int,
        num_classes: int,
        num_views: int | None,
        num_teachers: int = 1,
        embedding_dim: int = 0,
    ) -> None:
        more = (f"x{num_teachers}" if num_teachers > 1 else "") + (f"+{embedding_dim}" if embedding_dim else "")
        self.parts = dict(parts) | {"shape": f"{num_images}x{num_views}x{num_classes}{more}", "format": "1"}
        self.fingerprint = hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()
        self.folder = root / self.fingerprint[:24]
        self.num_images, self.num_classes, self.num_views = num_images, num_classes, num_views
        self.num_teachers, self.embedding_dim = num_teachers, embedding_dim
        self.width = num_teachers * num_classes + embedding_dim
        """Numbers in a row, beside its checksum."""
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = self.folder / "meta.json"
        if not meta.exists():
            content = {"parts": self.parts, "num_images": num_images, "num_classes": num_classes, "num_views": num_views}
            content |= {"num_teachers": num_teachers, "embedding_dim": embedding_dim}
            write_bytes(meta, json.dumps(content, indent=1).encode())
        check_meta(meta, self.parts)

    def open(self, epoch: int) -> np.memmap:
        """uint16 rows ``[N * V, width + 1]``, or ``[N, width + 1]`` of this epoch.

        Created, or grown to full length, where needed. The epoch ``PLAIN`` of an endless policy holds the images as they are.
        """
        rows = self.num_images * (self.num_views or 1)
        path = self.folder / ("views.bin" if self.num_views else "plain.bin" if epoch == PLAIN else f"epoch-{epoch:05d}.bin")
        width = self.width + 1
        # Open for append so that two processes creating the file together cannot cut each other's rows off.
        with open(path, "ab") as file:
            if file.tell() < rows * width * 2:
                os.truncate(path, rows * width * 2)
        return np.memmap(path, dtype=np.uint16, mode="r+", shape=(rows, width))

    def lock(self, name: str) -> FileLock:
        """A lock shared by all processes that use this cache."""
        return FileLock(self.folder / f"{name}.lock")


def check_meta(meta: Path, parts: Mapping[str, str]) -> None:
    """Refuse a cache that was made of other parts.

    Raises:
        UnderstudyError: naming the parts that differ.
    """
    try:
        found = dict(json.loads(meta.read_text())["parts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnderstudyError(f"{meta} is not a teacher cache's description: delete {meta.parent} and run again") from error
    differing = sorted(key for key in {*found, *parts} if found.get(key) != parts.get(key))
    if differing:
        raise UnderstudyError(
            f"the teacher cache {meta.parent} is of another {', '.join(differing)}: delete it or give another folder"
        )


def encode_rows(values: Tensor) -> np.ndarray:
    """uint16 ``[M, W + 1]``: fp16 bits of ``[M, W]`` logits (and embedding) and a checksum that no row of zeros has.

    Raises:
        UnderstudyError: if a value is not finite in fp16.
    """
    half = values.half()
    if not bool(torch.isfinite(half).all()):
        raise UnderstudyError(
            "the teacher's outputs are not finite in fp16: check its weights and normalisation, or set teacher.outputs=live"
        )
    bits = half.cpu().numpy().view(np.uint16)
    return np.concatenate((bits, _checksum(bits)[:, None]), axis=1)


def valid_rows(rows: np.ndarray) -> np.ndarray:
    """bool ``[M]``: which uint16 rows carry the right checksum."""
    return _checksum(rows[:, :-1]) == rows[:, -1]


def _checksum(bits: np.ndarray) -> np.ndarray:
    weights = (2 * np.arange(bits.shape[1], dtype=np.uint64) + 3) * np.uint64(0x9E37)
    return ((bits.astype(np.uint64) * weights).sum(1) % np.uint64(65521) + np.uint64(_SALT)).astype(np.uint16)


class CachedTeacher(Teacher):
    """Another teacher's logits, and its embeddings where the store has room for them, each view's computed once.

    Args:
        teacher: the live one, asked for what is missing.
        batches: renders the views; must be those of the run that reads the cache.
        store: the files.
        shares: of an ensemble's members, summing to 1; ``None`` for a single network. The rows do not depend on them.
    """

    def __init__(
        self, teacher: Teacher, batches: TrainBatches, store: OutputStore, shares: Sequence[float] | None = None
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
            self.epoch_rows = self._sound(rows, views, torch.arange(policy.num_images)).to(self.batches.device)

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
            raise UnderstudyError(f"the teacher cache {self.store.folder} was damaged while in use: run again with --resume")
        return torch.from_numpy(found[:, :-1].copy().view(np.float16))

    def _fill(self, rows: np.memmap, views: Views, name: str, progress: LabelProgress | None) -> None:
        """Label the images whose views are missing, sharing the work with other processes."""
        num = self.batches.policy.num_images
        size = max(_CHUNK, -(-num // _MOST_CHUNKS))
        done = 0
        waiting = [start for start in range(0, num, size) if len(self._missing(rows, views, start, size))]
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
        for first in range(0, len(missing), _BATCH):  # none at all where another process has just labelled the chunk
            part = missing[first : first + _BATCH]
            filled = torch.cat((part, part[-1:].expand(_BATCH - len(part)))).to(self.batches.device)
            values = self.kept_of(self.teacher.outputs(self.batches.render(filled, on_device)))[: len(part)]
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
            found = self._sound(*self._in_file, batch.index.cpu())  # on a GPU the one wait in a step, for lack of memory
            return found.to(self.batches.device)
        assert self.epoch_rows is not None, "prepare(epoch, views) comes before outputs(batch)"
        return self.epoch_rows[batch.index]

    def _answer(self, kept: Tensor) -> Outputs:
        if self.shares is not None:
            return pooled([Outputs(one) for one in kept.chunk(len(self.shares), 1)], self.shares)
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
