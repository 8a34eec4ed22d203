"""``preprocess.js`` in Node: what it computes itself, resizing and PNG files, is Python's to the
bit. Formats that browsers decode are in test_browser."""

import io
import json
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.awkward_images import TO_STORED, awkward_images, broken_images, png, scene

from understudy.config.images import MOST_PIXELS
from understudy.data.preprocess import decode, fit
from understudy.export.web.page import asset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
]
_RUN = """
const fs = require('node:fs');
require(process.argv[2]);
const { decodePng, fit, turned, Refusal } = globalThis.understudyPreprocess;
(async () => {
  const found = [];
  for (const job of JSON.parse(fs.readFileSync(0, 'utf8'))) {
    const bytes = new Uint8Array(fs.readFileSync(job.file));
    if (job.size) {
      const [height, width] = job.size;
      found.push([...fit({ ...job.own, data: bytes }, width, height, job.rule)]);
      continue;
    }
    try {
      const { width, height, data } = turned(await decodePng(bytes, job.limit, 'x'));
      found.push([height, width, ...data]);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      found.push(error.message);
    }
  }
  fs.writeFileSync(process.argv[3], JSON.stringify(found));
})();
"""


@pytest.fixture
def in_node(tmp_path: Path):
    """Runs jobs in one process of Node and gives their results."""

    def run(jobs: list[dict[str, object]]) -> list[list[int] | str]:
        script, library, out = (tmp_path / name for name in ("run.js", "preprocess.js", "out"))
        script.write_text(_RUN)
        library.write_text(asset("preprocess.js"), "utf-8")
        command = ["node", str(script), str(library), str(out)]
        subprocess.run(command, input=json.dumps(jobs), text=True, check=True)
        results: list[list[int] | str] = json.loads(out.read_text())
        return results

    return run


def job(file: Path, limit: int = MOST_PIXELS) -> dict[str, object]:
    """Decode a PNG file of at most so many pixels."""
    return {"file": str(file), "limit": limit}


def pixels(image: list[int] | str) -> np.ndarray:
    """uint8 ``[H, W, 3]``."""
    assert isinstance(image, list), image
    return np.array(image[2:], np.uint8).reshape(image[0], image[1], 3)


OWN = [(30, 44), (57, 23), (7, 60), (1, 1), (64, 64), (3, 50), (200, 3)]
SIZES = [(32, 32), (20, 50), (27, 11), (1, 3), (64, 64), (5, 9)]


@pytest.mark.parametrize("rule", ["crop", "pad", "squash"])
def test_resized_pixels_are_those_of_python(rule, in_node, tmp_path: Path) -> None:
    jobs, expected = [], []
    for height, width in OWN:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
        image.tofile(tmp_path / f"{height}x{width}")
        for size in SIZES:
            own = {"height": height, "width": width}
            file = str(tmp_path / f"{height}x{width}")
            jobs.append({"file": file, "own": own, "size": size, "rule": rule})
            expected.append(np.asarray(fit(Image.fromarray(image), size, rule)).transpose(2, 0, 1))
    for job, found, reference in zip(jobs, in_node(jobs), expected, strict=True):
        assert np.array_equal(np.array(found), reference.ravel()), job


def test_every_kind_of_png_has_the_pixels_of_python(in_node, tmp_path: Path) -> None:
    files = [file for file in awkward_images(tmp_path / "images").values() if file.suffix == ".png"]
    assert len(files) > 20
    for file, found in zip(files, in_node([job(file) for file in files]), strict=True):
        assert np.array_equal(pixels(found), decode(file, "x", None)), file.name


def interlaced(image: np.ndarray) -> bytes:
    """A PNG file in seven passes; Pillow writes none."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    lines = []
    for left, top, right, down in passes:
        part = image[top::down, left::right]
        lines += [b"\0" + row.tobytes() for row in part if part.size]
    whole = png(image)
    header = bytearray(whole[16:29])
    header[12] = 1
    chunks = {b"IHDR": bytes(header), b"IDAT": zlib.compress(b"".join(lines)), b"IEND": b""}
    return whole[:8] + b"".join(
        len(content).to_bytes(4, "big")
        + name
        + content
        + zlib.crc32(name + content).to_bytes(4, "big")
        for name, content in chunks.items()
    )


@pytest.mark.parametrize("size", [(30, 44), (1, 1), (3, 5), (9, 2)])
def test_interlaced_png_is_put_together(size: tuple[int, int], in_node, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(interlaced(scene(*size)))
    assert np.array_equal(decode(file, "x", None), scene(*size)), "the file is as Pillow reads it"
    assert np.array_equal(pixels(in_node([job(file)])[0]), scene(*size))


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_of_a_palette(bits: int, in_node, tmp_path: Path) -> None:
    image = Image.fromarray(scene()).quantize(2**bits)
    image.save(tmp_path / "image.png", bits=bits)
    found = pixels(in_node([job(tmp_path / "image.png")])[0])
    assert np.array_equal(found, np.asarray(image.convert("RGB")))


def test_all_filters_of_png_are_undone(in_node, tmp_path: Path) -> None:
    """Pillow chooses one for each line: noise and smooth parts make it use all of them."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 44, 3)).astype(np.uint8)
    image = np.concatenate([scene(), noise, scene()[::-1], np.repeat(noise[:1], 9, 0)])
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    (tmp_path / "image.png").write_bytes(stream.getvalue())
    assert np.array_equal(pixels(in_node([job(tmp_path / "image.png")])[0]), image)


def test_broken_png_is_refused_with_a_reason(in_node, tmp_path: Path) -> None:
    files = broken_images(tmp_path / "images")
    jobs = [job(files[name]) for name in ("truncated-plain-png", "bomb")]
    truncated, bomb = in_node(jobs)
    assert truncated == "x is damaged or incomplete. Choose another file, or save it again."
    assert bomb == "x has 3,000,000,000 pixels, too many to open. Make it smaller first."


def test_the_limit_of_pixels_is_that_of_the_card(in_node, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(png(scene()))
    refused, opened = in_node([job(tmp_path / "image.png", limit) for limit in (1319, 1320)])
    assert refused == "x has 1,320 pixels, too many to open. Make it smaller first."
    assert pixels(opened).shape == (30, 44, 3)


@pytest.mark.parametrize("orientation", TO_STORED)
def test_a_draft_is_nearly_the_mean_of_blocks(orientation: int, in_node, tmp_path: Path) -> None:
    """Of 8 x 8 pixels, counted from the file's first pixel, wherever that is in the upright image.
    libjpeg rounds in frequencies and has fewer colours than pixels."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TO_STORED[orientation](scene(331, 403)))
    Image.fromarray(stored).save(file, "JPEG", quality=90, exif=exif)
    decode(file.getvalue(), "x", None).tofile(tmp_path / "whole")
    own = {"height": 331, "width": 403, "stored": orientation}
    (found,) = in_node(
        [{"file": str(tmp_path / "whole"), "own": own, "size": (30, 33), "rule": "crop"}]
    )
    drafted = decode(file.getvalue(), "x", (30, 33)).transpose(2, 0, 1)
    difference = np.abs(np.array(found).reshape(3, 30, 33) - drafted)
    assert difference.mean() < 0.7
    assert difference.max() < 12
