"""Sums over an epoch, against sums worked out by hand; the rate, without the first step."""

from types import SimpleNamespace

import pytest
import torch
from tests.worlds import tiny_data

from understudy.data.loader import TrainBatches
from understudy.errors import UnderstudyError
from understudy.training.totals import EpochTotals, check_finite, steady_rate

ONE_RANK = SimpleNamespace(world_size=1)


def test_means_weigh_each_batch_by_its_images() -> None:
    totals = EpochTotals()
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    totals.add({"ce": torch.tensor(1.0), "kd": torch.tensor(0.5)}, logits, torch.tensor([0, 0, 0]))
    totals.add({"ce": torch.tensor(5.0), "kd": torch.tensor(2.5)}, logits[:1], torch.tensor([0]))
    means = totals.means(ONE_RANK, {})
    assert means.losses == {"ce": 2.0, "kd": 1.0}
    assert (means.accuracy, means.images, means.measures) == (0.75, 4.0, {})


def test_measures_and_sums_are_reduced_over_ranks() -> None:
    doubled = SimpleNamespace(world_size=2, all_reduce=lambda sums, reduce_op: sums * 2)
    totals = EpochTotals()
    totals.add({"ce": torch.tensor(3.0)}, torch.eye(2), torch.tensor([0, 0]))
    means = totals.means(doubled, {"discriminator": torch.tensor(0.25)})
    assert means.losses == {"ce": 3.0} and means.images == 4.0
    assert means.accuracy == 0.5
    assert means.measures == {"discriminator": 0.25}


def test_losses_do_not_keep_the_graph() -> None:
    totals = EpochTotals()
    weight = torch.ones(1, requires_grad=True)
    totals.add({"ce": weight.sum()}, weight.view(1, 1), torch.tensor([0]))
    assert not totals.sums.requires_grad


def test_loss_that_is_not_finite_is_named() -> None:
    check_finite({"ce": 1.0, "kd": 0.0}, 3)
    with pytest.raises(UnderstudyError, match=r"^the loss \(kd\) is not finite in epoch 3: lower"):
        check_finite({"ce": 1.0, "kd": float("nan")}, 3)


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
