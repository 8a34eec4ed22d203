"""``understudy inspect data``: what it prints, its exit codes, and what it writes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.picture_folders import write_pictures

from understudy import cli
from understudy.cli.checks import all_overrides
from understudy.cli.options import Inputs
from understudy.data.inspection import Inspection
from understudy.files import from_json


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    write_pictures(root, {"train/cat": 9, "train/dog": 9, "test/cat": 3, "test/dog": 3})
    return root


def test_sound_folder_ends_with_0(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "data", str(pets)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("pets: 24 images of 2 classes\n")
    assert printed.out.endswith("Nothing to repair.\n")
    assert "scan: reading images, 24 done" in printed.err


def test_what_must_be_repaired_ends_with_1(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(pets / "train/cat/0.png", pets / "test/cat/again.png")
    assert cli.main(["inspect", "data", str(pets)]) == 1
    assert "Warning: 1 test image is in train, too" in capsys.readouterr().out


def test_mistakes_end_with_2(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "data", str(pets / "nowhere")]) == 2
    assert cli.main(["inspect", "data", str(pets), "--group-by", "("]) == 2
    assert cli.main(["inspect", "data", str(pets), "--source", "imagefoldr"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_json_is_the_inspection_as_in_a_run(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pets / "train/dog/bad.jpg").write_bytes(b"")
    (pets / "train/dog/notes.txt").write_text("x")
    assert cli.main(["inspect", "data", str(pets), "--json"]) == 1
    found = from_json(Inspection, json.loads(capsys.readouterr().out), "output", "")
    assert [bad.name for bad in found.unreadable] == ["train/dog/bad.jpg"]
    assert [(passed.count, passed.examples) for passed in found.passed_over] == [
        (1, ("train/dog/notes.txt",))
    ]


def test_contact_sheet_is_written(pets: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    command = ["inspect", "data", str(pets), "--contact-sheet", str(sheet), "--image-size", "32"]
    assert cli.main(command) == 0
    with Image.open(sheet) as opened:
        assert opened.format == "PNG" and min(opened.size) > 300


def test_bad_images_are_skipped_by_an_option_of_the_training_commands() -> None:
    assert all_overrides(["a=1"], Inputs(skip_bad=True)) == ["a=1", "data.skip_bad=true"]
    assert all_overrides([], Inputs()) == []


def test_weights_are_those_of_the_teacher() -> None:
    assert all_overrides(["a=1"], Inputs(weights="2024")) == ["a=1", 'teacher.path="2024"']


def test_decoded_images_are_among_the_caches(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from understudy.data import load_dataset

    assert cli.main(["cache", "inspect"]) == 0
    assert capsys.readouterr().out == "there are no cached teacher outputs or decoded images yet\n"
    load_dataset("imagefolder", pets, image_size=8)
    assert cli.main(["cache", "inspect", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["data_set"], entry["images"], entry["size"]) == ("pets", 24, "8x8")
    assert cli.main(["cache", "inspect"]) == 0
    assert "Decoded images, in " in capsys.readouterr().out
    assert cli.main(["cache", "delete", entry["name"][:-5]]) == 0
    assert not Path(entry["folder"]).exists()


def test_a_bad_image_is_nothing_to_repair_if_it_is_left_out(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "train/dog/bad.jpg").write_bytes(b"")
    assert cli.main(["inspect", "data", str(pets)]) == 1
    assert cli.main(["inspect", "data", str(pets), "--skip-bad"]) == 0
    assert "Warning: 1 image cannot be read and is left out" in capsys.readouterr().out


def test_columns_of_a_table_are_named_by_an_option(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{path.relative_to(pets)},{path.parent.name}" for path in pets.glob("*/*/*")]
    table = pets / "table.csv"
    table.write_text("\n".join(["picture,kind", *rows]))
    assert cli.main(["inspect", "data", str(table)]) == 2
    command = ["inspect", "data", str(table), "--columns", "image=picture,label=kind"]
    assert cli.main(command) == 0
    assert "table: 24 images of 2 classes" in capsys.readouterr().out
    assert cli.main(["inspect", "data", str(table), "--columns", "picture"]) == 2
    assert "--columns takes roles and names" in capsys.readouterr().err


def test_an_image_of_too_many_pixels_is_read_where_more_are_allowed(pets: Path) -> None:
    assert cli.main(["inspect", "data", str(pets), "--max-pixels", "2303"]) == 1
    assert cli.main(["inspect", "data", str(pets), "--max-pixels", "2304"]) == 0


def test_arrays_are_counted_their_own_validation_images_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {}
    for split, count in (("train", 10), ("val", 4), ("test", 6)):
        arrays[f"{split}_images"] = np.zeros((count, 8, 8), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    np.savez(tmp_path / "set.npz", **arrays)
    sheet = tmp_path / "sheet.png"
    command = ["inspect", "data", str(tmp_path / "set.npz"), "--contact-sheet", str(sheet)]
    assert cli.main([*command, "--json"]) == 0
    classes = json.loads(capsys.readouterr().out)["classes"]
    assert [(c["train"], c["val"], c["test"]) for c in classes] == [(5, 2, 3), (5, 2, 3)]
    assert sheet.exists()


def test_skip_bad_goes_on_without_bad_files_and_broken_links(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "train/cat/0.png").write_bytes(b"")
    (pets / "train/dog/gone.png").symlink_to("nowhere.png")
    assert cli.main(["inspect", "data", str(pets)]) == 2
    assert "--skip-bad" in capsys.readouterr().err
    assert cli.main(["inspect", "data", str(pets), "--skip-bad"]) == 0
    assert "1 image cannot be read and is left out" in capsys.readouterr().out


def test_what_a_run_would_refuse_must_be_repaired(tmp_path: Path) -> None:
    write_pictures(tmp_path / "few", {"cat": 2, "dog": 9})
    assert cli.main(["inspect", "data", str(tmp_path / "few")]) == 1


@pytest.mark.parametrize("name", ["sheet.jpg", "."])
def test_a_contact_sheet_is_a_png_file(
    pets: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", "data", str(pets), "--contact-sheet", str(pets / name)]) == 2
    printed = capsys.readouterr()
    assert "must be a file that ends in .png" in printed.err and not printed.out
