"""Images as one block of bytes, and a test split that stays shut until the end."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UnderstudyError

LARGEST_COPY = 2**30
"""Bytes up to which a part of a split is copied into memory; beyond it stays in its file and is read as batches need it."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 ``[N, C, H, W]``, stored as NHWC (channels-last), often a memory-mapped file.
        labels: int64 ``[N]``, each in ``[0, K)``.
        rows: int64 ``[N]``, which of a larger block of ``images`` belong to the split, in this order; ``None`` for all.
            Only a split that is too large to copy has it: read images through :meth:`gather`.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def num_bytes(self) -> int:
        """Size of the split's images."""
        return len(self) * self.images[0].numel()

    def gather(self, index: Tensor) -> Tensor:
        """uint8 ``[M, H, W, C]``: the images at these positions (int64 ``[M]``) of the split, in memory."""
        return self.images.permute(0, 2, 3, 1).index_select(
            0, index if self.rows is None else self.rows[index]
        )

    def take(self, rows: Tensor) -> "Split":
        """The split made of these positions (int64 ``[M]``): copied into memory, or by reference above 1 GiB."""
        if len(rows) * self.images[0].numel() > LARGEST_COPY:
            return Split(
                self.images, self.labels[rows], rows if self.rows is None else self.rows[rows]
            )
        return Split(self.gather(rows).permute(0, 3, 1, 2), self.labels[rows])

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray) -> "Split":
        """From uint8 NHWC images (kept as they are, memory-mapped or not) and integer labels."""
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
        return cls(tensor, torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)))


@dataclass(frozen=True, eq=False)
class SealedSplit:
    """A test split. Nothing that trains or selects accepts this type; only the final evaluation opens it."""

    _split: Split

    def __len__(self) -> int:
        return len(self._split)

    def open_for_final_evaluation(self) -> Split:
        """The images and labels, for a model that will not be changed or chosen any more."""
        return self._split


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: what may be trained on, and the sealed test split.

    Attributes:
        name: what to write beside every number (``cifar10``, ``cifar10-jpeg``, ``digits``).
        train: everything but the test images; validation is cut from it by ``splits.split_train_val``.
        test: sealed.
        class_names: one per class, index = label.
        fingerprint: hex digest of the content of both splits.
    """

    name: str
    train: Split
    test: SealedSplit
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def check_split(name: str, split: Split, num_classes: int) -> None:
    """Refuse what cannot be trained on: no images, another shape or type, labels out of range.

    Raises:
        UnderstudyError: with the split's name and what is wrong.
    """
    if len(split) == 0:
        raise UnderstudyError(f"the {name} split is empty: check the path and the split's files")
    if split.images.dtype != torch.uint8 or split.images.ndim != 4:
        raise UnderstudyError(
            f"the {name} images must be uint8 [N, C, H, W], not {split.images.dtype} {tuple(split.images.shape)}"
        )
    if split.images.shape[0] != len(split):
        raise UnderstudyError(
            f"the {name} split has {split.images.shape[0]} images but {len(split)} labels"
        )
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        bad = low if low < 0 else high
        raise UnderstudyError(
            f"label {bad} in the {name} split is out of range: there are {num_classes} classes, 0 to {num_classes - 1}"
        )
