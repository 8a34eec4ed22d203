"""The section on parts of the test images (``data.report_by``)."""

from dataclasses import dataclass

from understudy.data.names import shown
from understudy.report.format import number, percent
from understudy.runs.results import RunResults


@dataclass(frozen=True)
class SliceSection:
    """A table, a row for each part, and a sentence for each comparison in it.

    Attributes:
        headings: of the columns after the name.
        rows: name and cells.
        sentences: on the gains.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    sentences: tuple[str, ...]


def slice_section(results: RunResults) -> SliceSection | None:
    """The section; ``None`` for a run without parts."""
    if not results.slices:
        return None
    arms = tuple(results.arms)
    rows = []
    for part in results.slices:
        accuracies = tuple(percent(part.accuracy[arm].mean, 1) for arm in arms)
        rows.append((shown(part.name), (number(part.images, 0), *accuracies)))
    return SliceSection(("images", *arms), tuple(rows), slice_sentences(results))


def slice_sentences(results: RunResults) -> tuple[str, ...]:
    """``poly: distillation helped by ...``, one for each comparison in each part."""
    return tuple(
        f"{shown(part.name)}: {comparison.verdict}"
        for part in results.slices
        for comparison in part.comparisons
    )
