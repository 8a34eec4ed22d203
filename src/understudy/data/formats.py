"""Files of images: which formats are read, how one is opened, and what is refused unread."""

import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError, features

from understudy.config.images import MOST_PIXELS
from understudy.errors import UnderstudyError, one_line

# Only bitmap formats: Pillow would run PostScript, which is a program, through Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What every Pillow decodes; AVIF and HEIC need a decoder that may be absent."""
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".avif", ".heic", ".heif"),
)
"""Suffixes of the files in a folder that are read, in any case; other files are ignored."""

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
"""Brands of the ISO base media file format, which films have as well."""
_NO_AVIF = "AVIF needs a newer Pillow: pip install --upgrade pillow"
_NO_HEIC = "HEIC needs a decoder: pip install 'understudy[heif]'"
_ORIENTATION = 0x0112
"""The tag of EXIF."""
_PILLOW = threading.Lock()
"""Pillow's limit and the filters of warnings belong to the process, and images are decoded in
threads."""


class UnreadableImage(UnderstudyError):
    """An image that cannot be decoded.

    Attributes:
        reason: why, in one line, without the image's name.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"cannot decode {where}: {reason}; replace or remove this image")
        self.reason = reason


@contextmanager
def naming(where: str, max_pixels: int = MOST_PIXELS) -> Iterator[None]:
    """What a decoder raises inside, as an :class:`UnreadableImage` called ``where``."""
    try:
        yield
    except MemoryError:
        raise  # the machine's fault, not the image's: it must not be left out for that
    except Exception as error:  # Pillow's decoders raise a dozen unrelated types on broken bytes
        raise UnreadableImage(where, _reason(error, max_pixels)) from error


@contextmanager
def pillow_unlimited() -> Iterator[None]:
    """Pillow's own limit of pixels does not hold inside; one thread at a time."""
    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def open_image(data: bytes, max_pixels: int = MOST_PIXELS) -> Image.Image:
    """The first frame of an encoded image: its header is read, its pixels are not decoded yet.

    Raises:
        Exception: of many types, see :func:`naming`, if it is no image or has too many pixels.
    """
    with pillow_unlimited(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF data, and much that is harmless
        formats = _container(data) if data[4:8] == b"ftyp" else FORMATS
        image = Image.open(io.BytesIO(data), formats=formats)
    if image.width * image.height > max_pixels:
        raise Image.DecompressionBombError(f"{image.width * image.height} pixels")
    return image


def lacks_decoder(suffix: str) -> str | None:
    """Why files of this suffix, one of :data:`SUFFIXES`, cannot be read here; None if they can."""
    if suffix.lower() == ".avif":
        return None if _reads_avif() else _NO_AVIF
    if suffix.lower() in (".heic", ".heif"):
        return None if _reads_heic() else _NO_HEIC
    return None


def _container(data: bytes) -> tuple[str, ...]:
    """Pillow's name of the format of a file that is AVIF or HEIC, by the brands in its header."""
    header = data[8 : int.from_bytes(data[:4], "big")]
    brands = {header[place : place + 4] for place in range(0, len(header), 4)}
    if brands & _AVIF:
        if not _reads_avif():
            raise ValueError(_NO_AVIF)
        return ("AVIF",)
    if brands & _HEIC:
        if not _reads_heic():
            raise ValueError(_NO_HEIC)
        return ("HEIF",)
    return FORMATS


def _reads_avif() -> bool:
    return "avif" in features.get_supported_modules()


def _reads_heic() -> bool:
    """Whether the extra is there; it then belongs to Pillow's formats from now on."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def orientation_of(image: Image.Image) -> int:
    """The orientation in an image's EXIF data; 1, upright, if there is none or they are damaged.

    Not by Pillow, which takes that of XMP as well (browsers do not) and warns of damaged data.
    """
    tiff = (image.info.get("exif") or b"").removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, place)
            if tag == _ORIENTATION:  # of kind 3: a number of 16 bits
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:  # shorter than it claims to be
        pass
    return 1


def _reason(error: Exception, max_pixels: int) -> str:
    """Why an image cannot be read, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is damaged or of another format than {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        found = re.search(r"\d+", str(error))
        pixels = f"{int(found[0]):,}" if found else "too many"
        return f"it has {pixels} pixels, more than data.max_pixels={max_pixels}"
    return one_line(error)
