"""A curriculum made concrete: the training images in the order in which the teacher finds them easy."""

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.config.schedules import Curriculum
from understudy.data.loader import TrainBatches
from understudy.data.sampling import CurriculumSampler
from understudy.teachers.frozen import LabelProgress, Teacher
from understudy.teachers.output_store import PLAIN

_BATCH = 512


def pace_by(
    curriculum: Curriculum,
    teacher: Teacher,
    batches: TrainBatches,
    epochs: int,
    progress: LabelProgress | None = None,
) -> CurriculumSampler:
    """The pace that a curriculum sets, from what the teacher says about every training image as it is.

    Args:
        curriculum: what is easy, and how fast the share of images grows.
        teacher: a cached one is asked once for all runs that share its cache.
        batches: the training images.
        epochs: of the run.
        progress: told how many images are labelled.
    """
    return CurriculumSampler(
        easy_first(scores(teacher, batches, curriculum.by, progress)), curriculum.shares(epochs)
    )


@torch.no_grad()
def scores(
    teacher: Teacher, batches: TrainBatches, by: str, progress: LabelProgress | None = None
) -> Tensor:
    """How hard each image is: float32 ``[N]``, on the CPU, higher for harder ones.

    Args:
        teacher: asked about the images as they are.
        batches: the training images.
        by: ``loss`` (cross-entropy with the label, in nats) or ``confidence`` (1 minus the largest probability).
    """
    views = batches.policy.identity_views()
    teacher.prepare(PLAIN, views, progress)
    where = batches.device if batches.images is not None else torch.device("cpu")
    views = views.to(where)
    found = []
    for rows in torch.arange(batches.policy.num_images).split(_BATCH):
        batch = batches.render(rows.to(where), views)
        logits = teacher.outputs(batch).logits.float()
        if by == "loss":
            found.append(F.cross_entropy(logits, batch.labels, reduction="none"))
        else:
            found.append(1 - logits.softmax(1).amax(1))
    return torch.cat(found).cpu()


def easy_first(hardness: Tensor) -> Tensor:
    """int64 ``[N]``: images from the easiest to the hardest; among equals the first stays first."""
    return hardness.argsort(stable=True)
