"""Rows of teacher outputs on disk, one per (image, view), each with its checksum.

A policy with finitely many views (crop and flip: 162) has one file with a row for every image and
view. A policy with endlessly many (mixing, photometric changes) has a file per epoch of its seed.
A row holds fp16 logits (of an ensemble those of every member: they are exact at any temperature,
their mean is not), the pooled embedding for methods that read it, and a checksum. A file can
therefore be cut off, half written or damaged by a killed process: rows with a wrong checksum are
computed again, the others stay.

Rows with an embedding or with feature maps are long. They have a file per epoch as well: the rows
of a few epochs, spread over the places of all views, would leave most of every disk block empty.

The folder's name is the fingerprint of everything that the outputs depend on (teacher weights and
architecture, data, views, normalisation, precision). ``meta.json`` holds these parts, so that a
cache made of others is refused with a reason.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.files import write_bytes
from understudy.teachers.base import UNAUGMENTED

FeatureShapes = tuple[tuple[int, int, int], ...]
"""(C, H, W) of each feature map."""
NO_FEATURES: FeatureShapes = ()

_SALT = 0x5EED
_CHECKED_AT_ONCE = 2**22
"""Numbers whose checksums are computed together: rows with feature maps are long."""


def teacher_fingerprint(model: nn.Module, description: str) -> str:
    """Hex digest of a network: its description, and every tensor of its state dict bit by bit."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def default_cache() -> Path:
    """Folder of all caches: ``teacher-outputs`` in ``$UNDERSTUDY_CACHE`` or the user's cache."""
    from understudy.data.image_cache import cache_root

    return cache_root(None) / "teacher-outputs"


class OutputStore:
    """The files of one cache: rows addressed by (image, view) or by (epoch, image).

    Args:
        root: folder that holds all caches.
        parts: what the outputs depend on, by name.
        num_images, num_classes: N and K.
        num_views: V of a finite policy, or ``None``.
        num_teachers: networks whose logits a row holds.
        embedding_dim: D of the embedding that follows the logits; 0 without one.
        feature_shapes: (C, H, W) of the feature maps that follow, shallow to deep.

    Attributes:
        folder: of this cache.
        width: numbers in a row, without its checksum.

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
        feature_shapes: FeatureShapes = (),
    ) -> None:
        shape = f"{num_images}x{num_views}x{num_classes}"
        if num_teachers > 1:
            shape += f"x{num_teachers}"
        if embedding_dim:
            shape += f"+{embedding_dim}"
        for feature in feature_shapes:
            shape += "+" + "x".join(map(str, feature))
        self.parts = dict(parts) | {"shape": shape, "format": "1"}
        described = json.dumps(self.parts, sort_keys=True).encode()
        self.fingerprint = hashlib.sha256(described).hexdigest()
        self.folder = root / self.fingerprint[:24]
        self.num_images, self.num_classes, self.num_views = num_images, num_classes, num_views
        self.num_teachers, self.embedding_dim = num_teachers, embedding_dim
        self.feature_shapes = feature_shapes
        self.width = row_width(num_classes, num_teachers, embedding_dim, feature_shapes)
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = self.folder / "meta.json"
        if not meta.exists():
            content: dict[str, object] = {
                "parts": self.parts,
                "num_images": num_images,
                "num_classes": num_classes,
                "num_views": num_views,
                "num_teachers": num_teachers,
                "embedding_dim": embedding_dim,
            }
            if feature_shapes:
                content["feature_shapes"] = feature_shapes
            write_bytes(meta, json.dumps(content, indent=1).encode())
        check_meta(meta, self.parts)

    def open(self, epoch: int) -> np.memmap:
        """uint16 rows of a finite policy ``[N * V, width + 1]``, or of an epoch ``[N, width + 1]``.

        The file is created, or extended to full length, if needed.

        Args:
            epoch: from 0, or ``UNAUGMENTED``.
        """
        path = self.folder / self._file_name(epoch)
        rows, width = self.num_images * (self.num_views or 1), self.width + 1
        # Open for append: two processes that create the file together cannot cut off each other's
        # rows.
        with open(path, "ab") as file:
            if file.tell() < rows * width * 2:
                os.truncate(path, rows * width * 2)
        return np.memmap(path, dtype=np.uint16, mode="r+", shape=(rows, width))

    def _file_name(self, epoch: int) -> str:
        if self.num_views:
            return "views.bin"
        return "plain.bin" if epoch == UNAUGMENTED else f"epoch-{epoch:05d}.bin"

    def lock(self, name: str) -> FileLock:
        """A lock shared by all processes that use this cache."""
        return FileLock(self.folder / f"{name}.lock")


def row_width(
    num_classes: int, num_teachers: int, embedding_dim: int, feature_shapes: FeatureShapes
) -> int:
    """Numbers in a row, without its checksum."""
    maps = sum(math.prod(shape) for shape in feature_shapes)
    return num_teachers * num_classes + embedding_dim + maps


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
            f"the teacher cache {meta.parent} was made with another {', '.join(differing)}: "
            "delete it or give another folder"
        )


def encode_rows(values: Tensor) -> np.ndarray:
    """uint16 ``[M, W + 1]``: fp16 bits of ``[M, W]`` logits (and embedding), and a checksum.

    No row of zeros has the right checksum, so an empty row is never valid.

    Raises:
        UnderstudyError: if a value is not finite in fp16.
    """
    half = values.half()
    if not bool(torch.isfinite(half).all()):
        raise UnderstudyError(
            "the teacher's outputs are not finite in fp16: check its weights and normalisation, "
            "or set teacher.outputs=live"
        )
    bits = half.cpu().numpy().view(np.uint16)
    return np.concatenate((bits, _checksum(bits)[:, None]), axis=1)


def decode_rows(rows: np.ndarray) -> Tensor:
    """fp16 ``[M, W]``: the values of uint16 rows ``[M, W + 1]``, without their checksums."""
    return torch.from_numpy(rows[:, :-1].copy().view(np.float16))


def valid_rows(rows: np.ndarray) -> np.ndarray:
    """bool ``[M]``: which uint16 rows have the right checksum."""
    valid: np.ndarray = _checksum(rows[:, :-1]) == rows[:, -1]
    return valid


def _checksum(bits: np.ndarray) -> np.ndarray:
    """uint16 ``[M]`` of uint16 rows ``[M, W]``."""
    weights = (2 * np.arange(bits.shape[1], dtype=np.uint64) + 3) * np.uint64(0x9E37)
    sums = np.empty(len(bits), np.uint64)
    step = max(_CHECKED_AT_ONCE // bits.shape[1], 1)
    for start in range(0, len(bits), step):
        part = slice(start, start + step)
        sums[part] = (bits[part].astype(np.uint64) * weights).sum(1)
    return (sums % np.uint64(65521) + np.uint64(_SALT)).astype(np.uint16)
