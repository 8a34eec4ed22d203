"""Teachers answer a batch with outputs: a frozen network (or an ensemble of them), or what one said before (a cache).

A teacher is never a child of the method: it is in no checkpoint, is never wrapped for distribution and never leaves eval
mode. Networks run under ``no_grad`` (not ``inference_mode``: losses save the teacher's tensors for their backward pass).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.models.base import Classifier, Outputs

LabelProgress = Callable[[int, int], None]
"""Called with (views labelled, views to label) while a cache is being filled."""


class Teacher(ABC):
    """Something that answers a batch."""

    def prepare(self, epoch: int, views: Views, progress: LabelProgress | None = None) -> None:
        """Get ready for an epoch whose images are shown under ``views``; a network has nothing to do."""
        return None

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """Outputs for the images of a batch, on its device, without gradient."""


class FrozenTeacher(Teacher):
    """A trained network in eval mode.

    Args:
        model: the network; its parameters are frozen in place.
        renormalise: (scale, shift) per channel from the student's normalisation to the teacher's own; ``None`` where equal.
        precision: ``fp32`` or ``bf16`` (autocast).
        description: of architecture and normalisation: what, beside the weights, decides its outputs.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        renormalise: tuple[Tensor, Tensor] | None = None,
        precision: str = "fp32",
        description: str = "",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.description = description
        self.renormalise = renormalise
        self.precision = precision

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        """Logits (fp32), features, embedding and, of an ensemble, the members' answers for the batch's images."""
        images = batch.images
        if self.renormalise is not None:
            scale, shift = self.renormalise
            images = torch.addcmul(shift, images, scale)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.model.outputs(images)
        return outputs.float()


def renormalisation(
    mean: Sequence[float],
    std: Sequence[float],
    own_mean: Sequence[float],
    own_std: Sequence[float],
    device: torch.device,
) -> tuple[Tensor, Tensor] | None:
    """(scale, shift), each ``[1, C, 1, 1]``: from images normalised by (mean, std) to the teacher's own normalisation."""
    if tuple(mean) == tuple(own_mean) and tuple(std) == tuple(own_std):
        return None
    if len(own_mean) != len(mean):
        raise UnderstudyError(
            f"teacher.mean has {len(own_mean)} channels, the images have {len(mean)}"
        )
    ours = torch.tensor([mean, std], dtype=torch.float64)
    theirs = torch.tensor([own_mean, own_std], dtype=torch.float64)
    scale, shift = ours[1] / theirs[1], (ours[0] - theirs[0]) / theirs[1]
    return scale.float().view(1, -1, 1, 1).to(device), shift.float().view(1, -1, 1, 1).to(device)
