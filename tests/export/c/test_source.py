"""The folder, and reading it back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.c.networks import deployable, examples, images_of

from understudy.errors import UnderstudyError
from understudy.export.c.source import CARD, NETWORK, expected, open_file, write
from understudy.export.card import Origin
from understudy.export.settings import QuantisationSettings

SETTINGS = QuantisationSettings(images=32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(deployable("separable"), tmp_path / "student-c", examples("separable"), SETTINGS)
    return tmp_path / "student-c"


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_runtime_gives_probabilities_near_those_of_fp32(folder: Path) -> None:
    images = images_of("separable", 200, seed=1)
    found = open_file(folder)(images)
    with torch.no_grad():
        true = deployable("separable").module()(torch.from_numpy(images)).numpy()
    assert found.dtype == np.float32 and found.shape == true.shape
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert np.abs(found - true).mean() < 0.02


def test_same_inputs_same_bytes(folder: Path, tmp_path: Path) -> None:
    write(deployable("separable"), tmp_path / "again", examples("separable"), SETTINGS)
    assert content(tmp_path / "again") == content(folder)


def test_card_has_the_sizes_that_the_header_states(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    header = (folder / "student.h").read_text()
    assert f"#define STUDENT_ARENA_BYTES {card['sizes']['arena_bytes']}\n" in header
    assert f"#define STUDENT_CONSTANT_BYTES {card['sizes']['constant_bytes']}\n" in header
    assert open_file(folder).card == deployable("separable").card("c", "int8")


def test_founding_student_needs_what_was_promised(tmp_path: Path) -> None:
    write(deployable("founding_student"), tmp_path / "c", examples("founding_student"), SETTINGS)
    sizes = json.loads((tmp_path / "c" / CARD).read_text())["sizes"]
    assert sizes["constant_bytes"] <= 120_000
    assert sizes["arena_bytes"] <= 24_000
    assert sizes["macs"] == 3_990_144


def test_selftest_holds_what_the_runtime_computes(folder: Path) -> None:
    runtime = open_file(folder)
    stored = np.frombuffer((folder / "selftest/images.bin").read_bytes(), np.uint8)
    images = stored.reshape(-1, 16, 12, 3).transpose(0, 3, 1, 2)
    lines = (folder / "selftest/expected.txt").read_bytes()
    assert lines == expected(runtime.logits(images), runtime.card.classes)
    assert len(set(lines.splitlines())) == len(images) == 8


def test_names_of_the_origin_are_text_in_the_readme(tmp_path: Path) -> None:
    subject = replace(
        deployable("separable", ("<b>", "a\nb", "`c`")), origin=Origin(run="# x\n<script>", seed=3)
    )
    write(subject, tmp_path / "c", examples("separable"), SETTINGS)
    lines = (tmp_path / "c" / "README.md").read_text().splitlines()
    for line in ('    0 "<b>"', '    1 "a\\nb"', '    2 "`c`"', '    run: "# x\\n<script>"'):
        assert line in lines, "an indented line is shown word for word"


def test_layers_in_floating_point_are_refused(tmp_path: Path) -> None:
    settings = SETTINGS.but(float_layers=("last",))
    with pytest.raises(UnderstudyError, match="no layers in floating point"):
        write(deployable("separable"), tmp_path / "c", examples("separable"), settings)
    assert list(tmp_path.iterdir()) == []


def test_earlier_export_is_replaced_and_nothing_else_is(folder: Path) -> None:
    (folder / "student.c").unlink()
    (folder / "build").mkdir()
    write(deployable("separable"), folder, examples("separable"), SETTINGS)
    assert (folder / "student.c").exists() and not (folder / "build").exists()
    other = folder.parent / "photos"
    other.mkdir()
    (other / "one.jpg").touch()
    with pytest.raises(UnderstudyError, match="photos exists and is no earlier export"):
        write(deployable("separable"), other, examples("separable"), SETTINGS)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["photos", "student-c"]


@pytest.mark.parametrize("name", [CARD, NETWORK])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UnderstudyError, match=f"has no {name}: export it again"):
        open_file(folder)


def test_damaged_integers_are_named(folder: Path) -> None:
    data = (folder / NETWORK).read_bytes()
    (folder / NETWORK).write_bytes(data.replace(b'\\"groups\\": 3', b'\\"groups\\": 2'))
    with pytest.raises(UnderstudyError, match=f"{NETWORK} is damaged"):
        open_file(folder)


def test_card_of_another_network_is_an_error(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    card["classes"] = ["one", "two"]
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(UnderstudyError, match=r"has 3 classes .* has 2 of"):
        open_file(folder)
