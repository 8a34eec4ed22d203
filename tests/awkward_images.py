"""Image files as users have them: every colour mode, orientation and container, and broken ones.

The consumers of an exported network (Python, the runtimes, the page) must agree on all of them.
Pixels are computed, never random, so two calls write the same bytes.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

HEIGHT, WIDTH = 30, 44
"""Of every image unless its name tells another size."""
COLOURS = (
    (250, 250, 250),
    (10, 10, 10),
    (220, 40, 30),
    (30, 160, 60),
    (40, 60, 200),
    (240, 200, 40),
    (120, 40, 140),
    (90, 200, 210),
)
"""The palette of :func:`palette_indices`."""
ALPHA = (255, 0, 128, 64, 255, 200, 1, 254)
"""The alpha of each colour of the palette, where it has one."""


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 ``[H, W, 3]``: smooth, colourful, and different after every flip and turn."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    red = 255 * x / max(x.max(), 1e-9)
    green = 127 + 127 * np.sin(7 * y + 3 * x)
    blue = np.where(x + 2 * y < 0.7, 230, 40) - 30 * y
    return np.rint(np.stack([red, green, blue], 2)).clip(0, 255).astype(np.uint8)


def grey_scene() -> np.ndarray:
    """uint8 ``[H, W]``."""
    return scene()[..., 1]


def deep_scene() -> np.ndarray:
    """uint16 ``[H, W]``: runs through the whole range, with low bytes that matter for rounding."""
    return np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)


def deep_colours() -> np.ndarray:
    """uint16 ``[H, W, 4]``: red, green, blue and alpha."""
    deep = deep_scene()
    return np.stack([deep, deep[::-1], deep[:, ::-1], 65535 - deep], 2)


def alpha_scene() -> np.ndarray:
    """uint8 ``[H, W]``: from transparent at the left to opaque at the right."""
    return np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))


def palette_indices() -> np.ndarray:
    """uint8 ``[H, W]``: tiles of 6 by 6 pixels in the eight colours."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] // 6
    return ((x + 3 * y) % len(COLOURS)).astype(np.uint8)


TO_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""EXIF orientation -> how a camera that writes it stores the upright image ``[H, W, ...]``."""


def awkward_images(folder: Path) -> dict[str, Path]:
    """Write every kind of image that must be read; name without ending -> file.

    Args:
        folder: is created; existing files of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for write in (_plain, _turned, _transparent, _few_colours, _deep, _printed, _animated, _odd):
        write(folder)
    return {path.name.partition(".")[0]: path for path in sorted(folder.iterdir())}


def broken_images(folder: Path) -> dict[str, Path]:
    """Write every kind of file that must be refused; name without ending -> file."""
    whole = awkward_images(folder / "whole")
    for name in (
        *("plain-jpeg", "plain-progressive", "plain-png", "plain-webp", "plain-bmp"),
        *("plain-tiff", "plain-ppm", "palette-gif", "cmyk-jpeg", "size-600x800"),
    ):
        content = whole[name].read_bytes()
        (folder / f"truncated-{name}{whole[name].suffix}").write_bytes(content[: len(content) // 2])
    (folder / "text.jpg").write_text("this is no image\n")
    (folder / "empty.png").write_bytes(b"")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "bomb.png").write_bytes(png(np.zeros((1, 1), np.uint8), size=(60_000, 50_000)))
    Image.fromarray(scene()[..., 0].astype(np.float32)).save(folder / "float.tiff")
    Image.fromarray(scene()[..., 0].astype(np.int32)).save(folder / "int32.tiff")
    return {
        path.name.partition(".")[0]: path for path in sorted(folder.iterdir()) if path.is_file()
    }


def png(pixels: np.ndarray, size: tuple[int, int] | None = None, **chunks: bytes) -> bytes:
    """A PNG file, for what Pillow does not write: 16-bit colour, wrong sizes, chunks of any kind.

    Args:
        pixels: uint8 or uint16 ``[H, W]`` or ``[H, W, C]`` with C 2 (grey and alpha), 3 or 4.
        size: (height, width) that the header states, if not the true one.
        chunks: type -> content, between header and pixels.
    """
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    height, width = size or pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    rows = [b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels]
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(b"".join(rows)), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts.items())


def _chunk(name: str, content: bytes) -> bytes:
    body = name.encode() + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _plain(folder: Path) -> None:
    image = Image.fromarray(scene())
    image.save(folder / "plain-png.png")
    image.save(folder / "plain-jpeg.jpg", quality=90)
    image.save(folder / "plain-progressive.jpg", quality=90, progressive=True)
    image.save(folder / "plain-webp.webp", lossless=True)
    image.save(folder / "plain-lossy-webp.webp", quality=80)
    image.save(folder / "plain-bmp.bmp")
    image.save(folder / "plain-tiff.tiff")
    image.save(folder / "plain-lzw-tiff.tif", compression="tiff_lzw")
    image.save(folder / "plain-ppm.ppm")


def _turned(folder: Path) -> None:
    for orientation, stored in TO_STORED.items():
        image = Image.fromarray(np.ascontiguousarray(stored(scene())))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(folder / f"turned-{orientation}.jpg", quality=95, exif=exif)
        image.save(folder / f"turned-png-{orientation}.png", exif=exif)
        image.save(folder / f"turned-webp-{orientation}.webp", lossless=True, exif=exif)
        image.save(folder / f"turned-tiff-{orientation}.tiff", tiffinfo={0x0112: orientation})
    unknown = Image.Exif()
    unknown[0x0112] = 9
    Image.fromarray(scene()).save(folder / "turned-unknown.png", exif=unknown)
    (folder / "turned-damaged.png").write_bytes(png(scene(), eXIf=b"MM\0*\0\0\xff\xff"))


def _transparent(folder: Path) -> None:
    rgba = Image.fromarray(np.dstack([scene(), alpha_scene()]))
    rgba.save(folder / "alpha-png.png")
    rgba.save(folder / "alpha-webp.webp", lossless=True, exact=True)
    rgba.save(folder / "alpha-tiff.tiff")
    Image.fromarray(np.dstack([grey_scene(), alpha_scene()]), "LA").save(folder / "alpha-grey.png")
    colour = scene()[3, 4]  # every pixel of this colour is transparent
    transparent = struct.pack(">HHH", *map(int, colour))
    (folder / "transparent-colour.png").write_bytes(png(scene(), tRNS=transparent))
    grey = struct.pack(">H", int(grey_scene()[3, 4]))
    (folder / "transparent-grey.png").write_bytes(png(grey_scene(), tRNS=grey))


def _few_colours(folder: Path) -> None:
    Image.fromarray(grey_scene()).save(folder / "grey-png.png")
    Image.fromarray(grey_scene()).save(folder / "grey-jpeg.jpg", quality=90)
    black_and_white = Image.fromarray(grey_scene() > 127)
    for ending in ("png", "tiff", "bmp", "pbm"):
        black_and_white.save(folder / f"one-bit-{ending}.{ending}")
    palette = Image.fromarray(palette_indices(), "P")
    palette.putpalette(np.array(COLOURS, np.uint8).tobytes())
    palette.save(folder / "palette-png.png")
    palette.save(folder / "palette-gif.gif")
    palette.save(folder / "palette-alpha.png", transparency=bytes(ALPHA))
    palette.save(folder / "palette-transparent.gif", transparency=2)


def _deep(folder: Path) -> None:
    deep, colours = deep_scene(), deep_colours()
    (folder / "deep-grey-png.png").write_bytes(png(deep))
    transparent = struct.pack(">H", int(deep[3, 4]))
    (folder / "deep-transparent-grey.png").write_bytes(png(deep, tRNS=transparent))
    (folder / "deep-colour.png").write_bytes(png(colours[..., :3]))
    (folder / "deep-alpha.png").write_bytes(png(colours))
    Image.fromarray(deep).save(folder / "deep-grey-tiff.tiff")
    content = b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes()
    (folder / "deep-grey-pgm.pgm").write_bytes(content)


def _printed(folder: Path) -> None:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    black = np.where((x // 8 + y // 8) % 2, 90, 0).astype(np.uint8)
    cmyk = Image.fromarray(np.dstack([255 - scene(), black]), "CMYK")
    cmyk.save(folder / "cmyk-jpeg.jpg", quality=95)  # inverted, as Adobe's programs write it
    cmyk.save(folder / "cmyk-tiff.tiff")


def _animated(folder: Path) -> None:
    palette = Image.fromarray(palette_indices(), "P")
    palette.putpalette(np.array(COLOURS, np.uint8).tobytes())
    turned = palette.transpose(Image.Transpose.ROTATE_180)
    palette.save(folder / "animated-gif.gif", save_all=True, append_images=[turned], duration=100)
    first, second = Image.fromarray(scene()), Image.fromarray(255 - scene())
    for name in ("animated-webp.webp", "animated-png.png", "animated-tiff.tiff"):
        extra = {"lossless": True} if name.endswith("webp") else {}
        first.save(folder / name, save_all=True, append_images=[second], **extra)
    first.save(folder / "animated-mpo.jpg", "MPO", save_all=True, append_images=[second])


def _odd(folder: Path) -> None:
    Image.fromarray(scene(1, 1)).save(folder / "size-1x1.png")
    Image.fromarray(scene(3, 200)).save(folder / "size-3x200.png")
    Image.fromarray(scene(200, 3)).save(folder / "size-200x3.png")
    Image.fromarray(scene(600, 800)).save(folder / "size-600x800.jpg", quality=85)
    Image.fromarray(scene()).save(folder / "profile-png.png", icc_profile=swapped_profile())
    Image.fromarray(scene()).save(folder / "odd name & ünlike content.PNG", "BMP")


def swapped_profile() -> bytes:
    """An ICC profile under which red is blue and blue is red, so that its use cannot be missed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    undated = profile[:24] + bytes(12) + profile[36:]
    return undated.replace(b"rXYZ", b"xXYZ").replace(b"bXYZ", b"rXYZ").replace(b"xXYZ", b"bXYZ")
