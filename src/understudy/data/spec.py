"""The shape of a data set's images."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import UnderstudyError


@dataclass(frozen=True)
class ImageSpec:
    """Channels and size in pixels, the same for every image of a data set; not always a square.

    Attributes:
        channels: 3 for RGB, 1 for grey.
        height, width: in pixels.
    """

    channels: int = 3
    height: int = 32
    width: int = 32

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(f"an image has at least one channel and one pixel, not {self}")

    @classmethod
    def of(cls, shape: Sequence[int]) -> "ImageSpec":
        """From (channels, height, width)."""
        channels, height, width = shape
        return cls(channels, height, width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as in a tensor ``[C, H, W]``."""
        return self.channels, self.height, self.width

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def is_square(self) -> bool:
        return self.height == self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


def size_of(
    image_size: int | tuple[int, int] | None, name: str = "data.image_size"
) -> tuple[int, int] | None:
    """(height, width) from a setting: a number for squares, or both; None stays None.

    Args:
        image_size: the setting.
        name: of the setting, for the message.

    Raises:
        UnderstudyError: for a size below one pixel.
    """
    if image_size is None:
        return None
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) < 1:
        raise UnderstudyError(f"{name} must be at least 1, not {image_size}")
    return height, width
