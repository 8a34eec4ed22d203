"""Rows of teacher outputs on disk, one per (image, view), each with its checksum."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.files import write_bytes

_CHUNK = 4096
"""Rows claimed and labelled together, at least; an epoch has at most ``_MOST_CHUNKS`` of them, each with a lock file."""
_MOST_CHUNKS = 65536
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
    from understudy.data.image_cache import cache_root

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
        more = (f"x{num_teachers}" if num_teachers > 1 else "") + (
            f"+{embedding_dim}" if embedding_dim else ""
        )
        self.parts = dict(parts) | {
            "shape": f"{num_images}x{num_views}x{num_classes}{more}",
            "format": "1",
        }
        self.fingerprint = hashlib.sha256(
            json.dumps(self.parts, sort_keys=True).encode()
        ).hexdigest()
        self.folder = root / self.fingerprint[:24]
        self.num_images, self.num_classes, self.num_views = num_images, num_classes, num_views
        self.num_teachers, self.embedding_dim = num_teachers, embedding_dim
        self.width = num_teachers * num_classes + embedding_dim
        """Numbers in a row, beside its checksum."""
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = self.folder / "meta.json"
        if not meta.exists():
            content = {
                "parts": self.parts,
                "num_images": num_images,
                "num_classes": num_classes,
                "num_views": num_views,
            }
            content |= {"num_teachers": num_teachers, "embedding_dim": embedding_dim}
            write_bytes(meta, json.dumps(content, indent=1).encode())
        check_meta(meta, self.parts)

    def open(self, epoch: int) -> np.memmap:
        """uint16 rows ``[N * V, width + 1]``, or ``[N, width + 1]`` of this epoch.

        Created, or grown to full length, where needed. The epoch ``PLAIN`` of an endless policy holds the images as they are.
        """
        rows = self.num_images * (self.num_views or 1)
        path = self.folder / (
            "views.bin"
            if self.num_views
            else "plain.bin"
            if epoch == PLAIN
            else f"epoch-{epoch:05d}.bin"
        )
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
        raise UnderstudyError(
            f"{meta} is not a teacher cache's description: delete {meta.parent} and run again"
        ) from error
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
    return ((bits.astype(np.uint64) * weights).sum(1) % np.uint64(65521) + np.uint64(_SALT)).astype(
        np.uint16
    )
