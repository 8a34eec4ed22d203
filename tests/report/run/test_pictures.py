"""The pictures of a run in its report."""

import json
import re
from pathlib import Path

import pytest
from tests.report.example_run import write_example_run
from tests.report.page_checks import Elements

from understudy.data.inspection import BadImage, ClassCounts, Duplicates, Inspection, SizeRange
from understudy.data.listing import PassedOver
from understudy.errors import UnderstudyError
from understudy.files import write_bytes, write_json
from understudy.report.run.page import write_run_report
from understudy.report.run.pictures import pictures_section
from understudy.runs.folder import RunFolder

NASTY = "<script>alert(1)</script>"
FOUND = Inspection(
    name="pets",
    notes=("a fifth is cut off as the test split",),
    classes=(ClassCounts(NASTY, 1200, 100, 30), ClassCounts("dog", 900, 100, 31)),
    sizes=SizeRange((64, 64), (64, 64), (64, 64), 1),
    modes={"RGB": 2361},
    formats={"PNG": 2361},
    unreadable=(BadImage(3, f"train/{NASTY}/3.jpg", "it is empty"),),
    skipped_bad=True,
    passed_over=(PassedOver("hidden", 2, (f".{NASTY}",)),),
    duplicates=(Duplicates("exact", (f"{NASTY}/1", "dog/2"), 2, ("train",), (NASTY, "dog")),),
    num_duplicates={"exact within train": 2},
    warnings=(f"1 picture is in several classes ({NASTY}/1 = dog/2)",),
    remarks=("2 files passed over: 2 hidden",),
)
PNG = b"\x89PNG made up"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    write_example_run(run, num_test=100, epochs=1)
    write_json(RunFolder(run).inspection, FOUND)
    write_bytes(RunFolder(run).contact_sheet, PNG)
    return run


def test_counts_warnings_and_the_contact_sheet_are_on_the_page(run: Path) -> None:
    page = write_run_report(run, figures=False).read_text()
    text = re.sub(r"<[^>]+>", " ", page)
    assert "The pictures" in text and "1 picture is in several classes" in text
    assert "All images are of 64x64 pixels" in text and "Formats: 2,361 PNG" in text
    assert "1 that cannot be read, left out" in text
    assert "Images that show the same: 2 exact within train" in text
    images = [dict(attributes) for tag, attributes in Elements(page).found if tag == "img"]
    assert [image["src"] for image in images] == ["data:image/png;base64,iVBORyBtYWRlIHVw"]


def test_names_of_files_and_classes_are_escaped(run: Path) -> None:
    page = write_run_report(run, figures=False).read_text()
    assert NASTY not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_only_splits_with_images_have_a_column(run: Path) -> None:
    section = pictures_section(run)
    assert section is not None
    assert section.classes.headings == ["class", "training", "validation", "test"]
    assert section.classes.rows[1] == ["dog", "900", "100", "31"]


def test_data_sets_without_image_files_have_no_such_section(tmp_path: Path) -> None:
    write_example_run(tmp_path, num_test=100, epochs=1)
    assert "The pictures" not in write_run_report(tmp_path, figures=False).read_text()


@pytest.mark.parametrize("content", ["{", json.dumps({"name": "x"})])
def test_damaged_inspection_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(UnderstudyError, match=r"data.json .*run again with --resume"):
        pictures_section(tmp_path)
