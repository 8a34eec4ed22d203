"""An epoch shows every image once, in an order and under views that depend on nothing but the seed
and its number."""

import hashlib
import os

import pytest
import torch
from tests.somewhere_else import THERE, only_there
from tests.worlds import MEAN, STD, tiny_config, tiny_split

from understudy.config.schema import DataConfig
from understudy.data.loader import Batch, TrainBatches, plain_batches, to_device, too_large

CPU = torch.device("cpu")
PHOTOS = {
    "resized_crop": (0.35, 1.0),
    "color_jitter": (0.4, 0.4, 0.4, 0.1),
    "rand_augment_ops": 2,
    "erasing": 0.5,
    "vertical_flip": True,
    "mix": "cutmix",
}


def make_batches(
    batch_size: int = 10,
    seed: int = 0,
    *,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
    **augment: object,
) -> TrainBatches:
    config = tiny_config(**augment)
    return TrainBatches(
        tiny_split(),
        config,
        batch_size,
        seed,
        CPU,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
    )


def epoch_of(batches: TrainBatches, epoch: int = 0) -> list[Batch]:
    return list(batches.epoch(epoch, batches.policy.epoch(epoch)))


def equal(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        a is b is None or torch.equal(a, b)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def test_every_image_comes_once_and_the_last_batch_is_smaller() -> None:
    batches = make_batches()
    epoch = epoch_of(batches)
    assert [len(b.labels) for b in epoch] == [10, 10, 4] and len(batches) == 3
    assert torch.equal(torch.cat([b.index for b in epoch]).sort().values, torch.arange(24))


def test_drop_last_leaves_the_smaller_batch_out() -> None:
    batches = make_batches(drop_last=True)
    epoch = epoch_of(batches)
    assert [len(b.labels) for b in epoch] == [10, 10] and len(batches) == 2
    assert len(torch.cat([b.index for b in epoch]).unique()) == 20


def test_a_data_set_smaller_than_a_batch_is_not_dropped() -> None:
    assert [len(b.labels) for b in epoch_of(make_batches(batch_size=100, drop_last=True))] == [24]


def test_ranks_share_out_each_batch() -> None:
    whole = epoch_of(make_batches())
    parts = [epoch_of(make_batches(rank=rank, world_size=2)) for rank in range(2)]
    for step, batch in enumerate(whole):
        shares = [part[step].index for part in parts]
        assert abs(len(shares[0]) - len(shares[1])) <= 1
        assert torch.equal(torch.cat(shares).sort().values, batch.index.sort().values)


@pytest.mark.parametrize("world_size", [2, 3])
def test_a_rank_takes_every_so_many_images_from_its_own_number_on(world_size: int) -> None:
    whole = epoch_of(make_batches())
    for rank in range(world_size):
        for mine, batch in zip(
            epoch_of(make_batches(rank=rank, world_size=world_size)), whole, strict=True
        ):
            assert mine.index.tolist() == batch.index.tolist()[rank::world_size]
            assert torch.equal(mine.images, batch.images[rank::world_size])


def test_order_is_a_permutation_drawn_from_seed_and_epoch() -> None:
    """May never move: a resumed run would show other images."""
    seed = int.from_bytes(hashlib.blake2b(b"order/9/4", digest_size=8).digest(), "big") // 2
    expected = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    batches = make_batches(seed=9)
    assert torch.equal(batches.order(4), expected)
    assert torch.equal(torch.cat([batch.index for batch in epoch_of(batches, 4)]), expected)


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "steps"),
    [
        (24, False, 1),
        (24, True, 1),
        (12, True, 2),
        (23, False, 1),  # one image has no statistics for batch norm
        (22, False, 2),
        (23, True, 1),
        (25, True, 1),
        (25, False, 1),
        (1, True, 24),
    ],
)
def test_the_number_of_steps_is_that_of_the_batches(
    batch_size: int, drop_last: bool, steps: int
) -> None:
    batches = make_batches(batch_size, drop_last=drop_last)
    assert len(batches) == len(epoch_of(batches)) == steps


def test_half_of_the_memory_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    split = tiny_split()  # 24 * 3 * 8 * 8 = 4608 bytes
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 16, "SC_PHYS_PAGES": 576}.__getitem__)
    assert not too_large(split, CPU), "exactly half of 9216 bytes"
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 16, "SC_PHYS_PAGES": 575}.__getitem__)
    assert too_large(split, CPU)
    assert TrainBatches(split, tiny_config(), 10, 0, CPU).streaming
    assert not TrainBatches(split, tiny_config(), 10, 0, CPU, streaming=False).streaming
    for free, large in ((9216, False), (9214, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert too_large(split, torch.device("cuda")) is large


def test_on_a_device_images_keep_their_values_and_their_memory_order() -> None:
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    moved = to_device(images, CPU)
    assert torch.equal(moved, images) and moved.is_contiguous(memory_format=torch.channels_last)


def test_a_mixed_batch_shows_each_image_with_its_own_partner() -> None:
    """Image i is all of brightness i: batch, partner and share must be of the same row, resident or
    streamed."""
    images = (
        torch.arange(24, dtype=torch.uint8)
        .view(24, 1, 1, 1)
        .expand(24, 8, 8, 3)
        .contiguous()
        .permute(0, 3, 1, 2)
    )
    split = type(tiny_split())(images, torch.arange(24) % 3)
    config = DataConfig(
        mean=(0.0,) * 3,
        std=(1 / 255,) * 3,
        augment=tiny_config(padding=0, flip=False, mix="mixup").augment,
    )
    for streaming in (False, True):
        batches = TrainBatches(split, config, 10, 0, CPU, streaming=streaming)
        views = batches.policy.epoch(0)
        for batch in batches.epoch(0, views):
            partner = views.partner[batch.index].float()
            expected = batch.lam * batch.index.float() + (1 - batch.lam) * partner
            torch.testing.assert_close(batch.images.mean((1, 2, 3)), expected, rtol=1e-4, atol=1e-4)
            assert torch.equal(batch.partner_labels, partner.long() % 3) and torch.equal(
                batch.labels, batch.index % 3
            )


def test_the_same_seed_gives_the_same_batches_bit_for_bit() -> None:
    for augment in ({}, {"mix": "mixup"}, {"mix": "cutmix"}, {"photometric": 1}, PHOTOS):
        assert equal(
            epoch_of(make_batches(seed=1, **augment), 3),
            epoch_of(make_batches(seed=1, **augment), 3),
        )
        assert not equal(
            epoch_of(make_batches(seed=1, **augment), 3),
            epoch_of(make_batches(seed=2, **augment), 3),
        )


def test_epochs_can_be_had_in_any_order() -> None:
    batches = make_batches()
    forwards = [epoch_of(batches, epoch) for epoch in range(3)]
    backwards = [epoch_of(batches, epoch) for epoch in (2, 1, 0)][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    orders = {tuple(batches.order(epoch).tolist()) for epoch in range(3)}
    assert len(orders) == 3


def test_a_view_seed_fixes_the_views_and_not_the_order() -> None:
    one, two = make_batches(seed=1, view_seed=7), make_batches(seed=2, view_seed=7)
    assert not torch.equal(one.order(0), two.order(0))
    rows = torch.arange(24)
    assert torch.equal(
        one.render(rows, one.policy.epoch(0)).images, two.render(rows, two.policy.epoch(0)).images
    )


def test_the_index_is_the_address_of_labels_and_images() -> None:
    split = tiny_split()
    batches = make_batches(padding=0, flip=False)
    for batch in epoch_of(batches):
        assert torch.equal(batch.labels, split.labels[batch.index])
        pixels = split.images.permute(0, 2, 3, 1)[batch.index]
        assert torch.equal(batch.images, batches.normalise(pixels))
        assert batch.partner_labels is None and batch.lam is None


def test_mixed_batches_carry_the_partners_labels_and_the_share() -> None:
    batches = make_batches(mix="cutmix")
    views = batches.policy.epoch(0)
    assert views.partner is not None and views.lam is not None
    for batch in batches.epoch(0, views):
        assert batch.partner_labels is not None and batch.lam is not None
        assert torch.equal(batch.partner_labels, tiny_split().labels[views.partner[batch.index]])
        assert torch.equal(batch.lam, views.lam[batch.index])


def test_an_image_is_the_same_whatever_batch_it_is_in() -> None:
    # Teacher outputs are computed in one batch and read in another.
    for augment in (
        {"padding": 2},
        {"mix": "mixup"},
        {"mix": "cutmix"},
        {"photometric": 2},
        PHOTOS,
    ):
        batches = make_batches(**augment)
        views = batches.policy.epoch(0)
        together = batches.render(torch.arange(24), views).images
        for row in range(24):
            alone = batches.render(torch.tensor([row]), views).images
            assert torch.equal(alone[0], together[row]), augment


def test_plain_batches_show_the_images_as_they_are_in_order() -> None:
    split, config = tiny_split(7), DataConfig(mean=MEAN, std=STD)
    batches = list(plain_batches(split, config, 3, CPU))
    assert [len(b.labels) for b in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([b.index for b in batches]), torch.arange(7))
    assert torch.equal(torch.cat([b.labels for b in batches]), split.labels)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    expected = (split.images.float() / 255 - mean) / std
    torch.testing.assert_close(
        torch.cat([b.images for b in batches]), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "augment",
    [
        {},
        {"padding": 0, "flip": False},
        {"mix": "mixup"},
        {"mix": "cutmix"},
        {"photometric": 2},
        PHOTOS,
    ],
)
def test_batches_on_a_device_are_made_there(augment: dict[str, object]) -> None:
    """After the first of an epoch, for which order and views are drawn, none waits for the device
    or brings anything to it."""
    here = make_batches(**augment)
    views = here.policy.epoch(0)
    batches = TrainBatches(tiny_split(), tiny_config(**augment), 10, 0, THERE, streaming=False)
    epoch = batches.epoch(0, views)
    next(epoch)
    with only_there() as watched:
        second = next(epoch)
    assert watched.operations > 5
    for ours, theirs in zip(second, list(here.epoch(0, views))[1], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert (ours.shape, ours.dtype, ours.stride()) == (
                theirs.shape,
                theirs.dtype,
                theirs.stride(),
            )


@pytest.mark.parametrize(
    "augment",
    [{}, {"mix": "mixup"}, {"mix": "cutmix"}, {"photometric": 2}, PHOTOS],
)
def test_batches_are_the_same_on_every_device(
    augment: dict[str, object], device: torch.device
) -> None:
    """The same bytes, in the same order; floats differ in rounding at most."""
    here = make_batches(**augment)
    there = TrainBatches(tiny_split(), tiny_config(**augment), 10, 0, device)
    apart = TrainBatches(tiny_split(), tiny_config(**augment), 10, 0, device, streaming=True)
    for expected, *found in zip(
        epoch_of(here, 1), epoch_of(there, 1), epoch_of(apart, 1), strict=True
    ):
        for batch in found:
            assert batch.images.device.type == device.type and batch.images.is_contiguous(
                memory_format=torch.channels_last
            )
            if (
                "photometric" in augment or "rand_augment_ops" in augment
            ):  # which rounds to bytes in between: where sums differ, a few are off by one
                assert float((batch.images.cpu() - expected.images).abs().mean()) < 1e-3
            else:
                torch.testing.assert_close(
                    batch.images.cpu(), expected.images, rtol=1e-5, atol=1e-5
                )
            for mine, its in zip(batch[1:], expected[1:], strict=True):
                assert mine is its is None or (
                    mine is not None and its is not None and torch.equal(mine.cpu(), its)
                )
