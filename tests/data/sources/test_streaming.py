"""Data beyond memory: read ahead from the file, at the same interface, with the same bits."""

import threading

import pytest
import torch

from understudy.config.schema import AugmentConfig, DataConfig
from understudy.data import dataset
from understudy.data.dataset import Split
from understudy.data.loader import TrainBatches, plain_batches
from understudy.data.prefetch import ahead


@pytest.fixture
def split() -> Split:
    images = torch.randint(
        0, 256, (30, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return Split(images.permute(0, 3, 1, 2), torch.arange(30) % 4)


PHOTOS = AugmentConfig(
    resized_crop=(0.35, 1.0), color_jitter=(0.4, 0.4, 0.4, 0.1), erasing=0.5, mix="cutmix"
)


@pytest.mark.parametrize(
    "augment",
    [
        *(AugmentConfig(padding=2, mix=m, photometric=1) for m in ("none", "mixup", "cutmix")),
        PHOTOS,
    ],
    ids=["none", "mixup", "cutmix", "photos"],
)
def test_streamed_batches_are_the_resident_ones_bit_for_bit(split: Split, augment: AugmentConfig):
    config = DataConfig(augment=augment)
    resident, streamed = (
        TrainBatches(split, config, 8, 5, torch.device("cpu"), streaming=s) for s in (False, True)
    )
    assert resident.images is not None and streamed.images is None
    views = resident.policy.epoch(1)
    pairs = list(zip(resident.epoch(1, views), streamed.epoch(1, views), strict=True))
    assert len(pairs) == 4
    for a, b in pairs:
        assert all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))
    rows = torch.tensor([3, 1, 4])
    assert torch.equal(resident.render(rows, views).images, streamed.render(rows, views).images)


def test_a_large_part_of_a_split_is_not_copied(split: Split, monkeypatch: pytest.MonkeyPatch):
    rows = torch.tensor([7, 2, 9, 4])
    copied = split.take(rows)
    monkeypatch.setattr(dataset, "LARGEST_COPY", 100)
    referred = split.take(rows)
    assert referred.images is split.images and copied.rows is None
    part = torch.tensor([2, 0])
    assert torch.equal(copied.gather(part), referred.gather(part)) and torch.equal(
        copied.labels, referred.labels
    )
    assert torch.equal(referred.take(part).gather(torch.tensor([0, 1])), referred.gather(part))
    config = DataConfig(augment=AugmentConfig(padding=2))
    for a, b in zip(
        plain_batches(copied, config, 3, torch.device("cpu")),
        plain_batches(referred, config, 3, torch.device("cpu")),
        strict=True,
    ):
        assert torch.equal(a.images, b.images)
    a, b = (TrainBatches(s, config, 2, 0, torch.device("cpu")) for s in (copied, referred))
    for x, y in zip(a.epoch(0, a.policy.epoch(0)), b.epoch(0, b.policy.epoch(0)), strict=True):
        assert torch.equal(x.images, y.images)


def test_a_split_knows_its_bytes_and_is_copied_up_to_the_limit(
    split: Split, monkeypatch: pytest.MonkeyPatch
):
    assert split.num_bytes == 30 * 16 * 16 * 3
    rows = torch.tensor([3, 1])
    monkeypatch.setattr(dataset, "LARGEST_COPY", 2 * 16 * 16 * 3)
    assert split.take(rows).rows is None and split.take(rows).num_bytes == 2 * 16 * 16 * 3
    monkeypatch.setattr(dataset, "LARGEST_COPY", 2 * 16 * 16 * 3 - 1)
    referred = split.take(rows)
    assert (
        torch.equal(referred.rows, rows)
        and referred.num_bytes == 2 * 16 * 16 * 3
        and len(referred) == 2
    )
    monkeypatch.setattr(dataset, "LARGEST_COPY", 0)
    assert torch.equal(referred.take(torch.tensor([1, 0])).rows, torch.tensor([1, 3]))


def test_labels_of_a_split_taken_by_reference_are_its_own(
    split: Split, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dataset, "LARGEST_COPY", 0)
    rows = torch.tensor([9, 6, 3, 29, 14])
    batches = TrainBatches(
        split.take(rows),
        DataConfig(augment=AugmentConfig(padding=0, flip=False)),
        2,
        0,
        torch.device("cpu"),
    )
    assert not batches.streaming and batches.images is None
    for batch in batches.epoch(0, batches.policy.epoch(0)):
        assert torch.equal(batch.labels, rows[batch.index] % 4)
        assert torch.equal(
            batch.images, batches.normalise(split.images.permute(0, 2, 3, 1)[rows[batch.index]])
        )


def test_work_is_done_ahead_in_another_thread_in_order():
    threads = []
    made = []

    def maker(i: int):
        def make() -> int:
            threads.append(threading.current_thread().name)
            made.append(i)
            return i

        return make

    items = ahead((maker(i) for i in range(6)), depth=2)
    assert next(items) == 0
    assert list(items) == [1, 2, 3, 4, 5] and made == list(range(6))
    assert all(name.startswith("ahead") for name in threads)


@pytest.mark.parametrize("depth", [None, 0, 1, 3])
def test_no_more_than_the_depth_is_begun_ahead(depth: int | None):
    begun = []

    def makers():
        for i in range(8):
            begun.append(i)
            yield lambda i=i: 10 * i

    items = ahead(makers()) if depth is None else ahead(makers(), depth=depth)
    held = 2 if depth is None else depth
    for number in range(8):
        assert next(items) == 10 * number
        assert len(begun) == min(number + held + 1, 8)
    assert list(items) == []


def test_fewer_items_than_the_depth_all_come():
    assert list(ahead([lambda: "a", lambda: "b"], depth=5)) == ["a", "b"] and list(ahead([])) == []


def test_an_exception_comes_where_its_item_would_have():
    def fail() -> int:
        raise ValueError("broken page")

    items = ahead([lambda: 1, fail, lambda: 3], depth=1)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken page"):
        next(items)
