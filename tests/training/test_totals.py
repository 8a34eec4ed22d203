"""The rate of an epoch, whose first step in a session compiles kernels and allocates memory."""

import pytest
import torch
from tests.tiny_data import tiny_data

from understudy.data.loader import TrainBatches
from understudy.training.totals import steady_rate


@pytest.fixture
def batches() -> TrainBatches:
    data = tiny_data()
    return TrainBatches(data.train, data.config, 8, 0, torch.device("cpu"))


def test_rate_counts_every_step_after_the_first_epoch(batches: TrainBatches):
    assert steady_rate(batches, 20, 4.0, 0.0) == 5.0


def test_rate_leaves_out_a_first_step_with_its_images(batches: TrainBatches):
    assert len(batches) > 1
    assert steady_rate(batches, 20, 10.0, 7.0) == (20 - 8) / 3.0


def test_rate_of_a_single_step_includes_it():
    data = tiny_data()
    single = TrainBatches(data.train, data.config, 1000, 0, torch.device("cpu"))
    assert steady_rate(single, 20, 10.0, 10.0) == 2.0
