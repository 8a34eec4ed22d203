"""From the bytes of an image file to the pixels that a network takes: one rule for every consumer.

Training, ``predict``, every exported file and the page apply this rule, so an exported file gives
the class that Python gives. It is stored in each of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from understudy.data.spec import ImageSpec

VERSION = 1
"""Of the rule; raise it when the pixels of any file change."""
Resize = Literal["crop", "pad", "squash"]

# Only bitmap formats: Pillow would run PostScript, which is a program, through Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image file becomes uint8 RGB of one size.

    Attributes:
        image: channels, height and width of the result.
        resize: ``crop`` covers the size and cuts out the centre, ``pad`` fits inside and pads with
            black, ``squash`` changes the ratio of the sides.
        filter: of the resizing; antialiased bilinear, as Pillow computes it.
        version: of the rule.
    """

    image: ImageSpec
    resize: Resize = "crop"
    filter: Literal["bilinear"] = "bilinear"
    version: int = VERSION

    def read(self, data: bytes | Path, where: str) -> np.ndarray:
        """One encoded image as uint8 ``[H, W, 3]``.

        Args:
            data: the encoded bytes, or a file.
            where: what to call the image in messages.

        Raises:
            UnderstudyError: naming the image if it cannot be read.
        """
        raise NotImplementedError
