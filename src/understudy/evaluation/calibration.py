"""Calibration: whether a classifier that is 80 % sure is right 80 % of the time."""

import torch
from torch import Tensor

from understudy.evaluation.results import Reliability

NUM_BINS = 15


def reliability(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Reliability:
    """The reliability diagram's numbers.

    Args:
        logits: ``[N, K]``.
        labels: int64 ``[N]``.
        num_bins: how many bins of equal width divide [0, 1].
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    bins = (torch.bucketize(confidence, edges) - 1).clamp(0, num_bins - 1)
    count = torch.bincount(bins, minlength=num_bins)
    confidences = torch.bincount(bins, confidence, minlength=num_bins) / count
    accuracies = torch.bincount(bins, (predicted == labels).double(), minlength=num_bins) / count
    return Reliability(
        _filled(confidences, count), _filled(accuracies, count), tuple(count.tolist())
    )


def _filled(values: Tensor, count: Tensor) -> tuple[float | None, ...]:
    pairs = zip(values.tolist(), count.tolist(), strict=True)
    return tuple(float(value) if number else None for value, number in pairs)


def ece(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy (Guo et al. 2017).

    The arguments are those of :func:`reliability`; the result is in [0, 1].
    """
    bins = reliability(logits, labels, num_bins)
    total = 0.0
    for confidence, accuracy, count in zip(bins.confidence, bins.accuracy, bins.count, strict=True):
        if confidence is not None and accuracy is not None:
            total += count * abs(confidence - accuracy)
    return total / len(labels)
