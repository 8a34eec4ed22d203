"""What lies in a data set that consists of image files: found and labelled, not yet decoded.

A source that reads files makes a :class:`Listing` first. The scan, the decoding and the recipe that
``understudy init`` writes start from the same one, so they agree on what is read as what.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set.

    Attributes:
        name: its path inside the data set, with slashes; in messages, and what regular expressions
            of groups are matched with.
        label: its class, in ``[0, K)``.
        split: where it belongs.
        group: images of one group (frames of a clip, pictures of one object) are never on both
            sides of a cut; empty if there are no groups.
        slice: part of the data set that results are reported by; empty if there are none.
    """

    name: str
    label: int
    split: SplitName
    group: str = ""
    slice: str = ""


@dataclass(frozen=True)
class PassedOver:
    """Files that were seen and not read.

    Attributes:
        reason: why, for instance ``not an image (.txt)`` or ``hidden``.
        count: how many.
        examples: names of the first few.
    """

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Listing:
    """All images of a data set, in a fixed order, with what was passed over.

    Attributes:
        name: of the data set.
        class_names: one for each class, in the order of the labels.
        samples: sorted by split (train, val, test), then by class, then by name.
        encoded: rows of ``samples`` to (name in messages, encoded bytes or file), in that order.
        has_own_test: whether the data set names its test images; otherwise they were cut off.
        passed_over: what was not read, and why.
        notes: sentences on what was read as what, for the person who gave the path.
    """

    name: str
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    encoded: Callable[[Sequence[int]], Iterable[tuple[str, bytes | Path]]]
    has_own_test: bool
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """int64 ``[N]``, the class of each sample."""
        return np.array([sample.label for sample in self.samples], np.int64)

    def rows_of(self, *splits: SplitName) -> np.ndarray:
        """int64, ascending: the rows of the samples in any of these splits."""
        found = [row for row, sample in enumerate(self.samples) if sample.split in splits]
        return np.array(found, np.int64)
