"""Relational distillation: embeddings have the distances and angles of the teacher's.

What it does: adds ``25 * D + 50 * A``. D compares the distances between any two images, relative to
their mean; A compares the cosines of the angles that any three images form. Both by a smooth L1
distance. Embedding sizes may differ.
When to use it: when the geometry of the embedding matters, as for retrieval; together with ``kd``
(set ``alpha``) for classification.
Cost: the angle term holds ``B^3`` cosines and both hold ``B^2 * D`` differences, for either
network: at a batch of 1,024, 4 GB for the cosines alone. The teacher's embeddings are computed once
and cached.
Options: ``distance_weight``, ``angle_weight`` (0 leaves the part, and its memory, out), ``weight``
of both, ``alpha``.
Reference: Park, Kim, Lu and Cho 2019, Relational Knowledge Distillation.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodConfig, MethodContext, require_embeddings
from understudy.methods.feature_pairs import l2_normalize
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class RKDConfig(MethodConfig):
    """Options of relational distillation."""

    weight: float = 1.0
    """Weight of the term, both parts together."""
    distance_weight: float = 25.0
    """Weight of the distances."""
    angle_weight: float = 50.0
    """Weight of the angles; 0 saves their B^3 memory."""


def rkd_loss(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    distance_weight: float,
    angle_weight: float,
) -> Tensor:
    """``distance_weight * D + angle_weight * A`` (Park et al. 2019).

    Both are smooth L1 means, over ``B^2`` pairs and ``B^3`` triples.

    Args:
        student_embedding, teacher_embedding: ``[B, D]``; D may differ.
        distance_weight: of pairwise distances, each network's divided by the mean of its positive
            ones.
        angle_weight: of the cosines at every image between every two others. Memory is O(B^3); 0
            leaves it out.

    Returns:
        scalar, at least 0, the same for any positive scale of either; exactly 0 for one image or
            two. Images with the same
        embedding have distance 0, cosine 0, and finite gradients.
    """
    # Differences rather than the Gram matrix: no cancellation between close points, and the angles
    # need them anyway.
    student = student_embedding.float()[None] - student_embedding.float()[:, None]
    teacher = teacher_embedding.float()[None] - teacher_embedding.float()[:, None]
    loss = student.new_zeros(())
    if distance_weight:
        loss = loss + distance_weight * F.smooth_l1_loss(_distances(student), _distances(teacher))
    if angle_weight:
        loss = loss + angle_weight * F.smooth_l1_loss(_cosines(student), _cosines(teacher))
    return loss


def _distances(differences: Tensor) -> Tensor:
    distances = torch.linalg.vector_norm(differences, dim=2)
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines(differences: Tensor) -> Tensor:
    sides = l2_normalize(differences)
    # The angle of a side with itself tells nothing; left in, it is 1 up to rounding.
    same = torch.eye(len(sides), dtype=torch.bool, device=sides.device)
    return (sides @ sides.mT).masked_fill(same, 0)


class RKD(Method):
    """The base loss and both relations between embeddings."""

    config_class = RKDConfig
    config: RKDConfig
    needs = "embedding"
    reference = "Park et al. 2019, Relational Knowledge Distillation"

    def __init__(self, student: Classifier, config: RKDConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        require_embeddings(config.name, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert student.embedding is not None and teacher.embedding is not None
        config = self.config
        loss = rkd_loss(
            student.embedding, teacher.embedding, config.distance_weight, config.angle_weight
        )
        return {"rkd": config.weight * loss}
