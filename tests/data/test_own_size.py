"""The images once more at another size: the same rows and labels, the same part of the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.worlds import tiny_data

from understudy.config.schema import DataConfig
from understudy.data.own_size import has_own_pixels, image_of, own_copy, pixels_fingerprint
from understudy.data.prepare import TrainingData, prepare_data
from understudy.data.preprocess import decode
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of nine JPEG files, 90 to 120 pixels wide and 80 high."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("photos")
    for label in ("cats", "dogs"):
        (root / label).mkdir()
        for number in range(9):
            noise = rng.integers(0, 256, (10, 12 + number % 4, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize((90 + 10 * (number % 4), 80))
            image.save(root / label / f"{number}.jpg")
    return root


def photo_data(photos: Path, **settings: object) -> TrainingData:
    config = DataConfig(source="imagefolder", path=str(photos), image_size=16, **settings)
    return prepare_data(config)[0]


def test_the_copy_has_the_same_rows_and_labels_decoded_again_from_the_files(photos: Path) -> None:
    data = photo_data(photos)
    copy = own_copy(data, replace(data.config, image_size=(32, 32), interpolation="bicubic"))
    assert copy.image == ImageSpec(3, 32, 32) and copy.grid == data.image
    assert torch.equal(copy.rows, data.rows)
    assert torch.equal(copy.train.labels, data.train.labels)
    assert torch.equal(copy.val.labels, data.val.labels)
    files = sorted(photos.rglob("*.jpg"))
    wanted = {
        decode(file, file.name, (32, 32), interpolation="bicubic").tobytes() for file in files
    }
    found = {image.permute(1, 2, 0).numpy().tobytes() for image in copy.train.images}
    assert found <= wanted and len(found) == len(copy.train)


def test_a_network_that_sees_the_same_pixels_gets_the_same_object(photos: Path) -> None:
    data = photo_data(photos)
    for inputs in (
        data.config,
        replace(data.config, image_size=(16, 16)),
        replace(data.config, mean=(0.1,) * 3, std=(1.0,) * 3),
    ):
        assert not has_own_pixels(data, inputs)
        assert own_copy(data, inputs) is data


def test_fingerprint_of_the_pixels_differs_with_all_that_decides_them(photos: Path) -> None:
    data = photo_data(photos)
    changes = [
        {"image_size": 32},
        {"image_size": 24},
        {"interpolation": "bicubic"},
        {"channels": 1},
    ]
    inputs = [replace(data.config, **change) for change in changes]
    found = {pixels_fingerprint(data, each) for each in inputs}
    assert len(found) == len(changes) and data.fingerprint not in found


def test_another_part_of_the_picture_is_refused_with_the_size_to_set(photos: Path) -> None:
    config = DataConfig(source="imagefolder", path=str(photos), image_size=(12, 24))
    data = prepare_data(config)[0]
    with pytest.raises(UnderstudyError, match=r"teacher\.image_size=\[16,32\], or data\.resize=sq"):
        own_copy(data, replace(config, image_size=32))
    assert own_copy(data, replace(config, image_size=(24, 48))).image.size == (24, 48)
    squashed = prepare_data(replace(config, resize="squash"))[0]
    assert own_copy(squashed, replace(squashed.config, image_size=32)).image.size == (32, 32)


def test_digits_are_enlarged_from_their_own_eight_pixels() -> None:
    data = prepare_data(DataConfig(image_size=16))[0]
    copy = own_copy(data, replace(data.config, image_size=64))
    direct = prepare_data(DataConfig(image_size=64))[0]
    assert torch.equal(copy.train.images, direct.train.images)
    assert torch.equal(copy.train.labels, data.train.labels)


def test_images_in_memory_are_enlarged_from_their_own_pixels() -> None:
    data = tiny_data(12, 8)
    inputs = replace(data.config, image_size=16)
    copy = own_copy(data, inputs)
    assert copy.image.size == (16, 16) and copy.grid == data.image
    for split, own in ((data.train, copy.train), (data.val, copy.val)):
        first = Image.fromarray(split.images[0].permute(1, 2, 0).numpy())
        wanted = np.asarray(first.resize((16, 16), Image.Resampling.BILINEAR))
        assert np.array_equal(own.images[0].permute(1, 2, 0).numpy(), wanted)
        assert torch.equal(own.labels, split.labels)
    other = replace(tiny_data(12, 8, seed=1), fingerprint=data.fingerprint)
    assert not torch.equal(own_copy(other, inputs).train.images, copy.train.images)


def test_a_grey_student_and_its_teacher_in_colour(photos: Path) -> None:
    data = photo_data(photos, channels=1)
    assert data.image == ImageSpec(1, 16, 16) and data.config.mean == (0.5,)
    inputs = replace(data.config, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert image_of(data, inputs) == ImageSpec(3, 16, 16)
    colour = own_copy(data, inputs).train.images[0].permute(1, 2, 0).numpy()
    grey = np.asarray(Image.fromarray(colour).convert("L"))
    assert np.array_equal(data.train.images[0, 0].numpy(), grey)
