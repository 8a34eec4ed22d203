"""From what was read of each image to what is worth knowing of the data set as a whole."""

import math
from collections.abc import Sequence

import numpy as np

from understudy.data.advice import Findings, remarks, warnings
from understudy.data.clips import clip_pattern
from understudy.data.duplicates import exact_groups, near_groups
from understudy.data.facts import Facts
from understudy.data.inspection import ClassCounts, Duplicates, Inspection, SizeRange
from understudy.data.listing import SPLIT_NAMES, Listing
from understudy.data.names import shown
from understudy.data.scan import Scan

_MOST_GROUPS = 100
"""Groups of duplicates that are listed."""
_MOST_NAMES = 6
"""Names of a group that are listed."""


def inspect_listing(
    listing: Listing,
    scan: Scan,
    *,
    size: tuple[int, int] | None = None,
    skipped_bad: bool = False,
) -> Inspection:
    """What a data set holds, with warnings.

    Args:
        listing: all its images.
        scan: what reading them showed; the facts of a run that decodes them do as well.
        size: (height, width) that images will be brought to; ``None`` if they keep their own.
        skipped_bad: unreadable images are left out.
    """
    facts = scan.facts
    split = np.array([SPLIT_NAMES.index(sample.split) for sample in listing.samples], np.int64)
    labels = listing.labels
    classes = _class_counts(listing.class_names, labels[facts.is_read], split[facts.is_read])
    by_kind = {"exact": exact_groups(facts), "near": near_groups(facts)}
    found = Findings(listing, scan, classes, by_kind, split, labels, size, skipped_bad)
    clip = clip_pattern(listing.samples)
    return Inspection(
        name=listing.name,
        notes=listing.notes,
        classes=classes,
        sizes=_size_range(facts),
        modes=_counted(facts.modes, facts.mode[facts.is_read]),
        formats=_counted(facts.formats, facts.format[facts.is_read]),
        turned=int((facts.orientation > 1).sum()),
        animated=int((facts.frames > 1).sum()),
        unreadable=scan.bad,
        skipped_bad=skipped_bad,
        passed_over=listing.passed_over,
        duplicates=_duplicates(found),
        num_duplicates=_count_duplicates(found),
        clip=clip,
        warnings=warnings(found, clip),
        remarks=remarks(found, clip),
    )


def _class_counts(
    names: Sequence[str], labels: np.ndarray, split: np.ndarray
) -> tuple[ClassCounts, ...]:
    counts = np.zeros((len(names), len(SPLIT_NAMES)), np.int64)
    np.add.at(counts, (labels, split), 1)
    return tuple(ClassCounts(n, *map(int, row)) for n, row in zip(names, counts, strict=True))


def _size_range(facts: Facts) -> SizeRange | None:
    """Sizes of the readable images; the median of an even number is the lower one."""
    sides = facts.width[facts.is_read], facts.height[facts.is_read]
    if not len(sides[0]):
        return None
    middle = math.ceil(len(sides[0]) / 2) - 1
    width, height = (np.sort(side) for side in sides)
    return SizeRange(
        smallest=(int(width[0]), int(height[0])),
        median=(int(width[middle]), int(height[middle])),
        largest=(int(width[-1]), int(height[-1])),
        distinct=len(np.unique(sides[0].astype(np.int64) << 32 | sides[1])),
    )


def _counted(names: Sequence[str], codes: np.ndarray) -> dict[str, int]:
    """Name -> how often its position occurs, the most frequent first."""
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return {names[code]: int(counts[code]) for code in order if counts[code]}


# -- duplicates ------------------------------------------------------------------------------------


def _duplicates(found: Findings) -> tuple[Duplicates, ...]:
    """The groups as records: exact ones first, then serious ones, then the largest."""
    records = [
        _record(found, kind, rows) for kind, groups in found.groups.items() for rows in groups
    ]
    records.sort(key=lambda group: (group.kind, not group.is_serious, -group.count, group.names))
    return tuple(records[:_MOST_GROUPS])


def _record(found: Findings, kind: str, rows: np.ndarray) -> Duplicates:
    # One image of each split and class comes first: those show what is wrong.
    pairs = np.stack([found.split[rows], found.labels[rows]], 1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    order = [*first, *np.setdiff1d(np.arange(len(rows)), first)]
    names = found.names(rows[order[:_MOST_NAMES]])
    splits = tuple(SPLIT_NAMES[code] for code in np.unique(found.split[rows]))
    classes = [found.listing.class_names[label] for label in np.unique(found.labels[rows])]
    return Duplicates(kind, names, len(rows), splits, tuple(map(shown, classes)))


def _count_duplicates(found: Findings) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind, groups in found.groups.items():
        for rows in groups:
            splits = np.unique(found.split[rows])
            place = "across splits" if len(splits) > 1 else f"within {SPLIT_NAMES[splits[0]]}"
            counts[f"{kind} {place}"] = counts.get(f"{kind} {place}", 0) + len(rows)
    return counts
