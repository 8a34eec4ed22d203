"""A trained network, or an ensemble of them, as a teacher.

It runs under ``no_grad``, not ``inference_mode``: losses save the teacher's tensors for backward.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.config.schema import DataConfig
from understudy.data.loader import Batch, plain_batches
from understudy.data.prepare import TrainingData
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.models.base import Classifier, Outputs
from understudy.teachers.base import Teacher
from understudy.teachers.own_images import OwnImages


class FrozenTeacher(Teacher):
    """A trained network in eval mode.

    Args:
        model: the network; its parameters are frozen in place.
        renormalise: (scale, shift) per channel from the student's normalisation to the teacher's
            own (:func:`renormalisation`); ``None`` if they are equal.
        precision: ``fp32`` or ``bf16`` (autocast).
        description: architecture and normalisation: with the weights, all that decides its outputs.
        own: its own copy of the training images, if it sees other pixels than the student; it is
            normalised already, and ``prepare(epoch, views)`` comes before ``outputs(batch)``.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        renormalise: tuple[Tensor, Tensor] | None = None,
        precision: str = "fp32",
        description: str = "",
        own: OwnImages | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.description = description
        self.renormalise = renormalise
        self.precision = precision
        self.own = own

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        """Note the views of this epoch, for a copy of its own; see :class:`Teacher`."""
        if self.own is not None:
            self.own.views = views

    def outputs(self, batch: Batch) -> Outputs:
        """Logits (fp32), features, embedding and, of an ensemble, the members' outputs."""
        return self.run_network(batch.images if self.own is None else self.own.render(batch.index))

    def plain_outputs(self, data: TrainingData, count: int, device: torch.device) -> Outputs:
        """Outputs for the first validation images, unaugmented.

        Args:
            data: of the student.
            count: how many images.
            device: where the network is.
        """
        seen = data if self.own is None else self.own.data
        batch = next(plain_batches(seen.val, seen.config, count, device))
        return self.run_network(batch.images)

    @torch.no_grad()
    def run_network(self, images: Tensor) -> Outputs:
        """Outputs for normalised images, ``[B, C, H, W]``."""
        if self.renormalise is not None:
            scale, shift = self.renormalise
            images = torch.addcmul(shift, images, scale)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.model.outputs(images)
        return outputs.float()


def freeze(
    network: Classifier,
    data: TrainingData,
    inputs: DataConfig,
    device: torch.device,
    *,
    precision: str = "fp32",
    description: str = "",
) -> FrozenTeacher:
    """A trained network as the teacher of a student on ``data``.

    Args:
        network: on the device.
        data: of the student.
        inputs: size, filter, channels and normalisation of the network's images.
        device: where the network is.
        precision, description: as for :class:`FrozenTeacher`.

    Raises:
        UnderstudyError: if the normalisations are for different numbers of channels.
    """
    own = OwnImages.if_needed(data, inputs, device)
    change = None
    if own is None:  # an own copy is normalised as the teacher expects
        given = data.config
        change = renormalisation(given.mean, given.std, inputs.mean, inputs.std, device)
    return FrozenTeacher(
        network, renormalise=change, precision=precision, description=description, own=own
    )


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
