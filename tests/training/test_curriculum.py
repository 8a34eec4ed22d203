"""Easy images first: replayable, resumable, the same from a cache and from the live teacher."""

from pathlib import Path

import pytest
import torch
from tests.worlds import MEAN, STD, tiny_data, tiny_net, untrained
from torch.nn import functional as F

import understudy
from understudy.config.schedules import Curriculum
from understudy.data.loader import Batch, TrainBatches, plain_batches
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Silent
from understudy.models.base import Outputs
from understudy.teachers.cached import cached_teacher
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.curriculum import hardness, make_sampler, rank_images

CPU = torch.device("cpu")
QUICK = {"epochs": 4, "batch_size": 8, "lr": 1e-2, "precision": "fp32", "device": "cpu"}


def made(**augment: object) -> tuple[FrozenTeacher, TrainBatches, object]:
    data = tiny_data(**augment)
    return FrozenTeacher(tiny_net()), TrainBatches(data.train, data.config, 8, 0, CPU), data


@pytest.mark.parametrize("by", ["loss", "confidence"])
def test_hardness_is_computed_from_unaugmented_images(by: str) -> None:
    teacher, batches, data = made()
    (batch,) = plain_batches(data.train, data.config, 24, CPU)
    logits = teacher.outputs(batch).logits
    expected = (
        F.cross_entropy(logits, batch.labels, reduction="none")
        if by == "loss"
        else 1 - logits.softmax(1).amax(1)
    )
    torch.testing.assert_close(hardness(teacher, batches, by), expected, rtol=1e-4, atol=1e-6)
    order = rank_images(expected)
    assert bool((expected[order].diff() >= 0).all()) and sorted(order.tolist()) == list(range(24))


class Watched(FrozenTeacher):
    """Records what it is prepared for."""

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        self.prepared = (epoch, views, observer)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("by", ["loss", "confidence"])
def test_more_images_than_a_batch_are_all_ranked_in_order(by: str, streaming: bool) -> None:
    data, teacher = tiny_data(1030), Watched(tiny_net())
    batches = TrainBatches(data.train, data.config, 8, 0, CPU, streaming=streaming)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        chances = (
            tiny_net().eval()((data.train.images.float() / 255 - mean) / std).double().softmax(1)
        )
    own = chances[torch.arange(1030), data.train.labels]
    found = hardness(teacher, batches, by)
    torch.testing.assert_close(
        found.double(),
        -own.log() if by == "loss" else 1 - chances.max(1).values,
        rtol=1e-4,
        atol=1e-5,
    )
    assert found.dtype == torch.float32 and found.device.type == "cpu" and not found.requires_grad
    epoch, views, observer = teacher.prepared
    assert (
        epoch == -1
        and observer is SILENT
        and views.top.unique().tolist() == [1]
        and not views.flip.any()
    )


def test_hardness_of_half_precision_logits_is_single_precision() -> None:
    class Half(FrozenTeacher):
        def outputs(self, batch: Batch) -> Outputs:
            return Outputs(super().outputs(batch).logits.half())

    _, batches, _ = made()
    found = hardness(Half(tiny_net()), batches, "loss")
    torch.testing.assert_close(
        found, hardness(FrozenTeacher(tiny_net()), batches, "loss"), rtol=1e-2, atol=1e-2
    )
    assert found.dtype == torch.float32


def test_observer_and_kind_reach_the_teacher() -> None:
    teacher, batches, _ = made()
    watched, observer = Watched(tiny_net()), Silent()
    pace = make_sampler(Curriculum(by="confidence", start=0.5), watched, batches, 4, observer)
    assert torch.equal(pace.ranked_images, rank_images(hardness(teacher, batches, "confidence")))
    assert not torch.equal(pace.ranked_images, rank_images(hardness(teacher, batches, "loss")))
    assert watched.prepared[2] is observer


def test_many_equally_hard_images_stay_in_order() -> None:
    values = torch.tensor([1.0, 0.0] * 500)
    assert rank_images(values).tolist() == [*range(1, 1000, 2), *range(0, 1000, 2)]


def test_equally_hard_images_stay_in_order() -> None:
    assert rank_images(torch.tensor([0.5, 0.1, 0.5, 0.1])).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("augment", [{}, {"mix": "mixup"}, {"padding": 0, "flip": False}])
def test_cached_teacher_labels_unaugmented_images_once(tmp_path: Path, augment: dict) -> None:
    teacher, batches, data = made(**augment)
    first = cached_teacher(teacher, data, batches, str(tmp_path))
    kept = hardness(first, batches, "loss")
    torch.testing.assert_close(
        kept, hardness(teacher, batches, "loss"), rtol=1e-2, atol=1e-2
    )  # fp16 on disk
    again = cached_teacher(teacher, data, batches, str(tmp_path))
    assert (
        torch.equal(hardness(again, batches, "loss"), kept)
        and first.labelled == 24
        and again.labelled == 0
    )


def test_sampler_follows_the_curriculum() -> None:
    teacher, batches, _ = made()
    pace = make_sampler(Curriculum(start=0.5, over=2), teacher, batches, 3)
    assert pace.shares == (0.5, 0.75, 1.0) and torch.equal(
        pace.ranked_images, rank_images(hardness(teacher, batches, "loss"))
    )


def train(outputs: str = "live", method: dict | None = None, **options):
    torch.manual_seed(1)
    kind = {"name": "kd", "curriculum": {"start": 0.3, "over": 2}} if method is None else method
    return understudy.distill(
        untrained(tiny_net(3)),
        tiny_net(4),
        tiny_data(),
        kind,
        outputs=outputs,
        seed=5,
        **(QUICK | options),
    )


def same(one, other) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True)
    )


def test_curriculum_training_repeats_and_resumes_bit_for_bit(
    tmp_path: Path,
) -> None:
    whole = train()
    assert same(whole, train()) and not same(whole, train(method={"name": "kd"}))

    class Stop(Exception):
        pass

    def stop(result) -> None:
        if result.epoch == 1:
            raise Stop

    with pytest.raises(Stop):
        train(checkpoint=tmp_path / "c.pt", on_epoch=stop)
    resumed = train(checkpoint=tmp_path / "c.pt", resume=True)
    assert same(whole, resumed)
    assert [e.losses for e in resumed.history] == [e.losses for e in whole.history]


def test_resumed_training_uses_the_saved_ranking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine's teacher may round otherwise; the images must still come as they did."""
    whole = train()

    class Stop(Exception):
        pass

    def stop(result) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(checkpoint=tmp_path / "c.pt", on_epoch=stop)
    monkeypatch.setattr(
        "understudy.training.curriculum.rank_images", lambda values: torch.arange(len(values))
    )
    assert same(whole, train(checkpoint=tmp_path / "c.pt", resume=True))


def test_curriculum_works_with_features_and_combined_methods() -> None:
    curriculum = {"start": 0.5}
    assert train(method={"name": "sp", "curriculum": curriculum}).history[-1].losses["loss"] >= 0
    assert len(train(method={"name": "lskd+kd", "curriculum": curriculum}).history) == 4


def test_curriculum_without_teacher_is_refused() -> None:
    with pytest.raises(UnderstudyError, match="ce has no teacher"):
        train(method={"name": "ce", "curriculum": {}})
