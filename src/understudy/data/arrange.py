"""From labelled files to a listing: groups and slices, a test cut if there is none, the order."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from understudy.data.listing import SPLIT_NAMES, Listing, PassedOver, Sample
from understudy.data.names import counted, listed, normalised, shown
from understudy.data.options import SourceOptions
from understudy.data.splits import TEST_FRACTION, TEST_SEED, cut_test
from understudy.data.tree import Encoded
from understudy.errors import UnderstudyError

OTHER_SLICE = "other"
"""The slice of images that ``data.report_by`` does not match."""
_RANK = {split: rank for rank, split in enumerate(SPLIT_NAMES)}


def arranged(
    name: str,
    class_names: tuple[str, ...],
    samples: Sequence[Sample],
    encoded: Encoded,
    options: SourceOptions,
    *,
    passed_over: tuple[PassedOver, ...] = (),
    notes: Sequence[str] = (),
) -> Listing:
    """A listing of labelled images.

    Args:
        name: of the data set.
        class_names: one for each label.
        samples: in any order. If none is of the test split, a stratified fifth of those of the
            training split is cut off, with a fixed seed, whole groups at a time.
        encoded: positions in ``samples`` to files.
        options: ``group_by`` and ``report_by`` replace groups and slices of the samples.
        passed_over, notes: so far.

    Raises:
        UnderstudyError: if there is one class, a pattern matches nothing, or a test split cannot
            be cut off.
    """
    if len(class_names) < 2:
        raise UnderstudyError(
            f"all images of {shown(name)} are of one class ({listed(class_names)}): at least two "
            "classes are needed"
        )
    found, of_patterns = _by_patterns(samples, options)
    notes = [*notes, *of_patterns]
    # Alphabetical by folder, then by file, as a sorted list of paths is.
    order = sorted(range(len(found)), key=lambda row: _place(found[row]))
    ordered = [found[row] for row in order]
    has_own_test = any(sample.split == "test" for sample in ordered)
    if not has_own_test:
        ordered, note = _with_test_cut(ordered, class_names)
        notes.append(note)
        by_split = sorted(range(len(ordered)), key=lambda row: _RANK[ordered[row].split])
        order = [order[row] for row in by_split]
        ordered = [ordered[row] for row in by_split]
    return Listing(
        name,
        class_names,
        tuple(ordered),
        _reordered(encoded, order),
        has_own_test,
        passed_over,
        (*notes, *_torn_groups(ordered)),
    )


def _by_patterns(
    samples: Sequence[Sample], options: SourceOptions
) -> tuple[list[Sample], list[str]]:
    """The samples with groups and slices from their names, and sentences on them."""
    found, notes = list(samples), []
    if options.group_by is not None:
        groups = _matches("group_by", options.group_by, found)
        found = [
            replace(sample, group=group or sample.name)
            for sample, group in zip(found, groups, strict=True)
        ]
        number = counted(len(set(groups) - {""}), "group")
        notes.append(f"data.group_by makes {number}{_without(groups, 'each on its own')}")
    if options.report_by is not None:
        slices = _matches("report_by", options.report_by, found)
        found = [
            replace(sample, slice=part or OTHER_SLICE)
            for sample, part in zip(found, slices, strict=True)
        ]
        names = listed(sorted(set(slices) - {""}))
        notes.append(f"results are reported by {names}{_without(slices, OTHER_SLICE)}")
    return found, notes


def _place(sample: Sample) -> tuple[int, int, str]:
    return _RANK[sample.split], sample.label, sample.name.replace("/", "\0")


def _reordered(encoded: Encoded, order: Sequence[int]) -> Encoded:
    return lambda rows: encoded([order[row] for row in rows])


def _matches(key: str, pattern: str, samples: Sequence[Sample]) -> list[str]:
    """What matches in each name, empty where nothing does: the first group in parentheses if the
    pattern has one."""
    compiled = re.compile(pattern)
    found = [compiled.search(normalised(sample.name)) for sample in samples]
    texts = [(match[1 if compiled.groups else 0] or "") if match else "" for match in found]
    if not any(texts):
        raise UnderstudyError(
            f"data.{key} {pattern!r} matches none of the images: it is searched for in paths such "
            f"as {shown(samples[0].name)}"
        )
    return texts


def _without(matches: Sequence[str], what: str) -> str:
    unmatched = matches.count("")
    return f"; {counted(unmatched, 'image')} without a match: {what}" if unmatched else ""


def _with_test_cut(
    samples: Sequence[Sample], class_names: tuple[str, ...]
) -> tuple[list[Sample], str]:
    """The samples, a fifth of those to train on now to test on, and a sentence on it."""
    rows = [row for row, sample in enumerate(samples) if sample.split == "train"]
    labels = np.array([samples[row].label for row in rows], np.int64)
    groups = group_numbers([samples[row] for row in rows])
    _, cut = cut_test(labels, groups, class_names)
    changed = list(samples)
    for position in cut:
        row = rows[position]
        changed[row] = replace(samples[row], split="test")
    whole = "" if groups is None else ", whole groups at a time"
    return changed, (
        f"there is no test split: {len(cut):,} of {len(rows):,} training images "
        f"({TEST_FRACTION:.0%} of each class, seed {TEST_SEED}{whole}) are cut off as one"
    )


def group_numbers(samples: Sequence[Sample]) -> np.ndarray | None:
    """int64 ``[N]``, equal for samples of one group; ``None`` if there are no groups."""
    if not any(sample.group for sample in samples):
        return None
    names = [sample.group or f"\0{sample.name}" for sample in samples]
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _torn_groups(samples: Sequence[Sample]) -> list[str]:
    """A note if groups are on both sides of the data set's own splits."""
    pairs = {(sample.group, sample.split) for sample in samples if sample.group}
    counts = Counter(group for group, _ in pairs)
    torn = sorted(group for group, count in counts.items() if count > 1)
    if not torn:
        return []
    return [f"{len(torn):,} groups have images in more than one split: {listed(torn, 3)}"]
