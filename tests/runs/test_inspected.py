"""The images of a run in its folder, and the few lines on them before it trains."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.picture_folders import write_pictures

from understudy.config.images import AugmentConfig, DataConfig
from understudy.data.inspection import ClassCounts, Inspection
from understudy.data.prepare import TrainingData, prepare_data
from understudy.report.run.pictures import read_inspection
from understudy.runs.folder import RunFolder
from understudy.runs.inspected import headline, record_inspection
from understudy.runs.summary import describe_data

FOUND = Inspection(
    name="pets",
    notes=("a fifth is cut off as the test split",),
    classes=(ClassCounts("cat", 12, 0, 3), ClassCounts("dog", 1200, 0, 3)),
    sizes=None,
    modes={},
    formats={},
    num_duplicates={},
)


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Two classes; one image of them cannot be read."""
    write_pictures(
        tmp_path / "pets", {"train/cat": 10, "train/dog": 10, "test/cat": 2, "test/dog": 2}
    )
    (tmp_path / "pets/train/dog/5.png").write_bytes(b"")
    config = DataConfig(
        source="imagefolder",
        path=str(tmp_path / "pets"),
        image_size=16,
        skip_bad=True,
        augment=AugmentConfig(padding=2),
    )
    return prepare_data(config, tmp_path / "cache")[0]


def test_inspection_and_contact_sheet_are_in_the_folder(data: TrainingData, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    record_inspection(data, folder)
    assert read_inspection(folder.inspection) == data.inspection
    with Image.open(folder.contact_sheet) as sheet:
        assert np.asarray(sheet).std() > 0


def test_skipped_images_are_counted_in_the_results(data: TrainingData) -> None:
    facts = describe_data(data, 4)
    assert (facts.num_skipped, facts.num_train + facts.num_val) == (1, 19)


def test_headline_tells_what_was_read_and_what_is_wrong() -> None:
    assert headline(FOUND) == [
        "pets: 2 classes, 1,212 training, 6 test images",
        "a fifth is cut off as the test split",
    ]
    warned = Inspection(**{**vars(FOUND), "warnings": tuple(f"warning {k}" for k in range(9))})
    lines = headline(warned)
    assert lines[2:] == [
        *(f"Warning: warning {k}" for k in range(6)),
        "3 more warnings: `understudy inspect data PATH` shows all",
    ]
