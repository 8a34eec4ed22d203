"""Images as one block of bytes, and a test split that only the final evaluation opens."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.data.inspection import Inspection
from understudy.data.reading import Reading
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError

LARGEST_COPY = 2**30
"""Bytes up to which a part of a split is copied into memory; a larger one is read from its file,
batch by batch."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 ``[N, C, H, W]``, stored as NHWC (channels-last), often a memory-mapped file.
        labels: int64 ``[N]``, each in ``[0, K)``.
        rows: int64 ``[N]``, which of a larger block of ``images`` belong to the split, in this
            order; ``None`` for all. Only a split that is too large to copy has it: read images
            through :meth:`gather`.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def image(self) -> ImageSpec:
        """The shape of one image."""
        return ImageSpec.of(self.images.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Size of the split's images."""
        return len(self) * self.images[0].numel()

    def gather(self, index: Tensor) -> Tensor:
        """The images at these positions (int64 ``[M]``), in memory: uint8 ``[M, H, W, C]``."""
        rows = index if self.rows is None else self.rows[index]
        return self.images.permute(0, 2, 3, 1).index_select(0, rows)

    def take(self, rows: Tensor) -> "Split":
        """The split of these positions (int64 ``[M]``): a copy, or a reference above 1 GiB."""
        if len(rows) * self.images[0].numel() > LARGEST_COPY:
            chosen = rows if self.rows is None else self.rows[rows]
            return Split(self.images, self.labels[rows], chosen)
        return Split(self.gather(rows).permute(0, 3, 1, 2), self.labels[rows])

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray) -> "Split":
        """From uint8 NHWC images (not copied, memory-mapped or not) and integer labels."""
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
        return cls(tensor, torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)))


@dataclass(frozen=True, eq=False)
class SealedSplit:
    """A test split. Only the final evaluation opens it: training and selection take a Split."""

    _split: Split

    def __len__(self) -> int:
        return len(self._split)

    def class_counts(self, num_classes: int) -> list[int]:
        """How many images each class has, which tells nothing of any image."""
        counts: list[int] = self._split.labels.bincount(minlength=num_classes).tolist()
        return counts

    def open_for_final_evaluation(self) -> Split:
        """The images and labels, for a model that is no longer changed or selected."""
        return self._split


class LabelledImages:
    """What a data set and the part of it that is trained on have in common."""

    train: Split
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image(self) -> ImageSpec:
        """The shape of one image."""
        return self.train.image

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.image.shape


@dataclass(frozen=True, eq=False)
class Dataset(LabelledImages):
    """A named data set: what may be trained on, and the sealed test split.

    Attributes:
        name: what to write next to every number (``cifar10``, ``cifar10-jpeg``, ``digits``).
        train: everything but the test images; ``prepare.split_dataset`` takes validation from it.
        test: sealed.
        class_names: one per class, index = label.
        fingerprint: hex digest of the content of both splits.
        annotations: own validation images, groups and slices.
        inspection: what was found while the files were read; ``None`` for sources without image
            files.
        reading: how it was read; ``None`` for images that were made in memory.
    """

    name: str
    train: Split
    test: SealedSplit
    class_names: tuple[str, ...]
    fingerprint: str
    annotations: Annotations = NO_ANNOTATIONS
    inspection: Inspection | None = None
    reading: Reading | None = None


def check_split(name: str, split: Split, num_classes: int) -> None:
    """Refuse what cannot be trained on: no images, another shape or type, labels out of range.

    Raises:
        UnderstudyError: with the split's name and what is wrong.
    """
    if len(split) == 0:
        raise UnderstudyError(f"the {name} split is empty: check the path and the split's files")
    if split.images.dtype != torch.uint8 or split.images.ndim != 4:
        raise UnderstudyError(
            f"the {name} images must be uint8 [N, C, H, W], "
            f"not {split.images.dtype} {tuple(split.images.shape)}"
        )
    if split.images.shape[0] != len(split):
        raise UnderstudyError(
            f"the {name} split has {split.images.shape[0]} images but {len(split)} labels"
        )
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        bad = low if low < 0 else high
        raise UnderstudyError(
            f"label {bad} in the {name} split is out of range: "
            f"there are {num_classes} classes, 0 to {num_classes - 1}"
        )
