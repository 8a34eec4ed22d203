"""The C code computes what Python computes, to the last bit, and nothing that C leaves open."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.export.c.networks import WORLDS, deployable, examples, images_of

from understudy.export.c.source import IntegerRuntime, expected, open_file, raw, write
from understudy.export.settings import QuantisationSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]
STRICT = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow"]
SANITISED = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-g"]
SOURCES = ["student.c", "student_weights.c", "student_kernels.c"]
IMAGES = 100


def exported(name: str, folder: Path, classes: tuple[str, ...] = ()) -> IntegerRuntime:
    out = folder / "student-c"
    write(deployable(name, classes), out, examples(name), QuantisationSettings())
    return open_file(out)


def compiled(folder: Path, main: str, *flags: str) -> Path:
    program = folder / "program"
    subprocess.run(
        [*STRICT, *flags, main, *SOURCES, "-lm", "-o", str(program)], cwd=folder, check=True
    )
    return program


def printed(program: Path, images: np.ndarray) -> bytes:
    result = subprocess.run([program], input=raw(images), capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


@pytest.mark.parametrize("name", WORLDS)
def test_every_logit_is_that_of_python(name: str, tmp_path: Path) -> None:
    runtime = exported(name, tmp_path)
    images = images_of(name, IMAGES, seed=1)
    logits = runtime.logits(images)
    assert len(np.unique(logits.argmax(1))) > 1, "the test would not see a wrong image"
    for flags in (["-O2"], ["-O1", *SANITISED]):
        program = compiled(tmp_path / "student-c", "example_main.c", *flags)
        assert printed(program, images) == expected(logits, runtime.card.classes)


def test_darkest_and_brightest_images_overflow_nothing(tmp_path: Path) -> None:
    runtime = exported("founding_student", tmp_path)
    shape = (1, 3, 32, 32)
    images = np.concatenate([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    program = compiled(tmp_path / "student-c", "example_main.c", "-O1", *SANITISED)
    assert printed(program, images) == expected(runtime.logits(images), runtime.card.classes)


def test_hostile_class_names_stay_text(tmp_path: Path) -> None:
    classes = ('"; int x = 1; //', "*/ \\", "??/ ??' \x07\n", "naïve 猫 \U0001f408 \x00 rest")
    runtime = exported("squeezed", tmp_path, classes)
    images = images_of("squeezed", IMAGES, seed=1)
    assert len(set(runtime.logits(images).argmax(1))) == 4
    program = compiled(tmp_path / "student-c", "example_main.c", "-O1")
    assert printed(program, images) == expected(runtime.logits(images), classes)


def test_probabilities_are_the_softmax(tmp_path: Path) -> None:
    runtime = exported("uneven", tmp_path)
    folder = tmp_path / "student-c"
    (folder / "probabilities.c").write_text(
        """
        #include <stdio.h>
        #include "student.h"
        int main(void)
        {
            static uint8_t image[STUDENT_IMAGE_BYTES];
            static int32_t logits[STUDENT_CLASSES];
            static float probabilities[STUDENT_CLASSES];
            while (fread(image, 1, sizeof image, stdin) == sizeof image) {
                student_classify(image, logits);
                student_probabilities(logits, probabilities);
                for (int i = 0; i < STUDENT_CLASSES; i++)
                    printf("%.9g ", (double)probabilities[i]);
            }
            return 0;
        }
        """
    )
    images = images_of("uneven", IMAGES, seed=1)
    program = compiled(folder, "probabilities.c", "-DSTUDENT_WITH_PROBABILITIES")
    found = np.array(printed(program, images).split(), float).reshape(IMAGES, -1)
    np.testing.assert_allclose(found, runtime(images), atol=1e-6)


def test_without_the_macro_no_object_has_floating_point(tmp_path: Path) -> None:
    exported("squeezed", tmp_path)
    subprocess.run(
        [*STRICT, "-O2", "-mgeneral-regs-only", "-c", *SOURCES],
        cwd=tmp_path / "student-c",
        check=True,
    )
