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


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_an_images_loss_is_multiplied_by_the_weight_of_its_label(smoothing: float) -> None:
    weights = torch.tensor([0.5, 2.0, 0.75])
    batch = Batch(torch.zeros(4, 3, 1, 1), LABELS, torch.arange(4))
    per_image = -(target(LABELS, smoothing) * log_probabilities()).sum(1)
    expected = (weights[LABELS].numpy() * per_image).mean()
    found = cross_entropy(LOGITS, batch, smoothing, weights)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_both_labels_of_a_mixed_image_have_their_weights() -> None:
    weights = torch.tensor([0.5, 2.0, 0.75])
    batch = Batch(torch.zeros(4, 3, 1, 1), LABELS, torch.arange(4), PARTNERS, SHARE)
    share, log_p = SHARE.double().numpy(), log_probabilities()
    own = weights[LABELS].numpy() * -log_p[np.arange(4), LABELS]
    other = weights[PARTNERS].numpy() * -log_p[np.arange(4), PARTNERS]
    expected = (share * own + (1 - share) * other).mean()
    assert float(cross_entropy(LOGITS, batch, 0.0, weights)) == pytest.approx(expected, rel=1e-5)


def test_equal_weights_change_no_bit_of_a_mixed_loss() -> None:
    batch = Batch(torch.zeros(4, 3, 1, 1), LABELS, torch.arange(4), PARTNERS, SHARE)
    assert torch.equal(
        cross_entropy(LOGITS, batch, 0.1), cross_entropy(LOGITS, batch, 0.1, torch.ones(3))
    )
