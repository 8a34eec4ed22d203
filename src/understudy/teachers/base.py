"""What a teacher is: it turns a batch into outputs.

A teacher is never a child of the method: it is in no checkpoint, is never wrapped for several
ranks, and never leaves eval mode.
"""

from abc import ABC, abstractmethod

from understudy.data.loader import Batch
from understudy.data.views import Views
from understudy.events import SILENT, Observer
from understudy.models.base import Outputs

UNAUGMENTED = -1
"""In place of an epoch's number: the unaugmented images."""


class Teacher(ABC):
    """Turns a batch into outputs: a frozen network, an ensemble, a cache, or a class of yours."""

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        """Get ready for an epoch; a cache computes missing outputs here, a network that sees images
        of its own notes the views, any other does nothing.

        Args:
            epoch: from 0, or ``UNAUGMENTED``.
            views: of all N training images in this epoch.
            observer: follows the labelling.
        """
        return None

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """Outputs for the images of a batch, on its device, without gradient."""
