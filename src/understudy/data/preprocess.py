"""From the bytes of an image file to the pixels that a network takes: one rule for every consumer.

Training, ``predict``, every exported file and the page apply this rule, so an exported file gives
the class that Python gives. It is stored in each of them. In this order:

1. **Open.** Bitmap formats only; of several frames the first. An incomplete file is an error, and
   so is one of more than ``max_pixels``, which its header tells before anything is decoded.
2. **Draft.** A JPEG file that is much reduced is decoded at 1/8, 1/4 or 1/2 of its size, which its
   8x8 blocks of frequencies allow at less cost: the smallest of these at which what is resized
   (step 5) still has at least 5/4 of the wanted height and width. The part that is resized is
   found in the whole image and divided by the scale: its sides need not lie between pixels.
   The page, which leaves decoding to the browser, takes means of blocks instead; how much these
   differ is measured in ``docs/deployment.md``.
3. **Orientation.** That of the EXIF data is applied, as cameras mean it.
4. **RGB of 8 bits**, the numbers in the file: colour profiles and gamma are ignored. Of 16 bits the
   upper 8 are taken (``value >> 8``), which is what browsers do. Transparency is laid over white,
   ``(c * a + 255 * (255 - a) + 127) // 255``: a browser's canvas cannot recover the colour below a
   transparent pixel, so dropping the alpha channel could not be reproduced there.
5. **Resize**, if the size differs, by the rule of the data set: see :func:`fit`.
6. **Grey** by Pillow's mode ``L``, for networks of one channel.

The filter is Pillow's: antialiased bilinear, first along the lines, then along the columns (the
other way round where the width grows and the height shrinks, so that nothing large is made of a
thin image); a pass that changes nothing is left out. In each pass a pixel is a mean weighted by a
triangle whose half width is the reduction, at least 1. With ``scale = size_in / size_out``,
``support = max(scale, 1)`` and the centre ``c = (i + 0.5) * scale``, output ``i`` covers the inputs
from ``max(0, trunc(c - support + 0.5))`` to before ``min(size_in, trunc(c + support + 0.5))``.
Input ``j`` weighs ``max(0, 1 - abs((j - c + 0.5) / support))``, divided by the sum of the weights,
times 2^22, rounded half away from zero. Their integer sum with the pixels plus 2^21 is shifted
right by 22 bits: each pass ends in 8 bits. Teachers that were trained so have Pillow's bicubic
filter, the same with another curve; no file for a device has it.

Memory: decoding takes 4 bytes a pixel and turning, cutting and removing transparency up to 12 more
for a moment. Images that are decoded at one time have together at most 2^26 pixels, or there is one
alone: about 1 GB, or 16 bytes for each of ``max_pixels``.
"""

import hashlib
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from understudy.config.images import MOST_PIXELS, Interpolation
from understudy.data.formats import (
    naming,
    open_image,
    orientation_of,
    pillow_unlimited,
)
from understudy.data.inspection import ImageFacts
from understudy.data.spec import ImageSpec
from understudy.data.thumbnail import thumbnail_of

VERSION = 2
"""Of the rule; raise it when the pixels of any file change."""
Resize = Literal["crop", "pad", "squash"]
RESIZES: tuple[Resize, ...] = get_args(Resize)
Size = tuple[int, int]
"""Width and height in pixels, as Pillow has them; ``size`` in this package is (height, width)."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom: of a part of an image, in pixels."""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_AT_ONCE = 2**26
"""Pixels of all images together that are decoded at one time, unless one alone has more."""
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


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image file becomes uint8 RGB, or grey, of one size.

    Attributes:
        image: channels (3 for RGB, 1 for grey), height and width of the result.
        resize: ``crop`` cuts out the largest centred part of the size's proportions, ``pad`` fits
            inside and pads with black, ``squash`` changes the ratio of the sides.
        filter: of the resizing; antialiased, as Pillow computes it.
        max_pixels: a file of more pixels is refused.
        version: of the rule.
    """

    image: ImageSpec
    resize: Resize = "crop"
    filter: Interpolation = "bilinear"
    max_pixels: int = MOST_PIXELS
    version: int = VERSION

    def read(self, data: bytes | Path, where: str) -> np.ndarray:
        """One encoded image as uint8 ``[H, W, C]``.

        Args:
            data: the encoded bytes, or a file.
            where: what to call the image in messages.

        Raises:
            UnreadableImage: naming the image.
        """
        rule = (self.resize, self.max_pixels, self.filter, self.image.channels)
        return decode(data, where, self.image.size, *rule)


def decode(
    data: bytes | Path,
    where: str,
    size: tuple[int, int] | None,
    resize: Resize = "crop",
    max_pixels: int = MOST_PIXELS,
    interpolation: Interpolation = "bilinear",
    channels: int = 3,
) -> np.ndarray:
    """One encoded image as uint8 ``[H, W, C]``.

    Args:
        data: the encoded bytes, or a file.
        where: what to call the image in messages.
        size: (height, width) to resize to; None keeps its own.
        resize: the rule.
        max_pixels: a file of more pixels is refused.
        interpolation: filter of the resizing.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UnreadableImage: naming the image.
    """
    with naming(where, max_pixels), open_image(_bytes(data), max_pixels) as image:
        return array_of(_pixels(image, size, resize, interpolation), channels)


def decode_with_facts(
    data: bytes | Path,
    where: str,
    size: tuple[int, int] | None,
    resize: Resize = "crop",
    max_pixels: int = MOST_PIXELS,
    interpolation: Interpolation = "bilinear",
    channels: int = 3,
) -> tuple[np.ndarray, ImageFacts]:
    """As :func:`decode`, with what the file tells about itself."""
    with naming(where, max_pixels):
        encoded = _bytes(data)
        with open_image(encoded, max_pixels) as image:
            width, height, mode = image.width, image.height, image.mode
            kind, frames = image.format or "", _num_frames(image, encoded)
            orientation = orientation_of(image)
            pixels = _pixels(image, size, resize, interpolation)
        facts = ImageFacts(
            width=width,
            height=height,
            mode=mode,
            format=kind,
            orientation=orientation,
            frames=frames,
            digest=hashlib.sha256(encoded).digest()[:16],
            thumbnail=thumbnail_of(pixels),
        )
        return array_of(pixels, channels), facts


def array_of(image: Image.Image, channels: int) -> np.ndarray:
    """uint8 ``[H, W, C]`` of an RGB or grey image; 3 channels are RGB, 1 is grey."""
    mode = "RGB" if channels == 3 else "L"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if channels == 3 else pixels[..., None]


def pixels_of(
    image: Image.Image,
    where: str,
    size: tuple[int, int] | None,
    resize: Resize = "crop",
    interpolation: Interpolation = "bilinear",
    channels: int = 3,
) -> np.ndarray:
    """An open Pillow image as uint8 ``[H, W, C]``, by the rule for files; it is not changed.

    Args:
        image: loaded or not; only a file that is opened here is decoded at a part of its size.
        where: what to call the image in messages.
        size: (height, width) to resize to; None keeps its own.
        resize: the rule.
        interpolation: filter of the resizing.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UnreadableImage: naming the image.
    """
    with naming(where, MOST_PIXELS):
        return array_of(_pixels(image.copy(), size, resize, interpolation), channels)


def fit(
    image: Image.Image,
    size: tuple[int, int],
    resize: Resize = "crop",
    interpolation: Interpolation = "bilinear",
) -> Image.Image:
    """Bring an image to ``size``; one of that size is returned unchanged.

    ``crop`` cuts out the largest centred rectangle of the size's proportions and resizes that.
    ``pad`` resizes the image so that it fits inside and centres it on black. ``squash`` resizes it
    to the size. A side that follows from the other is rounded half to even and has at least one
    pixel; where an odd number of pixels is cut off or added, one fewer at the top and the left.

    Args:
        image: RGB or grey, of any size.
        size: (height, width) in pixels.
        resize: the rule.
        interpolation: the filter.
    """
    if image.size == size[::-1]:
        return image
    box, target = _plan(image.size, size, resize)
    return _on_black(_resized(image, box, target, interpolation), size)


def _pixels(
    image: Image.Image, size: tuple[int, int] | None, resize: Resize, interpolation: Interpolation
) -> Image.Image:
    """An opened file as upright RGB, brought to the size if there is one."""
    orientation, pixels, scale = orientation_of(image), image.width * image.height, 1
    own = image.size if orientation < 5 else image.size[::-1]
    if size is not None and isinstance(image, JpegImageFile):
        scale = _draft_scale(own, size, resize)
        image.draft(None, (image.width // scale, image.height // scale))
    if "progressive" not in image.info:  # those are decoded in full before they are reduced
        pixels = image.width * image.height
    with _room_for(pixels):
        image.load()
        found = _eight_bits(image)
        if orientation in _UPRIGHT:
            found = found.transpose(_UPRIGHT[orientation])
        if size is not None and scale == 1:
            found = fit(found, size, resize, interpolation)
        elif size is not None:
            box, target = _plan(own, size, resize)
            box = _in_draft(box, own, found.size, scale, orientation)
            found = _on_black(_resized(found, box, target, interpolation), size)
        return found if found.mode == "RGB" else found.convert("RGB")


def _plan(own: Size, size: tuple[int, int], resize: Resize) -> tuple[Box, Size]:
    """The part of an image of (width, height) that is resized, and to what (width, height)."""
    wanted = size[1], size[0]
    wide, tall = _inside(wanted, own) if resize == "crop" else own
    left, top = (own[0] - wide) // 2, (own[1] - tall) // 2
    target = _inside(own, wanted) if resize == "pad" else wanted
    return (left, top, left + wide, top + tall), target


def _inside(own: Size, size: Size) -> Size:
    """The largest (width, height) of the proportions of ``own`` that fits inside ``size``."""
    (own_width, own_height), (width, height) = own, size
    if own_width * height <= own_height * width:  # taller than what it is to fit into
        return max(1, round(own_width * height / own_height)), height
    return width, max(1, round(own_height * width / own_width))


def _draft_scale(own: Size, size: tuple[int, int], resize: Resize) -> int:
    """By how much the sides of a JPEG file of (width, height) are divided when it is decoded."""
    (left, top, right, bottom), (wide, tall) = _plan(own, size, resize)
    reduction = min((right - left) / wide, (bottom - top) / tall)
    return next((scale for scale in (8, 4, 2) if 4 * reduction >= 5 * scale), 1)


def _in_draft(box: Box, own: Size, drafted: Size, scale: int, orientation: int) -> Box:
    """A part of the whole upright image as one of its upright draft.

    The last column and line of a draft stand for what is left of the file, which may be less than
    ``scale``: where they have come to the left or the top, the image begins inside them.
    """
    x = drafted[0] - own[0] / scale if orientation in (2, 3, 6, 7) else 0.0
    y = drafted[1] - own[1] / scale if orientation in (3, 4, 7, 8) else 0.0
    left, top, right, bottom = (side / scale for side in box)
    return x + left, y + top, x + right, y + bottom


def _resized(image: Image.Image, box: Box, size: Size, interpolation: Interpolation) -> Image.Image:
    """A part of an image, cut out at whole pixels and resized.

    In two passes: on its own Pillow takes the cheaper order, which depends on the size and on
    Pillow's version, and moves a pixel by one level.
    """
    x, y = math.floor(box[0]), math.floor(box[1])
    image = _cut(image, (x, y, math.ceil(box[2]), math.ceil(box[3])))
    left, top, right, bottom = box[0] - x, box[1] - y, box[2] - x, box[3] - y
    width, height = size
    kernel = _FILTERS[interpolation]

    def across(image: Image.Image) -> Image.Image:
        part = (left, 0, right, image.height)
        return image.resize((width, image.height), kernel, part)

    def down(image: Image.Image) -> Image.Image:
        part = (0, top, image.width, bottom)
        return image.resize((image.width, height), kernel, part)

    if width > right - left and height < bottom - top:
        return across(down(image))
    return down(across(image))


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    if box == (0, 0, *image.size):
        return image
    with pillow_unlimited():  # it limits what is cut out, too
        return image.crop(box)


def _on_black(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image in the middle of a black one of the size; itself if it has the size."""
    height, width = size
    if image.size == (width, height):
        return image
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas


_decoding = 0
"""Pixels of the images that are being decoded now."""
_room = threading.Condition()


@contextmanager
def _room_for(pixels: int) -> Iterator[None]:
    """Wait until the images that are decoded now leave room for so many pixels."""
    global _decoding
    with _room:
        _room.wait_for(lambda: _decoding == 0 or _decoding + pixels <= _AT_ONCE)
        _decoding += pixels
    try:
        yield
    finally:
        with _room:
            _decoding -= pixels
            _room.notify_all()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Any decoded image as grey or RGB of 8 bits, transparency over white."""
    # Pillow scales the numbers of a deep PPM file to 16 bits but calls them 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return _upper_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
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


def _num_frames(image: Image.Image, encoded: bytes) -> int:
    """How many frames a file has; 1 if a later one is damaged."""
    if image.format not in ("GIF", "TIFF"):
        return int(getattr(image, "n_frames", 1))
    try:
        with open_image(encoded, image.width * image.height) as again:  # counting loses the first
            return int(getattr(again, "n_frames", 1))
    except Exception:  # of the decoders' many types
        return 1


def _bytes(data: bytes | Path) -> bytes:
    return data if isinstance(data, bytes) else data.read_bytes()
