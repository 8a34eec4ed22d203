"""A teacher's own copy of the training images, opened when it is needed first.

A student that reads cached outputs never opens it: neither time nor memory is spent on it.
"""

from functools import cached_property

import torch
from torch import Tensor

from understudy.config.schema import DataConfig
from understudy.data.loader import TrainBatches
from understudy.data.own_size import has_own_pixels, image_of, own_copy, pixels_fingerprint
from understudy.data.prepare import TrainingData
from understudy.data.spec import ImageSpec
from understudy.data.views import Views


class OwnImages:
    """The training images of a student as its teacher sees them, under the student's views.

    Args:
        data: of the student.
        inputs: size, filter, channels and normalisation of the teacher.
        device: where the images are rendered.

    Attributes:
        views: of all N images in this epoch, drawn for the student's images.
    """

    def __init__(self, data: TrainingData, inputs: DataConfig, device: torch.device) -> None:
        self._given, self.inputs, self.device = data, inputs, device
        self.views: Views | None = None

    @classmethod
    def if_needed(
        cls, data: TrainingData, inputs: DataConfig, device: torch.device
    ) -> "OwnImages | None":
        """``None`` for a teacher that sees the student's own pixels."""
        return cls(data, inputs, device) if has_own_pixels(data, inputs) else None

    @property
    def image(self) -> ImageSpec:
        """The shape of its images; does not open the copy."""
        return image_of(self._given, self.inputs)

    @cached_property
    def data(self) -> TrainingData:
        """The copy."""
        return own_copy(self._given, self.inputs)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of what decides its pixels; does not open the copy's images."""
        return pixels_fingerprint(self._given, self.inputs)

    def render(self, rows: Tensor) -> Tensor:
        """The images of these rows (int64 ``[B]``) under this epoch's views, normalised.

        Returns:
            float32 ``[B, C, H, W]``, channels-last. On a GPU that has no room for the copy the one
            wait in a step.
        """
        assert self.views is not None, "prepare(epoch, views) comes before outputs(batch)"
        batches = self._batches
        place = self.device if batches.images is not None else torch.device("cpu")
        self.views = self.views.to(place)  # copied once in an epoch
        return batches.render(rows, self.views).images

    @cached_property
    def _batches(self) -> TrainBatches:
        copy = self.data
        size = min(512, len(copy.train))
        return TrainBatches(copy.train, copy.config, size, 0, self.device, grid=copy.grid)
