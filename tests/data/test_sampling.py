"""The easiest images first, as many steps as ever, and the order of a plain run once all are shown."""

import torch
from tests.tiny_data import tiny_config, tiny_split

from understudy.data.loader import TrainBatches
from understudy.data.sampling import Pace
from understudy.data.views import generator_for

EASY_FIRST = torch.arange(23, -1, -1)


def paced(shares: tuple[float, ...]) -> TrainBatches:
    batches = TrainBatches(tiny_split(), tiny_config(), 5, 3, torch.device("cpu"))
    batches.pace = Pace(EASY_FIRST, shares)
    return batches


def test_an_epoch_draws_from_the_easiest_share_and_keeps_its_length():
    batches = paced((0.25, 1.0))
    order = batches.order(0)
    assert len(order) == 24 and set(order.tolist()) == set(
        range(18, 24)
    )  # a quarter of 24, the last ones being easy
    assert torch.bincount(order)[18:].tolist() == [4] * 6  # each as often as any other


def test_every_round_is_in_an_order_of_its_own():
    order = paced((0.25,)).order(0)
    assert not torch.equal(order[:6], order[6:12]) and set(order[:6].tolist()) == set(
        order[6:12].tolist()
    )


def test_with_all_images_the_order_is_that_of_a_run_without_a_pace():
    batches = paced((0.25, 1.0))
    plain = TrainBatches(tiny_split(), tiny_config(), 5, 3, torch.device("cpu"))
    assert torch.equal(batches.order(1), plain.order(1))


def test_the_order_depends_on_seed_and_epoch_alone():
    pace = Pace(EASY_FIRST, (0.3, 0.3))
    orders = [
        pace.order(epoch, generator_for("order", seed, epoch))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2]) and not torch.equal(orders[0], orders[3])


def test_at_least_one_image_is_shown():
    assert set(Pace(EASY_FIRST, (1e-9,)).order(0, torch.Generator()).tolist()) == {23}
