"""Contrastive representation distillation: one image's two embeddings agree, others differ.

What it does: linear layers project the pooled embeddings of student and teacher to ``dimension``
values of unit length. Noise-contrastive estimation (NCE) then distinguishes the pair of one image
from ``negatives`` images of other classes, once with the student's embedding against a bank of the
teacher's and once the other way round. Each bank holds one vector for every training image, moved
towards the newest by ``momentum``; banks and normalisers are buffers and part of the checkpoint.
When to use it: the strongest of the embedding methods in its own benchmark; worth its memory when
classes are many.
Cost: two banks of N x ``dimension`` floats (51 MB for 50,000 images), and per step the products of
a batch with both whole banks and two ``[B, N]`` tables of scores, which is cheaper than collecting
16,384 vectors for each image. Across processes each step exchanges the batch's projections. The
teacher's embeddings are computed once and cached.
Options: ``weight``, ``negatives``, ``nce_temperature``, ``momentum``, ``dimension``. Negatives are
drawn with replacement; if fewer images of other classes exist than ``negatives``, their number is
used instead.
Reference: Tian, Krishnan and Isola 2020, Contrastive Representation Distillation.
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext, embeddings_of
from understudy.methods.feature_pairs import l2_normalize
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class CRDConfig(MethodConfig):
    """Options of contrastive representation distillation."""

    weight: float = 0.8
    """Weight of the contrastive term, the sum of both directions."""
    negatives: int = 16384
    """Images of other classes that each image is compared with; at most as many as there are."""
    nce_temperature: float = 0.07
    """tau: scores are divided by it; at least 0.02, below which their exponentials leave the range
    of fp32."""
    momentum: float = 0.5
    """Share of the old vector in a bank when a new one comes, in [0, 1)."""
    dimension: int = 128
    """Length of the projections."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nce_temperature < 0.02:
            raise ValueError("method.nce_temperature must be at least 0.02")
        if not 0 <= self.momentum < 1:
            raise ValueError("method.momentum must lie in [0, 1)")
        if self.negatives < 1 or self.dimension < 1:
            raise ValueError("method.negatives and method.dimension must be at least 1")


def nce_loss(positive: Tensor, negative: Tensor, log_normaliser: Tensor, num_images: int) -> Tensor:
    """Noise-contrastive estimation with M uniform negatives for each positive.

    That is equation 18 of Tian et al. 2020.

    With ``p = exp(score) / Z`` and noise mass ``c = M / N``: ``-log(p / (p + c))`` of the positive
    and ``-log(c / (p + c))`` of each negative, summed over negatives, averaged over the batch;
    computed from logarithms.

    Args:
        positive: scores over tau, ``[B]``.
        negative: scores over tau, ``[B, M]``.
        log_normaliser: scalar, log Z.
        num_images: N, the images that negatives come from.

    Returns:
        scalar, above 0.
    """
    log_odds = log_normaliser + math.log(negative.shape[1] / num_images)
    return -(F.logsigmoid(positive - log_odds) + F.logsigmoid(log_odds - negative).sum(1)).mean()


class NegativeSampler(nn.Module):
    """Draws images of other classes, on the device, without waiting for it.

    Args:
        labels: int64 ``[N]`` of the training images.
        num_classes: K.
    """

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        counts = torch.bincount(labels.cpu(), minlength=num_classes)
        self.fewest = len(labels) - int(counts.max())
        """Images of other classes, for the largest class."""
        # Sorted by class, a class is one block; what is not in the block is a range with a gap.
        self.order: Tensor
        self.counts: Tensor
        self.starts: Tensor
        self.register_buffer("order", labels.cpu().argsort(stable=True), persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("starts", counts.cumsum(0) - counts, persistent=False)

    def forward(self, labels: Tensor, number: int) -> Tensor:
        """Positions of images of other classes, drawn uniformly: int64 ``[B, number]``.

        Args:
            labels: int64 ``[B]``.
            number: how many for each.
        """
        own, start = self.counts[labels][:, None], self.starts[labels][:, None]
        others = len(self.order) - own
        drawn = (
            (torch.rand(len(labels), number, device=labels.device) * others)
            .long()
            .minimum(others - 1)
        )
        return self.order[drawn + own * (drawn >= start)]


class CRD(Method):
    """The base loss and the contrastive term."""

    config_class = CRDConfig
    needs = "embedding"
    reference = "Tian et al. 2020, Contrastive Representation Distillation"

    def __init__(self, student: Classifier, config: CRDConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        student_embedding, teacher_embedding = embeddings_of(config.name, context)
        self.weight, self.tau, self.momentum = (
            config.weight,
            config.nce_temperature,
            config.momentum,
        )
        self.num_images = len(context.labels)
        self.sampler = NegativeSampler(context.labels, context.num_classes)
        if self.sampler.fewest < 1:
            raise UnderstudyError(
                "crd needs negatives of other classes, but all training images have one label"
            )
        self.negatives = min(config.negatives, self.sampler.fewest)
        self.project_student = nn.Linear(student_embedding.shape[1], config.dimension)
        self.project_teacher = nn.Linear(teacher_embedding.shape[1], config.dimension)
        self.student_bank: Tensor
        self.teacher_bank: Tensor
        self.student_normaliser: Tensor
        self.teacher_normaliser: Tensor
        bound = math.sqrt(3 / config.dimension)  # vectors of about unit length
        for side in ("student", "teacher"):
            self.register_buffer(
                f"{side}_bank",
                torch.empty(self.num_images, config.dimension).uniform_(-bound, bound),
            )
            self.register_buffer(f"{side}_normaliser", torch.zeros(()))  # 0: not known yet
        # Data-parallel wrapping would send the banks from rank to rank in every step; `_remember`
        # makes the same changes on all ranks.
        self._ddp_params_and_buffers_to_ignore = ["student_bank", "teacher_bank"]

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert student.embedding is not None and teacher.embedding is not None
        student_vectors = l2_normalize(self.project_student(student.embedding.float()))
        teacher_vectors = l2_normalize(self.project_teacher(teacher.embedding.float()))
        chosen = torch.cat([batch.index[:, None], self.sampler(batch.labels, self.negatives)], 1)
        of_student = (student_vectors, self.teacher_bank, self.teacher_normaliser)
        of_teacher = (teacher_vectors, self.student_bank, self.student_normaliser)
        loss = self._contrast(*of_student, chosen) + self._contrast(*of_teacher, chosen)
        if self.training:
            self._remember(batch.index, student_vectors.detach(), teacher_vectors.detach())
        return {"crd": self.weight * loss}

    def _contrast(
        self, vectors: Tensor, bank: Tensor, normaliser: Tensor, chosen: Tensor
    ) -> Tensor:
        # A copy of the bank: the backward pass needs these values, and the bank is written to
        # before that.
        scores = (vectors @ bank.clone().t()).gather(1, chosen) / self.tau
        with torch.no_grad():
            estimate = scores.exp().mean() * self.num_images
            known = torch.where(normaliser > 0, normaliser, estimate)
            if self.training:
                normaliser.copy_(known)
        return nce_loss(scores[:, 0], scores[:, 1:], known.log(), self.num_images)

    @torch.no_grad()
    def _remember(self, index: Tensor, student: Tensor, teacher: Tensor) -> None:
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            index, student, teacher = _of_all_ranks(index, student, teacher)
        for bank, vectors in ((self.student_bank, student), (self.teacher_bank, teacher)):
            mixed = self.momentum * bank[index] + (1 - self.momentum) * vectors
            bank.index_copy_(0, index, l2_normalize(mixed))


def _of_all_ranks(index: Tensor, *vectors: Tensor) -> list[Tensor]:
    """The rows of every process, in the order of ranks.

    The last batch of an epoch may be split unevenly.
    """
    world = dist.get_world_size()
    sizes = [torch.zeros(1, dtype=torch.int64, device=index.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(index)], device=index.device))
    lengths = torch.cat(sizes).tolist()
    gathered = []
    for rows in (index, *vectors):
        padded = torch.cat([rows, rows.new_zeros(max(lengths) - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        gathered.append(
            torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
        )
    return gathered
