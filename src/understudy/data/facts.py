"""Facts of many image files in columns: about 110 bytes an image, so a million fit into memory."""

import numpy as np

from understudy.data.inspection import ImageFacts
from understudy.data.thumbnail import SIDE


class Facts:
    """What is known of each image of a listing; of one that is not read, nothing.

    Args:
        num_images: N, all images of the listing.

    Attributes:
        is_read: bool ``[N]``.
        width, height: int32 ``[N]``, in pixels, upright.
        orientation: uint8 ``[N]``, of the EXIF data.
        frames: int32 ``[N]``.
        mode, format: int16 ``[N]``, positions in ``modes`` and ``formats``.
        digest: uint64 ``[N, 2]``, equal for equal bytes.
        thumbnail: uint8 ``[N, 64]``.
    """

    def __init__(self, num_images: int) -> None:
        self.is_read = np.zeros(num_images, bool)
        self.width = np.zeros(num_images, np.int32)
        self.height = np.zeros(num_images, np.int32)
        self.orientation = np.zeros(num_images, np.uint8)
        self.frames = np.zeros(num_images, np.int32)
        self.mode = np.zeros(num_images, np.int16)
        self.format = np.zeros(num_images, np.int16)
        self.digest = np.zeros((num_images, 2), np.uint64)
        self.thumbnail = np.zeros((num_images, SIDE * SIDE), np.uint8)
        self._modes: dict[str, int] = {}
        self._formats: dict[str, int] = {}

    @property
    def modes(self) -> list[str]:
        """Pillow's names of pixels that occur."""
        return list(self._modes)

    @property
    def formats(self) -> list[str]:
        """Names of file formats that occur."""
        return list(self._formats)

    def add(self, row: int, facts: ImageFacts) -> None:
        """Note the facts of an image that could be read."""
        sides = facts.width, facts.height
        is_turned = facts.orientation >= 5  # by a quarter
        self.is_read[row] = True
        self.width[row], self.height[row] = sides[::-1] if is_turned else sides
        self.orientation[row] = facts.orientation
        self.frames[row] = facts.frames
        self.mode[row] = self._modes.setdefault(facts.mode, len(self._modes))
        self.format[row] = self._formats.setdefault(facts.format, len(self._formats))
        self.digest[row] = np.frombuffer(facts.digest, np.uint64)
        self.thumbnail[row] = np.frombuffer(facts.thumbnail, np.uint8)
