"""A run that goes on without images that cannot be read, and what it notes about the others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.picture_folders import write_pictures

from understudy.data import load_dataset
from understudy.data.dataset import Dataset
from understudy.data.options import SourceOptions
from understudy.errors import UnderstudyError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve training and three test images of two classes each, four of all unreadable."""
    root = tmp_path / "pictures"
    write_pictures(root, {"train/ants": 12, "train/bees": 12, "test/ants": 3, "test/bees": 3})
    for name in ("train/ants/0.png", "train/ants/5.png", "train/bees/11.png", "test/ants/1.png"):
        (root / name).write_bytes(b"")
    return root


def load(folder: Path, *, skip_bad: bool) -> Dataset:
    return load_dataset(
        "imagefolder",
        folder,
        image_size=16,
        options=SourceOptions(skip_bad=skip_bad),
        cache_dir=folder.parent / "cache",
    )


def test_all_bad_images_are_named_at_once(folder: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"cannot decode 4 images .*ants/0.png.*--skip-bad"):
        load(folder, skip_bad=False)


def test_good_images_move_together_and_stay_with_their_labels(folder: Path) -> None:
    data = load(folder, skip_bad=True)
    names = [f"ants/{number}" for number in (1, 10, 11, 2, 3, 4, 6, 7, 8, 9)]
    names += [f"bees/{number}" for number in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert data.train.labels.tolist() == [int(name.startswith("bees")) for name in names]
    for image, name in zip(data.train.images, names, strict=True):
        with Image.open(folder / f"train/{name}.png") as opened:
            expected = opened.resize((16, 16), Image.Resampling.BILINEAR)
        difference = image.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1
    assert len(data.test) == 5


def test_second_start_maps_the_same_images_and_the_same_inspection(folder: Path) -> None:
    first, second = load(folder, skip_bad=True), load(folder, skip_bad=True)
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.train.images, second.train.images)
    assert second.inspection == first.inspection
    assert first.inspection is not None
    assert [bad.name for bad in first.inspection.unreadable] == [
        "train/ants/0.png",
        "train/ants/5.png",
        "train/bees/11.png",
        "test/ants/1.png",
    ]
    assert [entry.train for entry in first.inspection.classes] == [10, 11]
    assert first.inspection.skipped_bad and not first.inspection.needs_repair


def test_without_any_good_test_image_there_is_no_data_set(folder: Path) -> None:
    for file in folder.glob("test/*/*"):
        file.write_bytes(b"")
    with pytest.raises(UnderstudyError, match="the test split is empty"):
        load(folder, skip_bad=True)


def test_a_class_without_a_readable_training_image_is_named(folder: Path) -> None:
    for file in (folder / "train/bees").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UnderstudyError, match="no training image of the class bees can be read"):
        load(folder, skip_bad=True)
