"""Each kind of file becomes the pixels that the rule states: computed here with numpy alone."""

import hashlib
import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from tests.awkward_images import (
    ALPHA,
    COLOURS,
    TO_STORED,
    alpha_scene,
    awkward_images,
    broken_images,
    deep_colours,
    deep_scene,
    grey_scene,
    palette_indices,
    png,
    scene,
)

from understudy.data import preprocess
from understudy.data.formats import UnreadableImage
from understudy.data.preprocess import Preprocessing, Resize, decode, decode_with_facts, fit
from understudy.data.spec import ImageSpec
from understudy.data.thumbnail import thumbnail_of
from understudy.errors import UnderstudyError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return awkward_images(tmp_path_factory.mktemp("awkward"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return broken_images(tmp_path_factory.mktemp("broken"))


def pixels(data: bytes | Path) -> np.ndarray:
    return decode(data, "x", None)


def jpeg(height: int, width: int, orientation: int = 1, **options: object) -> bytes:
    """A scene as a JPEG file, stored as a camera with this orientation does."""
    stored = Image.fromarray(np.ascontiguousarray(TO_STORED[orientation](scene(height, width))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "JPEG", **{"quality": 90, "exif": exif} | options)
    return file.getvalue()


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """``[H, W, 3]`` and ``[H, W]`` as the rule mixes them."""
    colours, opacity = colours.astype(int), alpha.astype(int)[..., None]
    return ((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def from_cmyk(cmyk: np.ndarray) -> np.ndarray:
    """``[H, W, 4]``, 255 is full ink."""
    ink, paper = cmyk[..., :3].astype(int), 255 - cmyk[..., 3:].astype(int)
    return (paper - (ink * paper + 127) // 255).astype(np.uint8)


def white_where(colours: np.ndarray, transparent: np.ndarray) -> np.ndarray:
    return np.where(transparent[..., None], 255, colours).astype(np.uint8)


def cmyk_scene() -> np.ndarray:
    y, x = np.mgrid[0:30, 0:44]
    return np.dstack([255 - scene(), np.where((x // 8 + y // 8) % 2, 90, 0).astype(np.uint8)])


INDICES, PALETTE = palette_indices(), np.array(COLOURS, np.uint8)
EXPECTED = {
    **dict.fromkeys(("plain-png", "plain-webp", "plain-bmp", "plain-ppm"), scene()),
    **dict.fromkeys(("plain-tiff", "plain-lzw-tiff", "animated-webp", "animated-png"), scene()),
    **dict.fromkeys(("animated-tiff", "turned-unknown", "turned-damaged"), scene()),
    **{f"turned-{kind}-{n}": scene() for kind in ("png", "webp", "tiff") for n in TO_STORED},
    "profile-png": scene(),
    "odd name & ünlike content": scene(),
    "grey-png": grey(grey_scene()),
    **{
        f"one-bit-{ending}": grey(np.where(grey_scene() > 127, 255, 0).astype(np.uint8))
        for ending in ("png", "tiff", "bmp", "pbm")
    },
    **dict.fromkeys(("palette-png", "palette-gif", "animated-gif"), PALETTE[INDICES]),
    "palette-alpha": over_white(PALETTE[INDICES], np.array(ALPHA)[INDICES]),
    "palette-transparent": white_where(PALETTE[INDICES], INDICES == 2),
    **dict.fromkeys(("alpha-png", "alpha-webp", "alpha-tiff"), over_white(scene(), alpha_scene())),
    "alpha-grey": over_white(grey(grey_scene()), alpha_scene()),
    "transparent-colour": white_where(scene(), (scene() == scene()[3, 4]).all(2)),
    "transparent-grey": white_where(grey(grey_scene()), grey_scene() == grey_scene()[3, 4]),
    **{
        f"deep-grey-{k}": grey((deep_scene() >> 8).astype(np.uint8)) for k in ("png", "tiff", "pgm")
    },
    "deep-transparent-grey": white_where(
        grey((deep_scene() >> 8).astype(np.uint8)), deep_scene() == deep_scene()[3, 4]
    ),
    "deep-colour": (deep_colours()[..., :3] >> 8).astype(np.uint8),
    "deep-alpha": over_white(deep_colours()[..., :3] >> 8, deep_colours()[..., 3] >> 8),
    "cmyk-tiff": from_cmyk(cmyk_scene()),
    "size-1x1": scene(1, 1),
    "size-3x200": scene(3, 200),
    "size-200x3": scene(200, 3),
}
"""Name of a file without loss -> its pixels."""
SIMILAR = {
    **dict.fromkeys(("plain-jpeg", "plain-progressive", "plain-lossy-webp"), scene()),
    "animated-mpo": scene(),
    **{f"turned-{orientation}": scene() for orientation in TO_STORED},
    "grey-jpeg": grey(grey_scene()),
    "cmyk-jpeg": from_cmyk(cmyk_scene()),
    "size-600x800": scene(600, 800),
}
"""Name of a file that was compressed with loss -> the pixels that it is near."""


def test_every_awkward_file_has_an_expectation(files: dict[str, Path]) -> None:
    assert set(files) == EXPECTED.keys() | SIMILAR.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_files_without_loss_have_exactly_these_pixels(name: str, files: dict[str, Path]) -> None:
    found = pixels(files[name])
    assert found.dtype == np.uint8
    assert np.array_equal(found, EXPECTED[name])


@pytest.mark.parametrize("name", SIMILAR)
def test_files_with_loss_are_near(name: str, files: dict[str, Path]) -> None:
    found, expected = pixels(files[name]), SIMILAR[name]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("orientation", TO_STORED)
def test_a_photo_stands_upright(orientation: int, files: dict[str, Path]) -> None:
    """Exactly: the pixels of the JPEG file as they are stored, turned as EXIF defines."""
    stored = np.asarray(Image.open(io.BytesIO(files[f"turned-{orientation}"].read_bytes())))
    upright = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),  # the camera was held so that the image must be turned clockwise
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    assert np.array_equal(pixels(files[f"turned-{orientation}"]), upright)


def exif(order: str, tag: int, kind: int, value: int) -> bytes:
    mark = {"<": b"II", ">": b"MM"}[order]
    return mark + struct.pack(f"{order}HIHHHIHH", 42, 8, 1, tag, kind, 1, value, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_a_whole_number_under_the_right_tag_is_an_orientation(order: str) -> None:
    def is_turned(chunk: bytes) -> bool:
        return not np.array_equal(pixels(png(scene(), eXIf=chunk)), scene())

    assert is_turned(exif(order, 0x0112, 3, 6))
    assert not is_turned(exif(order, 0x0113, 3, 6))
    assert not is_turned(exif(order, 0x0112, 2, 6))
    assert not is_turned(exif(order, 0x0112, 3, 0))
    assert not is_turned(exif(order, 0x0112, 3, 6)[:-4])


def test_an_orientation_in_xmp_is_ignored_as_browsers_do() -> None:
    note = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    assert np.array_equal(pixels(png(scene(), iTXt=note)), scene())


def test_every_colour_and_alpha_is_mixed_as_stated() -> None:
    alpha, value = np.mgrid[0:256, 0:256].astype(np.uint8)
    colours = grey(value)
    assert np.array_equal(pixels(png(np.dstack([colours, alpha]))), over_white(colours, alpha))


def test_every_ink_is_mixed_as_stated() -> None:
    black, value = np.mgrid[0:256, 0:256].astype(np.uint8)
    cmyk = np.dstack([value, 255 - value, value // 2, black])
    file = io.BytesIO()
    Image.fromarray(cmyk, "CMYK").save(file, "TIFF")
    assert np.array_equal(pixels(file.getvalue()), from_cmyk(cmyk))


def test_every_deep_grey_is_its_upper_byte() -> None:
    values = np.arange(2**16).astype(np.uint16).reshape(256, 256)
    assert np.array_equal(pixels(png(values)), grey((values >> 8).astype(np.uint8)))


@pytest.mark.parametrize(
    ("name", "why"),
    {
        "text": "damaged or of another format than JPEG",
        "empty": "damaged or of another format than JPEG",
        "drawing": "damaged or of another format than JPEG",
        "program": "damaged or of another format than JPEG",
        "bomb": "it has 3,000,000,000 pixels, more than data.max_pixels=178956970",
        "float": "its pixels are of mode F, not of 8 or 16 bits a channel",
        "int32": "its pixels are of mode I, not of 8 or 16 bits a channel",
    }.items(),
)
def test_what_is_no_image_is_refused_by_name(name: str, why: str, broken: dict[str, Path]) -> None:
    with pytest.raises(UnderstudyError, match=rf"^cannot decode that file: .*{why}.*; replace or"):
        decode(broken[name], "that file", None)


def test_half_a_file_is_an_error(broken: dict[str, Path]) -> None:
    cut = [path for name, path in broken.items() if name.startswith("truncated")]
    assert len(cut) == 10
    for path in cut:
        with pytest.raises(UnderstudyError, match="cannot decode"):
            pixels(path)


@pytest.mark.parametrize("left", [0.3, 0.6, 0.9, 0.98])
def test_no_cut_file_is_half_grey(left: float, files: dict[str, Path]) -> None:
    """It is refused, or what is missing were no pixels."""
    refused = 0
    for name, path in files.items():
        content, whole = path.read_bytes(), pixels(path)
        try:
            found = pixels(content[: int(left * len(content))])
        except UnderstudyError:
            refused += 1
            continue
        assert np.array_equal(found, whole), name
    assert refused > 20


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"cannot decode gone: No such file .*gone\.png"):
        decode(tmp_path / "gone.png", "gone", None)


def test_no_warning_of_a_large_image_escapes(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns above it; 44 * 30 is 1320
    assert np.array_equal(pixels(files["plain-png"]), scene())


@pytest.mark.parametrize("pillows", [None, 1000, 10**9])
def test_the_limit_is_ours_whatever_pillows_is(
    pillows: int | None, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    with pytest.raises(UnreadableImage, match=r"has 1,320 pixels, more than data.max_pixels=1319"):
        decode(files["plain-png"], "x", None, max_pixels=44 * 30 - 1)
    assert decode(files["plain-png"], "x", (20, 20), max_pixels=44 * 30).shape == (20, 20, 3)
    assert pillows == Image.MAX_IMAGE_PIXELS, "as it was"


def test_the_limit_counts_the_pixels_of_the_file_and_not_of_its_draft() -> None:
    photo = jpeg(480, 640)
    assert decode(photo, "x", (24, 32), max_pixels=480 * 640).shape == (24, 32, 3)
    with pytest.raises(UnreadableImage, match="307,200 pixels"):
        decode(photo, "x", (24, 32), max_pixels=480 * 640 - 1)


def test_few_pixels_are_decoded_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the images in four threads, each of 20 x 20 pixels, two fit into 1000; but one of 40 x 40
    is decoded, too, alone."""
    monkeypatch.setattr(preprocess, "_AT_ONCE", 1000)
    together: list[list[int]] = []
    now: list[int] = []
    load = PngImageFile.load

    def watched(image: PngImageFile) -> object:
        if not image.tile:  # decoded already
            return load(image)
        now.append(image.width)
        together.append(list(now))
        time.sleep(0.005)
        found = load(image)
        now.remove(image.width)
        return found

    monkeypatch.setattr(PngImageFile, "load", watched, raising=False)
    images = [png(scene(side, side)) for side in (20, 20, 20, 40, 20, 20, 40, 20)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(pixels, images))
    assert [len(image) for image in found] == [20, 20, 20, 40, 20, 20, 40, 20]
    assert all(sides == [40] or 40 not in sides for sides in together)
    assert max(map(len, together)) <= 2


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The filter, as the module's docstring defines it: first along the lines."""
    along_lines = one_pass(image, width).transpose(1, 0, 2)
    return one_pass(along_lines, height).transpose(1, 0, 2)


def one_pass(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 ``[H, size, 3]`` from ``[H, W, 3]``."""
    own = image.shape[1]
    if own == size:
        return image
    scale = own / size
    support = max(scale, 1.0)
    out = np.empty((len(image), size, 3), np.uint8)
    for place in range(size):
        centre = (place + 0.5) * scale
        first, end = max(0, int(centre - support + 0.5)), min(own, int(centre + support + 0.5))
        inputs = np.arange(first, end)
        weights = np.maximum(0, 1 - np.abs((inputs - centre + 0.5) / support))
        fixed = (weights / weights.sum() * 2**22 + 0.5).astype(int)
        total = (image[:, first:end].astype(int) * fixed[:, None]).sum(1) + 2**21
        out[:, place] = np.clip(total >> 22, 0, 255)
    return out


SIZES = [(30, 44), (32, 32), (7, 5), (64, 90), (1, 1), (30, 20), (13, 44)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_filter_is_the_documented_one(height: int, width: int) -> None:
    expected = resized(scene(), height, width)
    found = fit(Image.fromarray(scene()), (height, width), "squash")
    assert np.array_equal(np.asarray(found), expected)


def stripes(width: int, height: int) -> Image.Image:
    """Every pixel encodes its place: red its column, green its line."""
    y, x = np.mgrid[:height, :width]
    places = np.stack([10 * x, 10 * y, x // 25 + y // 25], axis=2)
    return Image.fromarray((places % 256).astype(np.uint8))


def test_the_pass_that_reduces_comes_first_where_the_other_enlarges() -> None:
    """A thin image that is squashed would otherwise become a large one in between."""
    image = scene(60, 4)
    columns_first = one_pass(one_pass(image.transpose(1, 0, 2), 8).transpose(1, 0, 2), 9)
    assert np.array_equal(np.asarray(fit(Image.fromarray(image), (8, 9), "squash")), columns_first)
    assert not np.array_equal(resized(image, 8, 9), columns_first)


@pytest.mark.parametrize(
    ("own", "size", "part", "corner"),
    [
        ((10, 4), (4, 4), (4, 4), (3, 0)),
        ((4, 11), (4, 4), (4, 4), (0, 3)),  # seven lines: three off above, four below
        ((14, 10), (4, 4), (10, 10), (2, 0)),
        ((9, 8), (6, 9), (9, 6), (0, 1)),
        ((10, 13), (3, 7), (10, 4), (0, 4)),  # 4.29 is rounded down
        ((9, 11), (8, 6), (8, 11), (0, 0)),  # 8.25
        ((5, 9), (2, 4), (5, 2), (0, 3)),  # 2.5 to the even 2
        ((7, 9), (2, 4), (7, 4), (0, 2)),  # 3.5 to the even 4
        ((2, 3), (4, 4), (2, 2), (0, 0)),  # enlarged
        ((40, 10), (10, 20), (20, 10), (10, 0)),  # already of the size
        ((300, 1), (4, 4), (1, 1), (149, 0)),
        ((1, 300), (4, 40), (1, 1), (0, 149)),  # never without a line
    ],
)
def test_crop_cuts_out_the_largest_centre_and_then_resizes_it(
    own: tuple[int, int], size: tuple[int, int], part: tuple[int, int], corner: tuple[int, int]
) -> None:
    image, (left, top), (wide, tall) = stripes(*own), corner, part
    centre = np.asarray(image)[top : top + tall, left : left + wide]
    assert np.array_equal(np.asarray(fit(image, size)), resized(centre, *size))


@pytest.mark.parametrize(
    ("own", "size", "inside", "corner"),
    [
        ((10, 4), (5, 5), (5, 2), (0, 1)),  # three black lines: one above, two below
        ((4, 10), (5, 5), (2, 5), (1, 0)),
        ((7, 4), (4, 4), (4, 2), (0, 1)),  # 2.29 is rounded down
        ((8, 5), (4, 4), (4, 2), (0, 1)),  # 2.5 to the even 2
        ((200, 1), (4, 4), (4, 1), (0, 1)),  # never without a line
        ((1, 200), (4, 4), (1, 4), (1, 0)),
        ((2, 3), (6, 6), (4, 6), (1, 0)),  # enlarged
        ((5, 5), (5, 9), (5, 5), (2, 0)),
    ],
)
def test_pad_fits_inside_and_is_black_around_it(
    own: tuple[int, int], size: tuple[int, int], inside: tuple[int, int], corner: tuple[int, int]
) -> None:
    image, (left, top), (height, width) = stripes(*own), corner, size
    expected = np.zeros((height, width, 3), np.uint8)
    wide, tall = inside
    expected[top : top + tall, left : left + wide] = resized(np.asarray(image), tall, wide)
    assert np.array_equal(np.asarray(fit(image, size, "pad")), expected)


@pytest.mark.parametrize("rule", preprocess.RESIZES)
def test_an_image_of_the_size_is_not_touched(rule: Resize) -> None:
    image = stripes(4, 6)
    assert fit(image, (6, 4), rule) is image


@pytest.mark.parametrize("rule", preprocess.RESIZES)
@pytest.mark.parametrize("own", [(20_000, 1), (1, 20_000), (3, 20_000), (20_000, 3), (1, 1)])
def test_no_shape_makes_a_large_image_in_between(
    own: tuple[int, int], rule: Resize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image that is made is of fewer pixels than the file or the result, or of a few more."""
    sizes: list[tuple[int, int]] = []
    resize, crop, new = Image.Image.resize, Image.Image.crop, Image.new

    def watched_resize(self: Image.Image, size: tuple[int, int], *rest: object) -> Image.Image:
        sizes.append(size)
        return resize(self, size, *rest)  # type: ignore[arg-type]

    def watched_crop(self: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        sizes.append((box[2] - box[0], box[3] - box[1]))
        return crop(self, box)

    def watched_new(mode: str, size: tuple[int, int], *rest: object) -> Image.Image:
        sizes.append(size)
        return new(mode, size, *rest)  # type: ignore[arg-type]

    image = new("RGB", own)
    monkeypatch.setattr(Image.Image, "resize", watched_resize)
    monkeypatch.setattr(Image.Image, "crop", watched_crop)
    monkeypatch.setattr(Image, "new", watched_new)
    assert fit(image, (224, 200), rule).size == (200, 224)
    assert sizes
    assert max(wide * tall for wide, tall in sizes) <= max(224 * 200, 3 * 20_000)


@pytest.mark.parametrize("rule", preprocess.RESIZES)
def test_an_artefact_reads_a_file_by_its_own_rule(rule: Resize, files: dict[str, Path]) -> None:
    reading = Preprocessing(image=ImageSpec(3, 20, 16), resize=rule)
    for name in ("plain-png", "alpha-png", "turned-png-6"):
        upright = Image.fromarray(EXPECTED[name])
        expected = np.asarray(fit(upright, (20, 16), rule))
        assert np.array_equal(reading.read(files[name], name), expected)
        assert np.array_equal(reading.read(files[name].read_bytes(), name), expected)


def test_orientation_comes_before_the_crop(files: dict[str, Path]) -> None:
    reading = Preprocessing(image=ImageSpec(3, 30, 20))
    assert np.array_equal(reading.read(files["turned-png-6"], "x"), scene()[:, 12:32])


def drafted(data: bytes, scale: int) -> Image.Image:
    """As libjpeg decodes a file at a part of its size, not turned."""
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, JpegImageFile)
    width, height = image.size
    image.draft(None, (width // scale, height // scale))
    assert image.size == (-(-width // scale), -(-height // scale))
    return image.convert("RGB")


def fitted(image: Image.Image, part: tuple[float, ...], height: int, width: int) -> np.ndarray:
    """A part of an image, first along the lines; its sides may lie inside pixels."""
    left, top, right, bottom = part
    box = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
    image = image.crop(box)
    across = (left - box[0], 0, right - box[0], image.height)
    image = image.resize((width, image.height), Image.Resampling.BILINEAR, across)
    down = (0, top - box[1], width, bottom - box[1])
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, down))


@pytest.mark.parametrize(
    ("own", "size", "rule", "scale", "part"),
    [
        ((301, 400), (50, 50), "crop", 4, (49, 0, 350, 301)),  # 6.02 times the size
        ((250, 400), (50, 50), "crop", 4, (75, 0, 325, 250)),  # exactly four times 5/4
        ((249, 400), (50, 50), "crop", 2, (75, 0, 324, 249)),
        ((400, 301), (50, 50), "crop", 4, (0, 49, 301, 350)),
        ((125, 400), (50, 50), "crop", 2, (137, 0, 262, 125)),
        ((124, 400), (50, 50), "crop", 1, (138, 0, 262, 124)),
        ((403, 605), (20, 30), "crop", 8, (0, 0, 604, 403)),  # 604.5 to the even 604
        ((400, 1200), (200, 40), "squash", 1, (0, 0, 1200, 400)),  # the smaller reduction decides
        ((400, 1201), (100, 400), "squash", 2, (0, 0, 1201, 400)),
        ((25, 27), (1, 1), "squash", 8, (0, 0, 27, 25)),
    ],
)
def test_a_jpeg_file_is_decoded_at_a_part_of_its_size(
    own: tuple[int, int],
    size: tuple[int, int],
    rule: Resize,
    scale: int,
    part: tuple[int, int, int, int],
) -> None:
    data = jpeg(*own)
    expected = fitted(drafted(data, scale), tuple(side / scale for side in part), *size)
    assert np.array_equal(decode(data, "x", size, rule), expected)


def test_a_draft_is_padded_as_the_whole_image_would_be() -> None:
    found = decode(jpeg(400, 1201), "x", (20, 100), "pad")
    assert not found[:, :20].any() and not found[:, 80:].any()
    whole = (0, 0, 1201 / 8, 400 / 8)
    assert np.array_equal(found[:, 20:80], fitted(drafted(jpeg(400, 1201), 8), whole, 20, 60))


def test_an_image_of_the_size_has_no_draft() -> None:
    assert np.array_equal(decode(jpeg(50, 50), "x", (50, 50)), pixels(jpeg(50, 50)))


@pytest.mark.parametrize("orientation", TO_STORED)
def test_a_draft_shows_what_the_whole_image_shows(orientation: int) -> None:
    """At 1/8, of a file that ends one line and one column behind a block, turned in every way: a
    side taken for seven pixels longer would move what is seen, by four levels in the mean."""
    data = jpeg(8 * 40 + 1, 8 * 40 + 1, orientation, quality=95, subsampling=0)
    whole = np.asarray(fit(Image.fromarray(pixels(data)), (31, 31))).astype(int)
    found = decode(data, "x", (31, 31))
    assert not np.array_equal(found, whole)
    assert np.abs(found - whole).mean() < 0.7


@pytest.mark.parametrize("orientation", TO_STORED)
def test_a_draft_is_chosen_by_the_upright_size(orientation: int) -> None:
    """Squashed to 40 x 200, a file of 480 x 640 is reduced 3.2 times; on its side it would be
    2.4."""
    data = jpeg(480, 640, orientation)
    upright = drafted(data, 2)
    if orientation in preprocess._UPRIGHT:
        upright = upright.transpose(preprocess._UPRIGHT[orientation])
    expected = np.asarray(fit(upright, (40, 200), "squash"))
    assert np.array_equal(decode(data, "x", (40, 200), "squash"), expected)


@pytest.mark.parametrize("kind", ["grey", "cmyk", "progressive", "mpo"])
def test_every_kind_of_jpeg_file_has_drafts(kind: str) -> None:
    image, file = Image.fromarray(scene(320, 320)), io.BytesIO()
    if kind == "mpo":
        image.save(file, "MPO", save_all=True, append_images=[image.rotate(180)])
    else:
        mode = {"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB")
        image.convert(mode).save(file, "JPEG", progressive=kind == "progressive")
    found = decode(file.getvalue(), "x", (20, 20))
    assert np.array_equal(found, np.asarray(fit(drafted(file.getvalue(), 8), (20, 20))))


def test_a_draft_is_near_the_whole_image() -> None:
    data = jpeg(480, 640)
    whole = np.asarray(fit(Image.open(io.BytesIO(data)), (96, 96))).astype(int)
    assert np.abs(decode(data, "x", (96, 96)) - whole).mean() < 2


def test_grey_is_resized_as_grey(files: dict[str, Path]) -> None:
    """It costs a third, and the pixels are those of its three equal colours."""
    colours = Image.fromarray(EXPECTED["grey-png"])
    for rule in preprocess.RESIZES:
        expected = np.asarray(fit(colours, (17, 23), rule))
        assert np.array_equal(decode(files["grey-png"], "x", (17, 23), rule), expected)


@pytest.mark.parametrize(
    ("name", "kind", "mode", "orientation", "frames"),
    [
        ("plain-png", "PNG", "RGB", 1, 1),
        ("turned-6", "JPEG", "RGB", 6, 1),
        ("turned-unknown", "PNG", "RGB", 1, 1),
        ("deep-grey-png", "PNG", "I;16", 1, 1),
        ("palette-alpha", "PNG", "P", 1, 1),
        ("cmyk-tiff", "TIFF", "CMYK", 1, 1),
        ("animated-gif", "GIF", "P", 1, 2),
        ("animated-webp", "WEBP", "RGB", 1, 2),
        ("animated-png", "PNG", "RGB", 1, 2),
        ("animated-tiff", "TIFF", "RGB", 1, 2),
        ("animated-mpo", "MPO", "RGB", 1, 2),
    ],
)
def test_a_file_tells_facts_about_itself(
    name: str, kind: str, mode: str, orientation: int, frames: int, files: dict[str, Path]
) -> None:
    image, facts = decode_with_facts(files[name], name, (16, 16))
    assert np.array_equal(image, decode(files[name], name, (16, 16)))
    assert (facts.format, facts.mode) == (kind, mode)
    assert (facts.orientation, facts.frames) == (orientation, frames)
    assert (facts.width, facts.height) == ((30, 44) if orientation == 6 else (44, 30))
    assert facts.digest == hashlib.sha256(files[name].read_bytes()).digest()[:16]


def test_facts_give_the_size_before_the_draft() -> None:
    image, facts = decode_with_facts(jpeg(480, 640), "x", (24, 24))
    assert image.shape == (24, 24, 3)
    assert (facts.width, facts.height) == (640, 480)


def test_a_damaged_second_frame_does_not_matter(files: dict[str, Path]) -> None:
    content = files["animated-gif"].read_bytes()
    cut = content[: len(content) * 3 // 4]
    image, facts = decode_with_facts(cut, "x", None)
    assert np.array_equal(image, EXPECTED["animated-gif"])
    assert facts.frames >= 1


def test_facts_hold_the_thumbnail_of_the_pixels() -> None:
    image, facts = decode_with_facts(jpeg(480, 640), "x", (24, 24))
    assert facts.thumbnail == thumbnail_of(Image.fromarray(image))
