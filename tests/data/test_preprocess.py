"""Each kind of file becomes the pixels that the rule states: computed here with numpy alone."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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
from understudy.data.preprocess import MOST_PIXELS, Preprocessing, Resize, decode, fit
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return awkward_images(tmp_path_factory.mktemp("awkward"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return broken_images(tmp_path_factory.mktemp("broken"))


def pixels(data: bytes | Path) -> np.ndarray:
    return decode(data, "x", None)


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
        "bomb": "it has 3,000,000,000 pixels, more than the limit of 178,956,970",
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


def test_the_limit_holds_if_pillows_is_lifted(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(preprocess, "MOST_PIXELS", 44 * 30 - 1)
    with pytest.raises(UnderstudyError, match="it has 1,320 pixels, more than the limit of 1,319"):
        pixels(files["plain-png"])
    monkeypatch.setattr(preprocess, "MOST_PIXELS", 44 * 30)
    assert pixels(files["plain-png"]).shape == (30, 44, 3)


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
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([10 * x, 10 * y, np.zeros_like(x)], axis=2))


@pytest.mark.parametrize(
    ("own", "size", "whole", "corner"),
    [
        ((10, 4), (4, 4), (10, 4), (3, 0)),
        ((4, 11), (4, 4), (4, 11), (0, 3)),
        ((14, 10), (4, 4), (6, 4), (1, 0)),  # 5.6 is rounded up
        ((11, 8), (4, 4), (6, 4), (1, 0)),  # 5.5 to the even 6
        ((9, 8), (4, 4), (4, 4), (0, 0)),  # 4.5 to the even 4
        ((10, 13), (4, 4), (4, 5), (0, 0)),
        ((2, 3), (4, 4), (4, 6), (0, 1)),  # enlarged
        ((30, 20), (10, 20), (20, 13), (0, 1)),
        ((40, 10), (10, 20), (40, 10), (10, 0)),
        ((6, 5), (10, 20), (20, 17), (0, 3)),  # enlarged until 20 wide
    ],
)
def test_crop_covers_the_size_and_cuts_out_the_centre(
    own: tuple[int, int], size: tuple[int, int], whole: tuple[int, int], corner: tuple[int, int]
) -> None:
    image, (left, top), (height, width) = stripes(*own), corner, size
    covering = resized(np.asarray(image), whole[1], whole[0])
    expected = covering[top : top + height, left : left + width]
    assert np.array_equal(np.asarray(fit(image, size)), expected)


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


def test_a_line_of_pixels_is_not_enlarged_without_limit() -> None:
    line = Image.new("RGB", (1_000_000, 1))
    with pytest.raises(UnderstudyError, match=r"1000000x1 pixels are too narrow .* pad or squash"):
        fit(line, (32, 32))
    assert MOST_PIXELS < 1_000_000 * 32 * 32
    assert fit(line, (32, 32), "pad").size == fit(line, (32, 32), "squash").size == (32, 32)


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
