"""The same bytes on a Cortex-M4 board and a 64-bit ARM processor, both emulated."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.export.c.networks import deployable, examples, images_of

from understudy.export.c.source import expected, open_file, raw, write
from understudy.export.settings import QuantisationSettings

pytestmark = pytest.mark.slow
IMAGES = 100


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def needs_newlib() -> pytest.MarkDecorator:
    """A compiler that does not find a file prints the name alone."""
    found = ""
    if shutil.which("arm-none-eabi-gcc"):
        command = ["arm-none-eabi-gcc", "-print-file-name=nano.specs"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return pytest.mark.skipif("/" not in found, reason="not installed: newlib for ARM")


cortex_m = needs("make", "arm-none-eabi-gcc", "qemu-system-arm")
newlib = needs_newlib()
aarch64 = needs("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")


def made(target: str, name: str, folder: Path) -> str:
    """The output of ``make``, which compares every logit of a hundred images."""
    out = folder / "student-c"
    write(deployable(name), out, examples(name), QuantisationSettings())
    runtime = open_file(out)
    images = images_of(name, IMAGES, seed=1)
    (folder / "images.bin").write_bytes(raw(images))
    (folder / "expected.txt").write_bytes(expected(runtime.logits(images), runtime.card.classes))
    result = subprocess.run(
        ["make", "-C", out, target, "IMAGES=../images.bin", "EXPECTED=../expected.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "same as expected" in result.stdout
    assert result.stdout.count("warning") == 0
    return result.stdout


@cortex_m
@newlib
def test_founding_student_fits_a_small_board(tmp_path: Path) -> None:
    report = made("qemu", "founding_student", tmp_path)
    text, data, bss = map(int, re.search(r"\n\s*(\d+)\s+(\d+)\s+(\d+)", report).groups())
    stack = int(re.search(r"stack bytes: (\d+)", report)[1])
    instructions = int(re.search(r"instructions per image: (\d+)", report)[1])
    assert f"images: {IMAGES}" in report
    assert text + data <= 160_000
    assert data + bss + stack <= 64_000
    # 3.98 million products, each of at least one instruction.
    assert 4_000_000 < instructions < 20_000_000


@cortex_m
@newlib
@pytest.mark.parametrize("name", ["squeezed", "pooled", "separable"])
def test_other_layers_on_the_board(name: str, tmp_path: Path) -> None:
    made("qemu", name, tmp_path)


@aarch64
@pytest.mark.parametrize("name", ["founding_student", "squeezed", "uneven"])
def test_64_bit_arm(name: str, tmp_path: Path) -> None:
    made("aarch64", name, tmp_path)
