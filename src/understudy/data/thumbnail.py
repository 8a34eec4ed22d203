"""A picture in 64 grey pixels: by these, near duplicates are found."""

from PIL import Image

SIDE = 8
"""Pixels of each side."""


def thumbnail_of(image: Image.Image) -> bytes:
    """The image as 8 x 8 grey pixels, line by line, whatever its proportions.

    Each is a mean over its part of the image, so compression, resizing and noise hardly change it.

    Args:
        image: RGB or grey.
    """
    return image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()
