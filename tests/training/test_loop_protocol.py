"""What method, teacher and caller see of the loop: terms, measures, batches, progress, pauses."""

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.training.plain_loop import (
    CPU,
    SETTINGS,
    assert_state,
    method_of,
    plain_loop,
    steps_of,
    train,
)
from tests.worlds import TinyNet, tiny_data, tiny_net
from torch import Tensor
from torch.nn import functional as F

from understudy.data.loader import Batch, TrainBatches
from understudy.data.views import Views
from understudy.events import SILENT, Observer, Progress, Silent
from understudy.methods import CE, MethodConfig
from understudy.models.base import Outputs
from understudy.teachers.base import Teacher
from understudy.training.device import resolve_precision
from understudy.training.state import run_fingerprint
from understudy.training.step import _in_autocast_precision, rank_weight

# What a method and a teacher see


class Two(CE):
    """Two terms and a measure."""

    def losses(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        del teacher
        hard = F.cross_entropy(student.logits, batch.labels)
        return {"most": 0.75 * hard, "rest": 0.25 * hard}

    def measures(self) -> dict[str, Tensor]:
        return {"odds": torch.tensor(0.25 + self.epoch)}


def test_terms_are_summed_and_measures_are_reported_separately() -> None:
    data = tiny_data()
    plain = plain_loop(tiny_net(1), data, SETTINGS)
    method, history = train(data, method=method_of(data, kind=Two))
    assert_state(method.student, plain[-1][-1].state)
    for epoch, (steps, result) in enumerate(zip(plain, history, strict=True)):
        mean = sum(step.loss * step.images for step in steps) / 24
        assert result.losses == pytest.approx(
            {"most": 0.75 * mean, "rest": 0.25 * mean, "loss": mean}, rel=1e-4
        )
        assert result.measures == {"odds": 0.25 + epoch}
        assert result.train_accuracy == sum(step.correct for step in steps) / 24


class Log(Silent):
    """Keeps every progress event."""

    def __init__(self) -> None:
        self.events: list[Progress] = []

    def progress(self, progress: Progress, training: str = "") -> None:
        self.events.append(progress)


class Watched(Teacher):
    """Records the epochs it is prepared for and the images it is called with."""

    def __init__(self) -> None:
        self.prepared: list[tuple[int, Views]] = []
        self.seen: list[list[int]] = []

    def prepare(self, epoch: int, views: Views, observer: Observer = SILENT) -> None:
        self.prepared.append((epoch, views))
        observer.progress(Progress("label", 24, 24, epoch))

    def outputs(self, batch: Batch) -> Outputs:
        self.seen.append(batch.index.tolist())
        return Outputs(batch.images.new_tensor(batch.index.tolist())[:, None])


class Reader(CE):
    """Records the rows of each batch and the teacher outputs for them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pairs: list[tuple[list[int], list[int]]] = []

    def losses(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        assert teacher is not None
        self.pairs.append((batch.index.tolist(), teacher.logits[:, 0].long().tolist()))
        return super().losses(student, None, batch)


def test_teacher_is_prepared_per_epoch_and_called_per_batch() -> None:
    data, teacher, log = tiny_data(), Watched(), Log()
    method = method_of(data, kind=Reader)
    train(data, method=method, teacher=teacher, observer=log, seed=5)
    batches = TrainBatches(data.train, data.config, 10, 5, CPU)
    expected = [
        batch.index.tolist()
        for epoch in range(3)
        for batch in batches.epoch(epoch, batches.policy.epoch(epoch))
    ]
    assert teacher.seen == expected and method.pairs == [(rows, rows) for rows in expected]
    assert [epoch for epoch, _ in teacher.prepared] == [0, 1, 2]
    for epoch, views in teacher.prepared:
        assert torch.equal(views.top, batches.policy.epoch(epoch).top)
    expected_events = []
    for epoch in range(3):
        expected_events.append(Progress("label", 24, 24, epoch))
        expected_events += [Progress("train", done, 3, epoch) for done in (1, 2, 3)]
    assert log.events == expected_events


def test_teacher_runs_without_an_observer() -> None:
    data, teacher = tiny_data(), Watched()
    train(data, method=method_of(data, kind=Reader), teacher=teacher)
    assert len(teacher.prepared) == 3 and len(teacher.seen) == 9


def test_only_live_outputs_may_be_in_autocast_precision() -> None:
    """A network has features, or an embedding in the type of its autocast; a cache has neither."""
    logits, half = torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.bfloat16)
    assert [
        _in_autocast_precision(Outputs(logits)),
        _in_autocast_precision(Outputs(logits, (), half.float())),
    ] == [False, False]
    assert [
        _in_autocast_precision(Outputs(logits, (half,))),
        _in_autocast_precision(Outputs(logits, (), half)),
    ] == [True, True]


def test_live_features_reach_the_method_with_their_batch() -> None:
    class Featured(Watched):
        def outputs(self, batch: Batch) -> Outputs:
            rows = super().outputs(batch).logits
            return Outputs(rows, (rows.view(-1, 1, 1, 1),))

    class Checked(Reader):
        def losses(
            self, student: Outputs, teacher: Outputs | None, batch: Batch
        ) -> dict[str, Tensor]:
            assert (
                teacher is not None
                and teacher.features[0].flatten().tolist() == batch.index.tolist()
            )
            return super().losses(student, teacher, batch)

    data = tiny_data()
    method = method_of(data, kind=Checked)
    train(data, method=method, teacher=Featured())
    assert len(method.pairs) == 9 and all(rows == given for rows, given in method.pairs)
    assert_state(method.student, plain_loop(tiny_net(1), data, SETTINGS)[-1][-1].state)


def test_seed_of_the_batches_is_the_seed_of_the_training() -> None:
    data = tiny_data()
    batches = TrainBatches(data.train, data.config, 10, 77, CPU)
    given, _ = train(data, batches=batches, seed=0)
    own, _ = train(data, seed=77)
    assert_state(given.student, own.student.state_dict())


def test_loop_pauses_before_each_epoch_and_after_each_step() -> None:
    data = tiny_data()
    epochs = [result and result.epoch for result in steps_of(method_of(data), data)]
    assert epochs == [*[None] * 4, 0, *[None] * 4, 1, *[None] * 4, 2]


def test_time_of_pauses_is_excluded_from_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves by 5 s while the teacher prepares, 1 s a step, 100 s in every pause."""
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Slow(Reader):
        def losses(
            self, student: Outputs, teacher: Outputs | None, batch: Batch
        ) -> dict[str, Tensor]:
            now[0] += 1.0
            return super().losses(student, teacher, batch)

    class Preparing(Watched):
        def prepare(self, *args: Any) -> None:
            now[0] += 5.0

    data, results = tiny_data(), []
    method = method_of(data, kind=Slow)
    for event in steps_of(method, data, teacher=Preparing()):
        now[0] += 100.0
        results += [] if event is None else [event]
    assert [(r.seconds, r.images_per_second, r.label_seconds) for r in results] == [
        (3.0, 7.0, 5.0),  # the rate leaves out the session's first step and its 10 of 24 images
        (3.0, 8.0, 5.0),
        (3.0, 8.0, 5.0),
    ]


class Types(TinyNet):
    """Records mode, memory order and number type at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, torch.dtype]] = []

    def outputs(self, images: Tensor) -> Outputs:
        self.calls.append((self.training, self.conv(images).dtype))
        return super().outputs(images)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_training_and_validation_use_the_configured_precision(
    precision: str, dtype: torch.dtype
) -> None:
    data, network = tiny_data(), Types()
    config = replace(SETTINGS, epochs=1, precision=precision)
    train(data, config, method=method_of(data, network))
    assert network.calls == [(True, dtype)] * 3 + [(False, dtype)], (
        "three steps, one batch of validation"
    )


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_have_the_configured_memory_order(channels_last: bool) -> None:
    data = tiny_data()
    method, _ = train(data, replace(SETTINGS, epochs=1, channels_last=channels_last))
    assert (
        method.student.conv.weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    )


def test_precision_is_the_given_one_or_that_of_the_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [resolve_precision(p, torch.device("cuda")) for p in ("fp32", "bf16")] == [
        "fp32",
        "bf16",
    ]
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert resolve_precision("auto", CPU) == "bf16"
    assert resolve_precision("auto", torch.device("meta")) == "fp32"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert resolve_precision("auto", CPU) == "fp32"
    for real in (True, False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, real=real: including_emulation or real,
        )
        assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if real else "fp32")


# Ranks and resuming


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("batch_size", [10, 9, 24])
def test_mean_over_weighted_ranks_is_the_mean_over_the_batch(
    world_size: int, batch_size: int
) -> None:
    """DDP averages the means of ranks, of which the last ones may have fewer images."""
    data, value = tiny_data(), torch.arange(24).double() ** 2
    ranks = [
        TrainBatches(data.train, data.config, batch_size, 0, CPU, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    whole = ranks[0].order(0).split(batch_size)
    for number, rows in enumerate(whole):
        parts = [rows[rank::world_size] for rank in range(world_size)]
        means = [
            rank_weight(ranks[rank], number, len(part)) * value[part].mean()
            for rank, part in enumerate(parts)
        ]
        assert float(sum(means)) / world_size == pytest.approx(float(value[rows].mean()))


def test_gradient_of_a_rank_is_scaled_by_its_weight() -> None:
    """Of 23 images the first of two ranks has 12: its mean is weighted by 24/23."""
    data = tiny_data(23)
    config = replace(SETTINGS, epochs=1, batch_size=24, momentum=0.0, weight_decay=0.0)
    batches = TrainBatches(data.train, data.config, 24, 0, CPU, rank=0, world_size=2)
    (batch,) = batches.epoch(0, batches.policy.epoch(0))
    network = tiny_net(1)
    F.cross_entropy(network(batch.images), batch.labels).backward()
    method, _ = train(data, config, batches=batches)
    for ours, start in zip(method.student.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, start - 0.1 * 24 / 23 * start.grad, rtol=1e-4, atol=1e-6)


def test_single_process_has_weight_one() -> None:
    data = tiny_data()
    assert rank_weight(TrainBatches(data.train, data.config, 10, 0, CPU), 2, 4) == 1.0


def test_fingerprint_depends_on_data_config_method_seed_and_views() -> None:
    data, other = tiny_data(), tiny_data(seed=1)
    method, smooth = method_of(data), method_of(data)
    smooth.config = MethodConfig("ce", alpha=0.25)

    def batches(seed: int = 0, **augment: Any) -> TrainBatches:
        return TrainBatches(data.train, tiny_data(**augment).config, 10, seed, CPU)

    prints = [
        run_fingerprint(method, data, SETTINGS, batches()),
        run_fingerprint(method, other, SETTINGS, batches()),
        run_fingerprint(method, data, replace(SETTINGS, momentum=0.5), batches()),
        run_fingerprint(smooth, data, SETTINGS, batches()),
        run_fingerprint(method, data, SETTINGS, batches(1)),
        run_fingerprint(method, data, SETTINGS, batches(padding=2)),
        run_fingerprint(method, data, SETTINGS, batches(view_seed=3)),
    ]
    assert len(set(prints)) == 7
    assert run_fingerprint(method_of(data), tiny_data(), SETTINGS, batches()) == prints[0]
