"""Sentences on a data set: what spoils a training or its measurement, and what is good to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from understudy.data.clips import groups_of
from understudy.data.inspection import BadImage, ClassCounts, too_small
from understudy.data.listing import SPLIT_NAMES, Listing, SplitName
from understudy.data.names import counted, listed, shown
from understudy.data.scan import Scan

_SHOWN = 3
"""Examples in a sentence."""
_SKEWED = 10
"""Times as many training images in the largest class as in the smallest."""
_TELLING = 0.5
"""Difference of two classes in their shares of grey images, from which grey tells the class."""
_GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I", "F")


@dataclass(frozen=True, eq=False)
class Findings:
    """What the sentences are made of.

    Attributes:
        listing, scan: all images, and what reading them showed.
        classes: counts of readable images.
        groups: ``exact`` and ``near`` -> rows of duplicates.
        split: int64 ``[N]``, positions in ``SPLIT_NAMES``.
        labels: int64 ``[N]``.
        size: (height, width) that images will be brought to; ``None`` if they keep their own.
        skipped_bad: unreadable images are left out.
    """

    listing: Listing
    scan: Scan
    classes: tuple[ClassCounts, ...]
    groups: Mapping[str, Sequence[np.ndarray]]
    split: np.ndarray
    labels: np.ndarray
    size: tuple[int, int] | None
    skipped_bad: bool

    def names(self, rows: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Of these images, as shown in messages."""
        return tuple(shown(self.listing.samples[row].name) for row in rows)

    def copies(self, kind: str, part: SplitName, other: SplitName) -> list[tuple[int, int]]:
        """Each image of ``part`` that has a duplicate in ``other``, with that."""
        here, there = SPLIT_NAMES.index(part), SPLIT_NAMES.index(other)
        found: list[tuple[int, int]] = []
        for rows in self.groups[kind]:
            split = self.split[rows]
            if (split == there).any():
                twin = int(rows[split == there][0])
                found += [(int(row), twin) for row in rows[split == here]]
        return sorted(found)


def warnings(found: Findings, clip: str | None) -> tuple[str, ...]:
    """What to repair before training, the worst first."""
    sentences = [
        _unreadable(found),
        _too_small(found),
        _copies(found, "exact", "test", "train", "are in {other}, too"),
        _contradictions(found),
        _copies(found, "near", "test", "train", "look the same as one in {other}"),
        _torn_clips(found, clip),
        _copies(found, "exact", "val", "train", "are in {other}, too"),
        _missing(found),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def remarks(found: Findings, clip: str | None) -> tuple[str, ...]:
    """What is good to know."""
    makers: list[Callable[[Findings], str]] = [
        _skew,
        _small_images,
        _mixed_sizes,
        _grey,
        _turned,
        _animated,
        _contradicting_looks,
        _repeated,
        _passed_over,
    ]
    sentences = [make(found) for make in makers]
    if clip is not None:
        sentences.insert(
            0,
            "names look like frames of clips, or several pictures of one thing: "
            f"--group-by '{clip}' of init (data.group_by in a recipe) keeps each group on one side "
            "of a split",
        )
    return tuple(sentence for sentence in sentences if sentence)


# -- warnings --------------------------------------------------------------------------------------


def _unreadable(found: Findings) -> str:
    bad = found.scan.bad
    if not bad:
        return ""
    what, by_reason = counted(len(bad), "image"), _by_reason(bad)
    if found.skipped_bad:
        return f"{what} cannot be read and {_be(len(bad))} left out ({by_reason})"
    return (
        f"{what} cannot be read ({by_reason}): replace or remove them, or go on without them by "
        "--skip-bad"
    )


def _by_reason(bad: Sequence[BadImage]) -> str:
    """The first names for each of the first reasons: ``a.jpg, b.jpg: it is empty; ...``."""
    names: dict[str, list[str]] = {}
    for image in bad:
        names.setdefault(image.reason, []).append(image.name)
    parts = [f"{listed(held, _SHOWN)}: {reason}" for reason, held in names.items()]
    more = f"; and {len(parts) - _SHOWN} more reasons" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def _too_small(found: Findings) -> str:
    small = too_small(found.classes)
    if not small:
        return ""
    own_val = any(entry.val for entry in found.classes)
    names = listed([f"{entry.name} ({entry.total:,})" for entry in small])
    what = "class has" if len(small) == 1 else "classes have"
    return (
        f"{len(small):,} {what} too few readable images to be split ({names}): each needs "
        f"{'1 training image' if own_val else '3, or 2 next to a test split of its own'}; "
        "add images, or drop the class"
    )


def _copies(found: Findings, kind: str, part: SplitName, other: SplitName, what: str) -> str:
    pairs = found.copies(kind, part, other)
    if not pairs:
        return ""
    examples = ", ".join(" = ".join(found.names(pair)) for pair in pairs[:_SHOWN])
    more = ", ..." if len(pairs) > _SHOWN else ""
    text = what.format(other=other)
    if len(pairs) == 1:
        text = text.replace("are", "is", 1).replace("look", "looks", 1)
    advice = "remove one of each pair" if kind == "exact" else "look at them; remove real copies"
    return (
        f"{counted(len(pairs), f'{part} image')} {text} ({examples}{more}): {advice}, or the "
        f"accuracy measured on {part} is too high"
    )


def _contradictions(found: Findings) -> str:
    torn = [rows for rows in found.groups["exact"] if len(np.unique(found.labels[rows])) > 1]
    if not torn:
        return ""
    return (
        f"{counted(len(torn), 'picture')} {_be(len(torn))} in several classes "
        f"({_one_of_each_class(found, torn)}): leave each in the right one"
    )


def _one_of_each_class(found: Findings, groups: Sequence[np.ndarray]) -> str:
    """Two images of different classes of the first few groups."""
    examples = []
    for rows in groups[:_SHOWN]:
        _, first = np.unique(found.labels[rows], return_index=True)
        examples.append(" = ".join(found.names(rows[first][:2])))
    return ", ".join(examples) + (", ..." if len(groups) > _SHOWN else "")


def _torn_clips(found: Findings, clip: str | None) -> str:
    """Clips on both sides of a split."""
    if clip is None:
        return ""
    groups = np.array(groups_of(clip, [sample.name for sample in found.listing.samples]))
    is_test = found.split == SPLIT_NAMES.index("test")
    torn = np.intersect1d(groups[is_test], groups[found.split == SPLIT_NAMES.index("train")])
    if not len(torn):
        return ""
    count = int(np.isin(groups[is_test], torn).sum())
    verb = "comes" if count == 1 else "come"
    return (
        f"{counted(count, 'test image')} {verb} from the same clips as training images, by their "
        f"names ({listed([str(group) for group in torn], _SHOWN)}): "
        + (
            "split them by clip"
            if found.listing.has_own_test
            else f"--group-by '{clip}' of init (data.group_by in a recipe) splits by clip"
        )
    )


def _missing(found: Findings) -> str:
    missing = [entry.name for entry in found.classes if entry.train and not entry.test]
    if not missing:
        return ""
    what = "class has" if len(missing) == 1 else "classes have"
    return (
        f"{len(missing):,} {what} no readable test images ({listed(missing)}): "
        "what the student makes of them is not measured"
    )


# -- remarks ---------------------------------------------------------------------------------------


def _skew(found: Findings) -> str:
    trained = [entry for entry in found.classes if entry.train]
    if not trained:
        return ""
    large = max(trained, key=lambda entry: entry.train)
    small = min(trained, key=lambda entry: entry.train)
    if large.train < _SKEWED * small.train:
        return ""
    return (
        f"{shown(large.name)} has {large.train / small.train:,.0f} times as many training images "
        f"as {shown(small.name)} ({large.train:,} and {small.train:,}): compare the accuracy of "
        "each class, not only the mean"
    )


def _small_images(found: Findings) -> str:
    if found.size is None:
        return ""
    facts = found.scan.facts
    height, width = found.size
    is_small = facts.is_read & (2 * facts.width < width) & (2 * facts.height < height)
    count = int(is_small.sum())
    if not count:
        return ""
    row = int(np.flatnonzero(is_small)[0])
    return (
        f"{counted(count, 'image')} {_be(count)} less than half as large as {width}x{height} "
        f"pixels, the size of a run ({found.names([row])[0]}: {facts.width[row]}x"
        f"{facts.height[row]}): enlarging shows nothing new, and a smaller data.image_size is "
        "faster"
    )


def _mixed_sizes(found: Findings) -> str:
    facts = found.scan.facts
    sizes = set(zip(facts.width[facts.is_read], facts.height[facts.is_read], strict=True))
    if found.size is not None or len(sizes) < 2:
        return ""
    return (
        f"the images have {len(sizes):,} different sizes: data.image_size brings them to one, "
        "which a training needs"
    )


def _grey(found: Findings) -> str:
    facts = found.scan.facts
    is_grey = np.isin(facts.mode, [i for i, mode in enumerate(facts.modes) if mode in _GREY])
    grey, total = int((is_grey & facts.is_read).sum()), int(facts.is_read.sum())
    if not grey:
        return ""
    if grey == total:
        return "all images are grey: they are read as RGB with three equal channels"
    shares = [is_grey[facts.is_read & (found.labels == label)].mean() for label in _present(found)]
    text = f"{grey:,} of {total:,} images are grey, the others in colour"
    if max(shares) - min(shares) <= _TELLING:
        return text
    return (
        f"{text}; {min(shares):.0%} to {max(shares):.0%} of a class are, so a student may learn "
        "that instead of what the pictures show"
    )


def _present(found: Findings) -> list[int]:
    return [label for label, entry in enumerate(found.classes) if entry.total]


def _turned(found: Findings) -> str:
    count = int((found.scan.facts.orientation > 1).sum())
    if not count:
        return ""
    return f"{counted(count, 'image')} {_be(count)} turned upright by EXIF orientation"


def _animated(found: Findings) -> str:
    count = int((found.scan.facts.frames > 1).sum())
    what = f"{counted(count, 'file')} {'holds' if count == 1 else 'hold'} several frames"
    return f"{what}: the first is read" if count else ""


def _contradicting_looks(found: Findings) -> str:
    torn = [rows for rows in found.groups["near"] if len(np.unique(found.labels[rows])) > 1]
    if not torn:
        return ""
    return (
        f"{counted(len(torn), 'group')} of images that look the same {_be(len(torn))} in several "
        f"classes ({_one_of_each_class(found, torn)}): look at them"
    )


def _repeated(found: Findings) -> str:
    """Copies within the training images cost time and give their image more weight."""
    train = SPLIT_NAMES.index("train")
    inside = [int((found.split[rows] == train).sum()) for rows in found.groups["exact"]]
    spare = sum(count - 1 for count in inside if count > 1)
    what = "is a copy of another" if spare == 1 else "are copies of others"
    return f"{counted(spare, 'training image')} {what}" if spare else ""


def _passed_over(found: Findings) -> str:
    passed = found.listing.passed_over
    if not passed:
        return ""
    reasons = listed([f"{entry.count:,} {entry.reason}" for entry in passed])
    return f"{counted(sum(entry.count for entry in passed), 'file')} passed over: {reasons}"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"
