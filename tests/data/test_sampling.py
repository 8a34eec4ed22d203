"""The easiest images first, as many steps as ever, and the order of a plain run once all are
shown."""

import numpy as np
import pytest
import torch
from tests.worlds import tiny_config, tiny_split

from understudy.config.schedules import Curriculum
from understudy.data.loader import TrainBatches
from understudy.data.sampling import BalancedSampler, CurriculumSampler, balanced_weights
from understudy.data.views import generator_for

EASY_FIRST = torch.arange(23, -1, -1)


def paced(shares: tuple[float, ...]) -> TrainBatches:
    batches = TrainBatches(tiny_split(), tiny_config(), 5, 3, torch.device("cpu"))
    batches.sampler = CurriculumSampler(EASY_FIRST, shares)
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
    pace = CurriculumSampler(EASY_FIRST, (0.3, 0.3))
    orders = [
        pace.order(epoch, generator_for("order", seed, epoch))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2]) and not torch.equal(orders[0], orders[3])


def test_no_more_is_drawn_than_an_epoch_needs():
    """24 images from the 10 easiest: three rounds, the last of them cut off."""
    drawn, expected = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    CurriculumSampler(EASY_FIRST, (10 / 24,)).order(0, drawn)
    for _ in range(3):
        torch.randperm(10, generator=expected)
    assert torch.equal(drawn.get_state(), expected.get_state())


def test_at_least_one_image_is_shown():
    for share in (1e-9, 0.0):
        assert set(
            CurriculumSampler(EASY_FIRST, (share,)).order(0, torch.Generator()).tolist()
        ) == {23}


@pytest.mark.parametrize(
    ("curriculum", "counts"),
    [
        # Shares 0.3, 0.475, 0.65, 0.825, 1 of 24 images, rounded up; in a run of 8 epochs the rise
        # takes 4.
        (Curriculum(start=0.3), [8, 12, 16, 20, 24, 24, 24, 24]),
        (Curriculum(start=0.25, over=3), [6, 12, 18, 24, 24, 24, 24, 24]),
        (Curriculum(start=1.0), [24] * 8),
    ],
)
def test_the_number_of_images_grows_epoch_by_epoch(curriculum: Curriculum, counts: list[int]):
    pace = CurriculumSampler(EASY_FIRST, curriculum.shares(8))
    for epoch, count in enumerate(counts):
        order = pace.order(epoch, torch.Generator().manual_seed(epoch))
        assert set(order.tolist()) == set(EASY_FIRST[:count].tolist()) and len(order) == 24


@pytest.mark.parametrize("count", [1, 5, 7, 12, 23, 24])
def test_images_come_in_whole_rounds_and_the_last_is_cut_off(count: int):
    """With 5 of 24 images: four rounds of all five, and four of a fifth round; each image four or
    five times."""
    order = CurriculumSampler(EASY_FIRST, (count / 24,)).order(0, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    rounds = [torch.randperm(count, generator=generator) for _ in range(-(-24 // count))]
    expected = 23 - torch.cat(rounds)[:24] if count < 24 else rounds[0]
    assert torch.equal(order, expected)
    assert set(torch.bincount(order, minlength=24)[24 - count :].tolist()) <= {
        24 // count,
        24 // count + 1,
    }


def skewed_labels() -> torch.Tensor:
    """100 images of class 0, 20 of class 1, none of class 2, 3 of class 3."""
    return torch.tensor([0] * 100 + [1] * 20 + [3] * 3)


def test_balanced_epochs_show_as_many_images_of_each_class():
    labels = skewed_labels()
    for epoch in range(4):
        order = BalancedSampler(labels).order(epoch, generator_for("order", 0, epoch))
        assert len(order) == 123
        assert labels[order].bincount(minlength=4).tolist() == [41, 41, 0, 41]


def test_what_an_epoch_leaves_over_goes_to_another_class_each_time():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    larger = set()
    for epoch in range(20):
        order = BalancedSampler(labels).order(epoch, generator_for("order", 0, epoch))
        counts = labels[order].bincount(minlength=3)
        assert sorted(counts.tolist()) == [2, 2, 3]
        larger.add(int(counts.argmax()))
    assert larger == {0, 1, 2}


def test_images_of_a_small_class_repeat_about_equally_often_and_others_do_not_repeat():
    labels = skewed_labels()
    order = BalancedSampler(labels).order(0, generator_for("order", 0, 0))
    shown = order.bincount(minlength=123)
    assert set(shown[:100].tolist()) == {0, 1}, "a part of the large class, each once"
    assert set(shown[100:120].tolist()) == {2, 3} and shown[120:].tolist().count(14) >= 1
    assert shown[120:].min() == 13, "41 draws of three images"


def test_a_balanced_order_depends_on_seed_and_epoch_alone_and_mixes_the_classes():
    sampler = BalancedSampler(skewed_labels())
    orders = [sampler.order(e, generator_for("order", s, e)) for s, e in ((0, 1), (0, 1), (0, 2))]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    assert len(set(skewed_labels()[orders[0][:12]].tolist())) == 3


def test_ranks_share_a_balanced_batch():
    parts = []
    for rank in range(2):
        batches = TrainBatches(
            tiny_split(), tiny_config(), 6, 3, torch.device("cpu"), rank=rank, world_size=2
        )
        batches.sampler = BalancedSampler(tiny_split().labels)
        parts.append(next(batches.epoch(0, batches.policy.epoch(0))).index)
    assert torch.equal(torch.stack(parts, 1).flatten(), batches.order(0)[:6])


def test_weights_of_classes_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = skewed_labels()
    weights = balanced_weights(labels, 5)
    present = np.array([0, 1, 3])
    expected = compute_class_weight("balanced", classes=present, y=labels.numpy())
    assert weights[present].tolist() == pytest.approx(list(expected))
    assert weights[[2, 4]].tolist() == [0, 0]
    assert float(weights[labels].mean()) == pytest.approx(1)
