"""Results for parts of the test images, such as two kinds of solar cells (``data.report_by``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.evaluation.correctness import differences, unpack
from understudy.evaluation.gain import corrected, gain_of_differences
from understudy.evaluation.results import Metrics
from understudy.evaluation.statistics import Summary, summarise
from understudy.runs.comparison import Comparison

if TYPE_CHECKING:
    import numpy as np

    from understudy.data.annotations import Annotations


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """One part of the test images, as under ``slices`` in ``results.json``.

    Attributes:
        name: of the part.
        images: how many test images it has.
        accuracy: arm -> top-1 in [0, 1] over its seeds.
        comparisons: the run's comparisons on these images alone, with Holm's correction for all of
            them in all parts.
    """

    name: str
    images: int
    accuracy: Mapping[str, Summary]
    comparisons: tuple[Comparison, ...]


def slice_results(
    annotations: "Annotations",
    tested: Mapping[str, Sequence[Metrics]],
    compared: Sequence[tuple[str, str]],
) -> tuple[SliceResult, ...]:
    """The results of a run on each part of the test images; none without parts.

    Args:
        annotations: of the data set; parts without test images are left out.
        tested: arm -> its test metrics, one for each seed.
        compared: arm and reference of each comparison of the run.
    """
    if annotations.test_slices is None:
        return ()
    masks = {
        name: annotations.test_slices == number
        for number, name in enumerate(annotations.slice_names)
    }
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    gains = [
        gain_of_differences(_differences(tested[arm], tested[reference])[:, mask])
        for mask in masks.values()
        for arm, reference in compared
    ]
    adjusted = iter(corrected(gains))
    return tuple(
        SliceResult(
            name=name,
            images=int(mask.sum()),
            accuracy={arm: _accuracy(metrics, mask) for arm, metrics in tested.items()},
            comparisons=tuple(
                Comparison.of(arm, reference, next(adjusted)) for arm, reference in compared
            ),
        )
        for name, mask in masks.items()
    )


def _differences(student: Sequence[Metrics], reference: Sequence[Metrics]) -> "np.ndarray":
    found = differences(student, reference)
    assert found is not None, "a run measures which images every arm classifies correctly"
    return found


def _accuracy(metrics: Sequence[Metrics], mask: "np.ndarray") -> Summary:
    shares = [float(unpack(each.correct or "")[mask].mean()) for each in metrics]
    summary = summarise(shares)
    assert summary is not None
    return summary
