"""Curriculum: the training images ranked from easy to hard by the teacher."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.config.schedules import Curriculum
from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.sampling import CurriculumSampler
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.teachers.base import UNAUGMENTED, Teacher

_BATCH = 512


def refuse_two_samplers(curriculum: Curriculum | None, config: TrainConfig) -> None:
    """Two rules cannot both decide which images an epoch shows.

    Raises:
        UnderstudyError: if there is a curriculum and the classes are to be balanced.
    """
    if curriculum is not None and config.sampling == "balanced":
        raise UnderstudyError(
            "method.curriculum and train.sampling=balanced both choose an epoch's images: "
            "drop one, or set train.class_weights=balanced instead of the sampling"
        )


def make_sampler(
    curriculum: Curriculum,
    teacher: Teacher,
    batches: TrainBatches,
    epochs: int,
    observer: Observer = SILENT,
) -> CurriculumSampler:
    """Which images each epoch draws from.

    Args:
        curriculum: how images are ranked, and how fast the share of images grows.
        teacher: ranks the unaugmented training images; a cached one computes its outputs once.
        batches: the training images.
        epochs: of the training.
        observer: follows the labelling.
    """
    found = hardness(teacher, batches, curriculum.by, observer)
    return CurriculumSampler(rank_images(found), curriculum.shares(epochs))


@torch.no_grad()
def hardness(
    teacher: Teacher, batches: TrainBatches, by: str, observer: Observer = SILENT
) -> Tensor:
    """How hard the teacher finds each image: float32 ``[N]`` on the CPU, higher for harder ones.

    Args:
        teacher: gets the unaugmented images.
        batches: the training images.
        by: ``loss`` (cross-entropy with the label, in nats) or ``confidence`` (1 minus the largest
            probability).
        observer: follows the labelling.
    """
    views = batches.policy.identity_views()
    teacher.prepare(UNAUGMENTED, views, observer)
    device = batches.device if batches.images is not None else torch.device("cpu")
    views = views.to(device)
    found = []
    for rows in torch.arange(batches.policy.num_images).split(_BATCH):
        batch = batches.render(rows.to(device), views)
        logits = teacher.outputs(batch).logits.float()
        if by == "loss":
            found.append(F.cross_entropy(logits, batch.labels, reduction="none"))
        else:
            found.append(1 - logits.softmax(1).amax(1))
    return torch.cat(found).cpu()


def rank_images(hardness: Tensor) -> Tensor:
    """int64 ``[N]``: images from the easiest to the hardest; equally hard ones in their order."""
    return hardness.argsort(stable=True)


def ranked_images(batches: TrainBatches) -> Tensor | None:
    """int64 ``[N]``: the ranking that a curriculum's batches are drawn by; ``None`` without one."""
    sampler = batches.sampler
    return sampler.ranked_images if isinstance(sampler, CurriculumSampler) else None


def set_ranked_images(batches: TrainBatches, ranked: Tensor) -> None:
    """Give a curriculum's batches another ranking (int64 ``[N]``).

    A resumed training takes the one it started with: on another machine the teacher may round
    differently and rank the images differently.
    """
    assert isinstance(batches.sampler, CurriculumSampler), "only a curriculum ranks images"
    batches.sampler = replace(batches.sampler, ranked_images=ranked)
