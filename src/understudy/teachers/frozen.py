"""A trained network, or an ensemble of them, as a teacher.

It runs under ``no_grad``, not ``inference_mode``: losses save the teacher's tensors for backward.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.models.base import Classifier, Outputs
from understudy.teachers.base import Teacher


class FrozenTeacher(Teacher):
    """A trained network in eval mode.

    Args:
        model: the network; its parameters are frozen in place.
        renormalise: (scale, shift) per channel from the student's normalisation to the teacher's
            own (:func:`renormalisation`); ``None`` if they are equal.
        precision: ``fp32`` or ``bf16`` (autocast).
        description: architecture and normalisation: with the weights, all that decides its outputs.
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
        """Logits (fp32), features, embedding and, of an ensemble, the members' outputs."""
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
    """(scale, shift), float32 ``[1, C, 1, 1]``: from the student's normalisation to the teacher's.

    Args:
        mean, std: of the images that the student gets, one per channel.
        own_mean, own_std: of the images that the teacher was trained on.
        device: of the result.

    Returns:
        ``None`` if the two are equal.

    Raises:
        UnderstudyError: if they are for different numbers of channels.
    """
    if tuple(mean) == tuple(own_mean) and tuple(std) == tuple(own_std):
        return None
    if len(own_mean) != len(mean):
        raise UnderstudyError(
            f"teacher.mean has {len(own_mean)} channels, the images have {len(mean)}"
        )
    student = torch.tensor([mean, std], dtype=torch.float64)
    teacher = torch.tensor([own_mean, own_std], dtype=torch.float64)
    scale, shift = student[1] / teacher[1], (student[0] - teacher[0]) / teacher[1]
    return scale.float().view(1, -1, 1, 1).to(device), shift.float().view(1, -1, 1, 1).to(device)
