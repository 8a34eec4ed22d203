"""From the bytes of an image file to the pixels that a network takes: one rule for every consumer.

Training, ``predict``, every exported file and the page apply this rule, so an exported file gives
the class that Python gives. It is stored in each of them. In this order:

1. **Open.** Bitmap formats only; of several frames the first. An incomplete file is an error.
2. **Orientation.** That of the EXIF data is applied, as cameras mean it.
3. **RGB of 8 bits**, the numbers in the file: colour profiles and gamma are ignored. Of 16 bits the
   upper 8 are taken (``value >> 8``), which is what browsers do. Transparency is laid over white,
   ``(c * a + 255 * (255 - a) + 127) // 255``: a browser's canvas cannot recover the colour below a
   transparent pixel, so dropping the alpha channel could not be reproduced there.
4. **Resize**, if the size differs, by the rule of the data set.

The filter is Pillow's: antialiased bilinear, first along the lines, then along the columns; a pass
that changes nothing is left out. In each pass a pixel is a mean weighted by a triangle whose half
width is the reduction, at least 1. With ``scale = size_in / size_out``, ``support = max(scale, 1)``
and the centre ``c = (i + 0.5) * scale``, output ``i`` covers the inputs from
``max(0, trunc(c - support + 0.5))`` to before ``min(size_in, trunc(c + support + 0.5))``. Input
``j`` weighs ``max(0, 1 - abs((j - c + 0.5) / support))``, divided by the sum of the weights, times
2^22, rounded half away from zero. Their integer sum with the pixels plus 2^21 is shifted right by
22 bits: each pass ends in 8 bits.
"""

import io
import re
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, one_line

VERSION = 1
"""Of the rule; raise it when the pixels of any file change."""
Resize = Literal["crop", "pad", "squash"]
RESIZES: tuple[Resize, ...] = get_args(Resize)

# Only bitmap formats: Pillow would run PostScript, which is a program, through Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm"),
)
"""Suffixes of the files in a folder that are read, in any case; other files are ignored."""
MOST_PIXELS = 178_956_970
"""Of a file, and of an image that is resized before its centre is cut out: twice what Pillow warns
of. More is an attack or a mistake, and above 0.7 GB of memory."""

_ORIENTATION = 0x0112
"""The tag of EXIF."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation -> what turns the stored image upright."""
_EIGHT_BITS = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
"""Modes without transparency that Pillow converts to RGB without loss, CMYK by
``(255 - c) * (255 - k) / 255``."""
_OPENING = threading.Lock()
"""The filters of warnings belong to the process, and images are decoded in threads."""


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
        return decode(data, where, self.image.size, self.resize)


def decode(
    data: bytes | Path, where: str, size: tuple[int, int] | None, resize: Resize = "crop"
) -> np.ndarray:
    """One encoded image as uint8 ``[H, W, 3]``.

    Args:
        data: the encoded bytes, or a file.
        where: what to call the image in messages.
        size: (height, width) to resize to; None keeps its own.
        resize: the rule.

    Raises:
        UnderstudyError: naming the image if it cannot be read.
    """
    try:
        with _open(data) as image:
            if image.width * image.height > MOST_PIXELS:  # a program may have lifted Pillow's limit
                raise Image.DecompressionBombError(f"{image.width * image.height} pixels")
            image.load()
            upright = _turn_upright(_to_rgb(image), image.info.get("exif", b""))
        return np.asarray(upright if size is None else fit(upright, size, resize))
    except Exception as error:  # Pillow's decoders raise a dozen unrelated types on broken bytes
        raise UnderstudyError(
            f"cannot decode {where}: {_reason(error)}; replace or remove this image"
        ) from error


def fit(image: Image.Image, size: tuple[int, int], resize: Resize = "crop") -> Image.Image:
    """Bring an image to ``size``; one of that size is returned unchanged.

    A side that follows from the other is rounded half to even, a border of an odd number of pixels
    is narrower at the top and the left.

    Args:
        image: RGB, of any size.
        size: (height, width) in pixels.
        resize: the rule, see :class:`Preprocessing`.

    Raises:
        UnderstudyError: if covering the size would need more than :data:`MOST_PIXELS`.
    """
    height, width = size
    if image.size == (width, height):
        return image
    if resize == "squash":
        return _resized(image, width, height)
    wide, tall = _proportional(image.size, size, covers=resize == "crop")
    if wide * tall > MOST_PIXELS:
        raise UnderstudyError(
            f"{image.width}x{image.height} pixels are too narrow to be cropped to {width}x{height}"
            ": set data.resize to pad or squash"
        )
    resized = _resized(image, wide, tall)
    if resize == "crop":
        left, top = (wide - width) // 2, (tall - height) // 2
        return resized.crop((left, top, left + width, top + height))
    canvas = Image.new("RGB", (width, height))
    canvas.paste(resized, ((width - wide) // 2, (height - tall) // 2))
    return canvas


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Along the lines, then along the columns: on its own Pillow takes the cheaper order, which
    depends on the size and on Pillow's version, and moves a pixel by one level."""
    wide = image.resize((width, image.height), Image.Resampling.BILINEAR)
    return wide.resize((width, height), Image.Resampling.BILINEAR)


def _proportional(own: tuple[int, int], size: tuple[int, int], *, covers: bool) -> tuple[int, int]:
    """(width, height) of the image's own proportions that just covers ``size``, or fits inside."""
    (own_width, own_height), (height, width) = own, size
    is_tall = own_width * height <= own_height * width  # compared with what is wanted
    if is_tall == covers:
        tall = round(own_height * width / own_width)
        return width, max(height, tall) if covers else max(1, tall)
    wide = round(own_width * height / own_height)
    return max(width, wide) if covers else max(1, wide), height


def _open(data: bytes | Path) -> Image.Image:
    """The file's first frame, not decoded yet."""
    with _OPENING, warnings.catch_warnings():
        # Pillow warns of half of MOST_PIXELS, of damaged EXIF data, and of much that is harmless.
        warnings.simplefilter("ignore")
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        return Image.open(file, formats=FORMATS)


def _turn_upright(image: Image.Image, exif: bytes) -> Image.Image:
    method = _UPRIGHT.get(_orientation(exif))
    return image if method is None else image.transpose(method)


def _orientation(exif: bytes) -> int:
    """The orientation in EXIF data; 1, upright, if there is none or the data are damaged.

    Not by Pillow, which takes that of XMP as well (browsers do not) and warns of damaged data.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, place)
            if tag == _ORIENTATION:
                return int(value) if kind == 3 else 1  # 3: a number of 16 bits
    except struct.error:  # shorter than it claims to be
        pass
    return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any decoded image as RGB of 8 bits, transparency over white."""
    # Pillow scales the numbers of a deep PPM file to 16 bits but calls them 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return _upper_bits(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode in _EIGHT_BITS:
        return image.convert("RGB")
    raise ValueError(f"its pixels are of mode {image.mode}, not of 8 or 16 bits a channel")


def _upper_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as grey of 8; its transparent value, if it has one, is white."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is damaged or of another format than {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        found = re.search(r"\d+", str(error))
        pixels = f"{int(found[0]):,}" if found else "too many"
        return f"it has {pixels} pixels, more than the limit of {MOST_PIXELS:,}"
    return one_line(error)
