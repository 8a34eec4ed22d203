"""What a teacher's soft targets are like: how sure, how right, how much beyond the top class."""

import math

import torch
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.diagnose.evidence import SoftTargets


def label_shares(batch: Batch, num_classes: int) -> Tensor:
    """float64 ``[B, K]``: share of each class in an image's labels; one-hot without mixing."""
    own = nn.functional.one_hot(batch.labels, num_classes).double()
    if batch.partner_labels is None or batch.lam is None:
        return own
    partner = nn.functional.one_hot(batch.partner_labels, num_classes).double()
    return torch.lerp(partner, own, batch.lam.double()[:, None])


def describe_targets(logits: Tensor, shares: Tensor, temperature: float) -> SoftTargets:
    """Statistics of soft targets.

    Args:
        logits: of the teacher, ``[N, K]``.
        shares: of the classes in the images' labels (:func:`label_shares`), ``[N, K]``.
        temperature: of the student's loss.
    """
    logits = logits.double()
    num_classes = logits.shape[1]
    soft, plain = (logits / temperature).softmax(1), logits.softmax(1)
    sorted_soft = soft.sort(1, descending=True).values
    sorted_plain = plain.sort(1, descending=True).values
    entropy = float(_entropy(soft).mean())
    others = sorted_soft[:, 1:]
    off_top = others.sum(1)
    # Normalised among themselves; a row whose other classes underflow to 0 has no information.
    among = others / off_top.clamp_min(1e-300)[:, None]
    ranking = off_top * (math.log(max(num_classes - 1, 1)) - _entropy(among))
    # A mixed image has two right classes, one of them more than the other.
    right = shares.gather(1, logits.argmax(1, keepdim=True))[:, 0] / shares.max(1).values
    return SoftTargets(
        num_images=len(logits),
        accuracy=float(right.mean()),
        confidence=float(plain.max(1).values.mean()),
        entropy=entropy,
        entropy_share=entropy / math.log(num_classes),
        off_top=float(off_top.mean()),
        ranking=float(ranking.mean()),
        profile=tuple(sorted_soft.mean(0).tolist()),
        profile_at_1=tuple(sorted_plain.mean(0).tolist()),
    )


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.special.xlogy(probabilities, probabilities).sum(1)
