"""Names that look like frames of one clip: such images belong on one side of a split."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.data.listing import Sample

_FEWEST_GROUPS = 3
"""Groups of a class, so that training, validation and test images can get one each."""
_MOST_OF_A_CLASS = 0.5
"""Share of a class in its largest group: a prefix that covers more is the class's own name, or that
of a camera."""


@dataclass(frozen=True)
class _Naming:
    """A way to name frames.

    Attributes:
        pattern: for ``data.group_by``, its first group is what frames of a clip share.
        least_share: of the images that must be in groups of several.
        sign: regular expression that must match in a name of a group, or it does not count.
        numbered: what a group shares must hold a digit, as names of clips do: ``cam3``,
            ``video01``, but not ``airplane`` or ``street``.
    """

    pattern: str
    least_share: float
    sign: str = ""
    numbered: bool = True


_NAMINGS = (
    # cam3_000123.jpg, video01_frame_0005.png, patient12-scan3.png
    _Naming(r"([^/]*?\d[^/]*?)[ _.-]+[A-Za-z]{0,8}[ _.-]?\d+\.[^./]+$", 0.5),
    # clip7/0001.jpg
    _Naming(r"(.+)/[^/]*\d\.[^./]+$", 0.5),
    # IMG_1234.jpg and IMG_1234 (2).jpg, IMG_1234 - Copy.jpg
    _Naming(
        r"([^/]+/[^/]+?)(?: ?\(\d+\)| - Copy| copy)*\.[^./]+$",
        least_share=0.01,
        sign=r"( ?\(\d+\)| - Copy| copy)\.[^./]+$",
        numbered=False,
    ),
)


def clip_pattern(samples: Sequence[Sample]) -> str | None:
    """A regular expression for ``data.group_by``; ``None`` if names do not look like clips.

    Running numbers of a camera (``IMG_0001`` to ``IMG_0900``) and of a class (``ants_000123``) do
    not: their prefix would cover a whole class. Each class must have three groups or more, most of
    the images must be in groups of several, and a group holds at most half of a class.

    Args:
        samples: all images of the data set.
    """
    if any(sample.group for sample in samples):
        return None
    names = [sample.name for sample in samples]
    labels = np.array([sample.label for sample in samples], np.int64)
    found = (naming.pattern for naming in _NAMINGS if _fits(naming, names, labels))
    return next(found, None)


def groups_of(pattern: str, names: Sequence[str]) -> list[str]:
    """What the pattern's first group matches in each name; of a name without a match, all of it."""
    search = re.compile(pattern).search
    found = [(name, search(name)) for name in names]
    return [match[1] if match else name for name, match in found]


def _fits(naming: _Naming, names: Sequence[str], labels: np.ndarray) -> bool:
    groups = groups_of(naming.pattern, names)
    sizes = Counter(groups)
    signed = {g for g, name in zip(groups, names, strict=True) if re.search(naming.sign, name)}
    several = [group for group in groups if sizes[group] > 1 and group in signed]
    if len(several) < max(2, naming.least_share * len(names)):
        return False
    own_parts = (group.rpartition("/")[2] for group in several)
    if naming.numbered and not all(re.search(r"\d", part) for part in own_parts):
        return False
    number = np.unique(groups, return_inverse=True)[1]
    for label in np.unique(labels):
        _, held = np.unique(number[labels == label], return_counts=True)
        if len(held) < _FEWEST_GROUPS or held.max() > _MOST_OF_A_CLASS * held.sum():
            return False
    return True
