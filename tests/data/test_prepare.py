"""What training may see: validation cut from the training images, the test split sealed, a
fingerprint of it all."""

import hashlib
from dataclasses import replace

import pytest
import torch
from tests.worlds import tiny_config, tiny_split

from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.prepare import TrainingData, prepare_data, split_dataset
from understudy.data.splits import split_train_val, take_fewer
from understudy.errors import UnderstudyError


def make_dataset(fingerprint: str = "f") -> Dataset:
    return Dataset(
        "tiny", tiny_split(30), SealedSplit(tiny_split(6, seed=5)), ("a", "b", "c"), fingerprint
    )


CONFIG = replace(tiny_config(), val_fraction=0.2)


def test_no_image_is_shared_and_the_test_split_stays_sealed() -> None:
    dataset = make_dataset()
    data, test = split_dataset(dataset, CONFIG)
    assert (len(data.train), len(data.val)) == (24, 6)
    images = torch.cat([data.train.images, data.val.images]).flatten(1)
    assert len(images.unique(dim=0)) == 30
    assert isinstance(test, SealedSplit) and test is dataset.test
    assert not any(isinstance(value, SealedSplit) for value in vars(data).values())


def test_rows_say_where_training_images_come_from() -> None:
    dataset = make_dataset()
    data, _ = split_dataset(dataset, CONFIG)
    assert torch.equal(data.train.images, dataset.train.images[data.rows])
    assert torch.equal(data.train.labels, dataset.train.labels[data.rows])
    assert data.num_classes == 3 and data.image_shape == (3, 8, 8)


def test_the_fingerprint_follows_the_images_and_the_cut() -> None:
    def fingerprint(dataset: Dataset, seed: int = 0) -> str:
        data: TrainingData = split_dataset(dataset, replace(CONFIG, split_seed=seed))[0]
        return data.fingerprint

    assert fingerprint(make_dataset()) == fingerprint(make_dataset())
    assert (
        len(
            {
                fingerprint(make_dataset()),
                fingerprint(make_dataset("g")),
                fingerprint(make_dataset(), seed=1),
            }
        )
        == 3
    )


def test_fewer_training_images_leave_validation_as_it_is() -> None:
    whole, _ = split_dataset(make_dataset(), CONFIG)
    fewer, _ = split_dataset(make_dataset(), replace(CONFIG, train_images=12))
    assert len(fewer.train) == 12 and torch.equal(fewer.val.images, whole.val.images)
    assert torch.equal(fewer.train.images, make_dataset().train.images[fewer.rows])
    assert (
        set(fewer.rows.tolist()) < set(whole.rows.tolist())
        and fewer.fingerprint != whole.fingerprint
    )


def test_the_fingerprint_is_of_the_images_and_of_their_rows() -> None:
    """By its definition: SHA-256 of the data set's fingerprint and of the rows as int64."""
    data, _ = split_dataset(make_dataset("abc"), replace(CONFIG, train_images=12))
    expected = hashlib.sha256(b"abc" + data.rows.to(torch.int64).numpy().tobytes()).hexdigest()
    assert data.fingerprint == expected


def test_a_cut_has_the_configured_share_and_seed() -> None:
    whole = make_dataset()
    for fraction, seed, num_val in ((0.1, 0, 3), (0.3, 0, 9), (0.3, 5, 9)):
        data, _ = split_dataset(whole, replace(CONFIG, val_fraction=fraction, split_seed=seed))
        train, val, rows, _ = split_train_val(whole.train, fraction, seed)
        assert (
            len(data.val) == num_val
            and torch.equal(data.val.images, val.images)
            and torch.equal(data.rows, rows)
        )
        assert torch.equal(data.train.labels, train.labels)
    fewer, _ = split_dataset(whole, replace(CONFIG, val_fraction=0.3, split_seed=5, train_images=9))
    assert torch.equal(
        fewer.rows, rows[take_fewer(train, 9, 5)[1]]
    ) and fewer.train.labels.bincount().tolist() == [3, 3, 3]


def test_shapes_are_channels_then_height_then_width() -> None:
    images = torch.zeros(6, 5, 7, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    split = Split(images, torch.arange(6) % 2)
    dataset = Dataset("wide", split, SealedSplit(split.take(torch.arange(4))), ("a", "b"), "f")
    assert dataset.image_shape == (3, 5, 7) and dataset.num_classes == 2 and len(dataset.test) == 4
    data, _ = split_dataset(dataset, replace(CONFIG, val_fraction=0.4))
    assert data.image_shape == (3, 5, 7) and data.class_names == ("a", "b") and data.name == "wide"


def test_a_mean_for_other_channels_is_refused() -> None:
    with pytest.raises(
        UnderstudyError, match=r"data.mean has 1 values, but the images of tiny have 3 channels"
    ):
        split_dataset(make_dataset(), replace(CONFIG, mean=(0.5,), std=(0.5,)))


def test_prepare_data_loads_and_cuts_the_digits(cache_folder) -> None:
    data, test = prepare_data(
        replace(CONFIG, source="digits", image_size=16), cache_dir=cache_folder
    )
    assert data.name == "digits" and data.image_shape == (3, 16, 16) and data.num_classes == 10
    assert len(data.train) + len(data.val) + len(test) == 1797
