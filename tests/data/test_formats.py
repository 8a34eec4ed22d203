"""What a file is found to be by its first bytes, and what is needed to decode it."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from tests.awkward_images import scene

from understudy.data import formats
from understudy.data.formats import SUFFIXES, UnreadableImage, lacks_decoder, naming
from understudy.data.preprocess import decode, decode_with_facts

HAS_AVIF = "avif" in features.get_supported_modules()
FILM = b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + bytes(40)


def avif(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(60, 90)).save(file, "AVIF", quality=95, **options)
    return file.getvalue()


def heic(**options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(scene(60, 90)))
    image.save(file, quality=95, **options)
    return file.getvalue()


def is_near(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.skipif(not HAS_AVIF, reason="this Pillow has no AVIF")
def test_avif_is_read_upright() -> None:
    assert is_near(decode(avif(), "x", None), scene(60, 90))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = avif(exif=exif)
    assert is_near(decode(content, "x", None), np.rot90(scene(60, 90), -1))
    _, facts = decode_with_facts(content, "x", (8, 8))
    assert (facts.format, facts.orientation, facts.width) == ("AVIF", 6, 90)


def test_heic_is_read_upright_whatever_the_file_is_called(tmp_path: Path) -> None:
    content = heic()
    (tmp_path / "photo.jpg").write_bytes(content)
    assert is_near(decode(tmp_path / "photo.jpg", "x", None), scene(60, 90))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(heic(exif=exif.tobytes()), "x", None)
    assert is_near(turned, np.rot90(scene(60, 90), -1))


@pytest.mark.parametrize("make", [avif, heic])
def test_half_of_a_container_is_an_error(make) -> None:
    if make is avif and not HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    content = make()
    for left in (0.3, 0.6, 0.9):
        with pytest.raises(UnreadableImage, match="cannot decode x"):
            decode(content[: int(left * len(content))], "x", None)


def test_without_a_decoder_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    phone = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(UnreadableImage) as raised:
        decode(phone, "photo.heic", None)
    assert raised.value.reason == "HEIC needs a decoder: pip install 'understudy[heif]'"
    assert lacks_decoder(".HEIC") == lacks_decoder(".heif") == raised.value.reason


def test_without_avif_a_newer_pillow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.features, "get_supported_modules", lambda: ["webp"])
    with pytest.raises(UnreadableImage, match="AVIF needs a newer Pillow"):
        decode(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(40), "x", None)
    assert lacks_decoder(".avif") == "AVIF needs a newer Pillow: pip install --upgrade pillow"


def test_a_film_is_no_image() -> None:
    with pytest.raises(UnreadableImage, match="it is damaged or of another format than JPEG"):
        decode(FILM, "x", None)


def test_every_other_suffix_has_its_decoder() -> None:
    containers = (".avif", ".heic", ".heif")
    assert {suffix for suffix in SUFFIXES if lacks_decoder(suffix)} <= set(containers)
    assert {".jpe", ".jif", ".jfif", *containers} < set(SUFFIXES)


def test_pillow_keeps_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1234)
    with pytest.raises(UnreadableImage):
        decode(b"broken", "x", None)
    assert Image.MAX_IMAGE_PIXELS == 1234


def test_want_of_memory_is_no_fault_of_the_image() -> None:
    """Or a run that skips bad images would train on fewer, whenever the machine is busy."""
    with pytest.raises(MemoryError), naming("a.png"):
        raise MemoryError
