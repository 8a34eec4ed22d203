"""Probabilistic knowledge transfer: each image has the same likely neighbours in both networks.

What it does: turns the batch's cosine similarities, moved to [0, 1], into one distribution over the
batch for each image, and adds 30000 times the mean over ``B^2`` of ``p_t * log(p_t / p_s)``.
When to use it: as ``sp`` and ``cc``; embedding sizes may differ. Together with ``kd`` (set
``alpha``).
Cost: two ``B x B`` matrices. The teacher's embeddings are computed once and cached.
Options: ``weight`` of the term, ``alpha`` to add ``kd``.
Reference: Passalis and Tefas 2018, Learning Deep Representations with Probabilistic Knowledge
Transfer.
"""

from dataclasses import dataclass

from torch import Tensor

from understudy.data.loader import Batch
from understudy.methods.base import Method, MethodConfig, MethodContext, require_embeddings
from understudy.methods.feature_pairs import l2_normalize
from understudy.models.base import Classifier, Outputs

_EPS = 1e-7


@dataclass(frozen=True)
class PKTConfig(MethodConfig):
    """Options of probabilistic knowledge transfer."""

    weight: float = 30000.0
    """Weight of the term: the mean over B^2 makes it small."""


def pkt_loss(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Mean over ``B^2`` of ``p_t * log((p_t + eps) / (p_s + eps))`` (Passalis and Tefas 2018).

    ``p`` is the distribution of each image's neighbours in the batch.

    Args:
        student_embedding, teacher_embedding: ``[B, D]``; D may differ. A zero embedding has cosine
            0 with all.

    Returns:
        scalar, at least 0 up to rounding; the same for any positive scale and any rotation of
            either; 0 for a single image.
    """
    student, teacher = (
        _neighbours(student_embedding.float()),
        _neighbours(teacher_embedding.float()),
    )
    return (teacher * ((teacher + _EPS) / (student + _EPS)).log()).mean()


def _neighbours(embedding: Tensor) -> Tensor:
    vectors = l2_normalize(embedding)
    # The cosine of opposite vectors may round to just below -1, and a logarithm below 0 is NaN.
    likeness = ((vectors @ vectors.T + 1) / 2).clamp_min(0)
    return likeness / likeness.sum(1, keepdim=True)


class PKT(Method):
    """The base loss and the divergence between neighbour distributions."""

    config_class = PKTConfig
    config: PKTConfig
    needs = "embedding"
    reference = (
        "Passalis and Tefas 2018, Learning Deep Representations with Probabilistic Knowledge "
        "Transfer"
    )

    def __init__(self, student: Classifier, config: PKTConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        require_embeddings(config.name, context)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert student.embedding is not None and teacher.embedding is not None
        return {"pkt": self.config.weight * pkt_loss(student.embedding, teacher.embedding)}
