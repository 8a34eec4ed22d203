"""An inspection as a person reads it: tables, sentences, and names that do no harm."""

from dataclasses import replace

import pytest

from understudy.data.inspection import (
    BadImage,
    ClassCounts,
    Duplicates,
    Inspection,
    SizeRange,
)
from understudy.data.listing import PassedOver
from understudy.terminal.inspection import show_inspection

FOUND = Inspection(
    name="pets",
    notes=("train is read from train/",),
    classes=(ClassCounts("cat", 1200, 0, 30), ClassCounts("dog", 900, 0, 31)),
    sizes=SizeRange((30, 20), (500, 375), (4000, 3000), 17),
    modes={"RGB": 2150, "L": 11},
    formats={"JPEG": 2161},
    unreadable=(BadImage(3, "train/cat/3.jpg", "it is empty"),),
    passed_over=(PassedOver("hidden", 2, (".a", ".b")),),
    duplicates=(
        Duplicates("exact", ("train/cat/1.jpg", "test/cat/2.jpg"), 2, ("train", "test"), ("cat",)),
    ),
    num_duplicates={"exact across splits": 2},
    warnings=("1 test image is in train",),
    remarks=("11 images are grey",),
)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def shown(found: Inspection, capsys: pytest.CaptureFixture[str]) -> str:
    show_inspection(found)
    return capsys.readouterr().out


def test_everything_found_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(FOUND, capsys)
    assert text.startswith("pets: 2,161 images of 2 classes\ntrain is read from train/\n")
    assert "30x20 to 4000x3000 pixels (width x height), median 500x375; 17 different" in text
    assert "Formats: 2,161 JPEG; pixels: 2,150 RGB, 11 L" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["class", "train", "test"] in rows  # there is no validation split
    assert ["cat", "1,200", "30"] in rows
    assert ["train/cat/3.jpg", "it", "is", "empty"] in rows
    assert ["hidden", "2", ".a,", ".b"] in rows
    assert "train/cat/1.jpg = test/cat/2.jpg" in text
    assert text.endswith("Note: 11 images are grey\nWarning: 1 test image is in train\n")


def test_sound_data_set_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    sound = replace(
        FOUND, unreadable=(), passed_over=(), duplicates=(), num_duplicates={}, warnings=()
    )
    text = shown(sound, capsys)
    assert text.endswith("Nothing to repair.\n")
    assert "Cannot be read" not in text and "Duplicates" not in text


def test_of_many_rows_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    classes = tuple(ClassCounts(f"c{number:03}", number, 0, 0) for number in range(200))
    bad = tuple(BadImage(row, f"bad{row:03}.jpg", "it is empty") for row in range(50))
    text = shown(replace(FOUND, classes=classes, unreadable=bad), capsys)
    assert "The 30 largest of 200 classes" in text
    assert " c199 " in text and " c001 " not in text
    assert "bad019.jpg" in text and "bad020.jpg" not in text and "30 more" in text


def test_markup_and_control_characters_in_names_do_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "[red]cat[/red]\x1b[2J\n"
    harmful = replace(
        FOUND, name=name, classes=(ClassCounts(name, 5, 0, 5), ClassCounts("dog", 5, 0, 5))
    )
    text = shown(harmful, capsys)
    assert "\x1b" not in text
    assert text.count(r"[red]cat[/red]\x1b[2J\n") == 2
