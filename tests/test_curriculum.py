"""What the teacher finds easy comes first: replayable, resumable, the same from a cache and from the live teacher."""

from pathlib import Path

import pytest
import torch
from tests.tiny_data import MEAN, STD, tiny_data, tiny_net
from torch.nn import functional as F

import understudy
from understudy.curriculum import easy_first, pace_by, scores
from understudy.data.batches import Batch, TrainBatches, plain_batches
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.methods.schedule import Curriculum
from understudy.models.base import Outputs
from understudy.teachers import FrozenTeacher
from understudy.train import cached

CPU = torch.device("cpu")
QUICK = {"epochs": 4, "batch_size": 8, "lr": 1e-2, "precision": "fp32", "device": "cpu"}


def made(**augment: object) -> tuple[FrozenTeacher, TrainBatches, object]:
    data = tiny_data(**augment)
    return FrozenTeacher(tiny_net()), TrainBatches(data.train, data.config, 8, 0, CPU), data


@pytest.mark.parametrize("by", ["loss", "confidence"])
def test_images_are_scored_as_they_are_by_what_the_teacher_says(by: str) -> None:
    teacher, batches, data = made()
    (batch,) = plain_batches(data.train, data.config, 24, CPU)
    logits = teacher.outputs(batch).logits
    expected = F.cross_entropy(logits, batch.labels, reduction="none") if by == "loss" else 1 - logits.softmax(1).amax(1)
    torch.testing.assert_close(scores(teacher, batches, by), expected, rtol=1e-4, atol=1e-6)
    order = easy_first(expected)
    assert bool((expected[order].diff() >= 0).all()) and sorted(order.tolist()) == list(range(24))


class Watched(FrozenTeacher):
    """Records what it is prepared for."""

    def prepare(self, epoch: int, views: Views, progress: object = None) -> None:
        self.prepared = (epoch, views, progress)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("by", ["loss", "confidence"])
def test_more_images_than_a_batch_are_all_scored_in_order(by: str, streaming: bool) -> None:
    data, teacher = tiny_data(1030), Watched(tiny_net())
    batches = TrainBatches(data.train, data.config, 8, 0, CPU, streaming=streaming)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        chances = tiny_net().eval()((data.train.images.float() / 255 - mean) / std).double().softmax(1)
    own = chances[torch.arange(1030), data.train.labels]
    found = scores(teacher, batches, by)
    torch.testing.assert_close(found.double(), -own.log() if by == "loss" else 1 - chances.max(1).values, rtol=1e-4, atol=1e-5)
    assert found.dtype == torch.float32 and found.device.type == "cpu" and not found.requires_grad
    epoch, views, progress = teacher.prepared
    assert epoch == -1 and progress is None and views.top.unique().tolist() == [1] and not views.flip.any()


def test_scores_of_half_precision_logits_are_single_precision() -> None:
    class Half(FrozenTeacher):
        def outputs(self, batch: Batch) -> Outputs:
            return Outputs(super().outputs(batch).logits.half())

    _, batches, _ = made()
    found = scores(Half(tiny_net()), batches, "loss")
    torch.testing.assert_close(found, scores(FrozenTeacher(tiny_net()), batches, "loss"), rtol=1e-2, atol=1e-2)
    assert found.dtype == torch.float32


def test_progress_and_kind_reach_the_teacher() -> None:
    teacher, batches, _ = made()
    watched, events = Watched(tiny_net()), []
    pace = pace_by(Curriculum(by="confidence", start=0.5), watched, batches, 4, lambda *event: events.append(event))
    assert torch.equal(pace.easy_first, easy_first(scores(teacher, batches, "confidence")))
    assert not torch.equal(pace.easy_first, easy_first(scores(teacher, batches, "loss")))
    watched.prepared[2](1, 2)
    assert events == [(1, 2)]


def test_many_equals_keep_their_order() -> None:
    hardness = torch.tensor([1.0, 0.0] * 500)
    assert easy_first(hardness).tolist() == [*range(1, 1000, 2), *range(0, 1000, 2)]


def test_among_equals_the_first_stays_first() -> None:
    assert easy_first(torch.tensor([0.5, 0.1, 0.5, 0.1])).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("augment", [{}, {"mix": "mixup"}, {"padding": 0, "flip": False}])
def test_a_cached_teacher_is_asked_once_about_the_plain_images(tmp_path: Path, augment: dict) -> None:
    teacher, batches, data = made(**augment)
    first = cached(teacher, data, batches, str(tmp_path))
    kept = scores(first, batches, "loss")
    torch.testing.assert_close(kept, scores(teacher, batches, "loss"), rtol=1e-2, atol=1e-2)  # fp16 on disk
    again = cached(teacher, data, batches, str(tmp_path))
    assert torch.equal(scores(again, batches, "loss"), kept) and first.labelled == 24 and again.labelled == 0


def test_the_pace_is_the_curriculums() -> None:
    teacher, batches, _ = made()
    pace = pace_by(Curriculum(start=0.5, over=2), teacher, batches, 3)
    assert pace.shares == (0.5, 0.75, 1.0) and torch.equal(pace.easy_first, easy_first(scores(teacher, batches, "loss")))


def train(outputs: str = "live", method: dict | None = None, **options):
    torch.manual_seed(1)
    kind = {"name": "kd", "curriculum": {"start": 0.3, "over": 2}} if method is None else method
    return understudy.distill(tiny_net(3), tiny_net(4), tiny_data(), kind, outputs=outputs, seed=5, **(QUICK | options))


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))


def test_a_training_with_a_curriculum_repeats_bit_for_bit_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
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


def test_a_resumed_training_keeps_the_order_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's teacher may round otherwise; the images must still come as they did."""
    whole = train()

    class Stop(Exception):
        pass

    def stop(result) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(checkpoint=tmp_path / "c.pt", on_epoch=stop)
    monkeypatch.setattr("understudy.curriculum.easy_first", lambda hardness: torch.arange(len(hardness)))
    assert same(whole, train(checkpoint=tmp_path / "c.pt", resume=True))


def test_it_goes_with_features_and_with_mixing() -> None:
    curriculum = {"start": 0.5}
    assert train(method={"name": "sp", "curriculum": curriculum}).history[-1].losses["loss"] >= 0
    assert len(train(method={"name": "lskd+kd", "curriculum": curriculum}).history) == 4


def test_without_a_teacher_nothing_is_easy() -> None:
    with pytest.raises(UnderstudyError, match="ce has no teacher"):
        train(method={"name": "ce", "curriculum": {}})
