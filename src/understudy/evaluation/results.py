"""Results of an evaluation as plain records. Importing this loads no torch: a report needs none."""

from dataclasses import dataclass, field
from typing import Any

from understudy.files import LEFT_OUT_IF_NONE


@dataclass(frozen=True)
class Reliability:
    """Predictions in equal bins (low, high] of confidence, the lowest bin first.

    Attributes:
        confidence: mean confidence in each bin, in [0, 1]; ``None`` for an empty bin.
        accuracy: share of correct predictions in each bin, in [0, 1]; ``None`` for an empty bin.
        count: number of predictions in each bin.
    """

    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    count: tuple[int, ...]


MOST_CONFUSION = 100
"""Classes up to which a confusion matrix is stored: 10,000 numbers."""


def _later() -> Any:
    """A field that files of earlier versions do not have: no key while it is ``None``."""
    return field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, kw_only=True, repr=False)
class Metrics:
    """A classifier on one split, as in ``result.json`` and ``results.json``.

    Attributes:
        accuracy: top-1, in [0, 1].
        per_class: accuracy on the images of each class; ``None`` for a class without images.
        nll: mean negative log-likelihood of the labels, in nats; ``None`` if it is not a number.
        ece: expected calibration error over 15 bins, in [0, 1].
        agreement: share of images on which it predicts the teacher's class, in [0, 1]; ``None``
            without a teacher.
        teacher_kl: mean KL divergence from the teacher's probabilities to the model's, in nats;
            ``None`` without a teacher.
        reliability: mean confidence and accuracy in 15 bins of confidence.
        correct: which images are classified correctly, in the order of the split, as text (see
            :mod:`understudy.evaluation.correctness`); ``None`` in files of earlier versions.
        balanced_accuracy: mean of ``per_class`` over the classes that have images, in [0, 1].
        macro_f1: mean over classes of the harmonic mean of precision and recall, in [0, 1]; classes
            that are neither a label nor a prediction are left out.
        class_counts: number of images of each class.
        per_class_interval: 95 % interval (Wilson 1927) of each number of ``per_class``.
        confusion: number of images of each class (row) that are predicted as each class (column);
            ``None`` for more than :data:`MOST_CONFUSION` classes.

    The last five are ``None`` in files of earlier versions.
    """

    accuracy: float
    per_class: tuple[float | None, ...] = ()
    nll: float | None = None
    ece: float | None = None
    agreement: float | None = None
    teacher_kl: float | None = None
    reliability: Reliability | None = None
    correct: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    balanced_accuracy: float | None = _later()
    macro_f1: float | None = _later()
    class_counts: tuple[int, ...] | None = _later()
    per_class_interval: tuple[tuple[float, float] | None, ...] | None = _later()
    confusion: tuple[tuple[int, ...], ...] | None = _later()

    def __repr__(self) -> str:
        names = ("accuracy", "nll", "ece", "agreement", "teacher_kl")
        known = {name: getattr(self, name) for name in names}
        parts = [f"{name}={value:.4g}" for name, value in known.items() if value is not None]
        return f"Metrics({', '.join(parts)})"
