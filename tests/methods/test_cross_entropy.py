"""The loss with the labels: smoothed, and shared between partners where images are mixed.
Reference: numpy, row by row."""

import numpy as np
import pytest
import torch

from understudy.data.loader import Batch
from understudy.methods.base import cross_entropy

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [-2.0, 0.25, 0.5], [1.0, 1.0, 1.0]])
LABELS, PARTNERS = torch.tensor([0, 1, 2, 1]), torch.tensor([2, 1, 0, 0])
SHARE = torch.tensor([0.9, 0.3, 0.0, 1.0])


def log_probabilities() -> np.ndarray:
    logits = LOGITS.double().numpy()
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def target(labels: torch.Tensor, smoothing: float) -> np.ndarray:
    """The label with ``1 - smoothing``, and the rest spread over all classes, the label's own
    included."""
    return (1 - smoothing) * np.eye(3)[labels.numpy()] + smoothing / 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_smoothing_spreads_a_share_of_the_label_over_all_classes(smoothing: float) -> None:
    batch = Batch(torch.zeros(4, 3, 1, 1), LABELS, torch.arange(4))
    expected = -(target(LABELS, smoothing) * log_probabilities()).sum(1).mean()
    assert float(cross_entropy(LOGITS, batch, smoothing)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixed_images_loss_is_shared_with_its_partners_label(smoothing: float) -> None:
    batch = Batch(torch.zeros(4, 3, 1, 1), LABELS, torch.arange(4), PARTNERS, SHARE)
    share = SHARE.double().numpy()[:, None]
    mixed = share * target(LABELS, smoothing) + (1 - share) * target(PARTNERS, smoothing)
    expected = -(mixed * log_probabilities()).sum(1).mean()
    assert float(cross_entropy(LOGITS, batch, smoothing)) == pytest.approx(expected, rel=1e-5)
