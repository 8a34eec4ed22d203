"""Mean and standard deviation of a split, against numpy over all pixels."""

import numpy as np
import pytest
import torch
from tests.worlds import tiny_data, tiny_split

from understudy.config.schema import AugmentConfig, DataConfig
from understudy.data import channels
from understudy.data.channels import measure_channels
from understudy.data.dataset import Dataset, SealedSplit, Split
from understudy.data.prepare import split_dataset


@pytest.mark.parametrize("chunk", [1, 500, 2**24])
def test_they_are_those_of_all_pixels_whatever_is_read_at_a_time(
    chunk: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(channels, "_CHUNK", chunk)
    split = tiny_split(24, (5, 7))
    pixels = split.images.numpy().astype(np.float64) / 255
    mean, std = measure_channels(split)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), atol=5.1e-5)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), atol=5.1e-5)
    assert all(value == round(value, 4) for value in (*mean, *std))


def test_a_part_of_a_larger_block_is_measured_alone():
    whole = tiny_split(24)
    rows = torch.tensor([3, 5, 20])
    part = Split(whole.images, whole.labels[rows], rows)
    assert measure_channels(part) == measure_channels(whole.take(rows))


def test_images_of_one_colour_can_be_divided_by_their_deviation():
    split = Split(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8), torch.tensor([0, 1]))
    assert measure_channels(split) == ((0.2,), (0.0039,))


def test_an_open_normalisation_is_measured_on_the_training_images_alone():
    whole = tiny_split(24)
    dataset = Dataset("tiny", whole, SealedSplit(tiny_split(6, seed=1)), ("a", "b", "c"), "f")
    given = DataConfig(val_fraction=0.25, mean=(), std=(), augment=AugmentConfig(padding=1))
    data, _ = split_dataset(dataset, given)
    assert (data.config.mean, data.config.std) == measure_channels(data.train)
    assert (data.config.mean, data.config.std) != measure_channels(whole)
    with_numbers = tiny_data().config
    assert split_dataset(dataset, with_numbers)[0].config == with_numbers
