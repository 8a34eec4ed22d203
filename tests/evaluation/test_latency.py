"""What a network costs. No test asks how long anything took."""

import json

import pytest
import torch
from torch import nn

from understudy.errors import UnderstudyError
from understudy.evaluation import latency as benchmark
from understudy.evaluation.latency import (
    Efficiency,
    Latency,
    LatencySettings,
    ModelSize,
    count_macs,
    efficiency,
    measure_latency,
    model_size,
)
from understudy.events import Silent
from understudy.files import to_json
from understudy.models import build_model


def test_size_is_the_founding_tables():
    """17.81 and 0.41 MB of 2^20 bytes, batch norm's buffers included."""
    teacher, student = (
        model_size(build_model("founding_teacher", 10)),
        model_size(build_model("founding_student", 10)),
    )
    assert teacher.parameters == 4_664_970
    assert (student.parameters, student.buffers) == (106_826, 2 * (16 + 32 + 64 + 128) + 4)
    assert student.size_mb == pytest.approx(0.41, abs=0.005)
    assert round(teacher.size_mb, 2) == 17.81


def test_size_counts_the_bytes_that_there_are():
    assert model_size(nn.Linear(2**10, 2**10, bias=False).to(torch.bfloat16)).size_mb == 2.0


def test_macs_of_the_founding_student_by_hand():
    # output pixels x 9 x channels in x channels out, then the two matrices of the head
    by_hand = (
        32 * 32 * 9 * 3 * 16
        + 16 * 16 * 9 * 16 * 32
        + 8 * 8 * 9 * 32 * 64
        + 4 * 4 * 9 * 64 * 128
        + 128 * 64
        + 64 * 10
    )
    assert count_macs(build_model("founding_student", 10), (3, 32, 32)) == by_hand == 3_990_144


def test_macs_of_a_matrix_and_of_a_strided_convolution():
    """Of one image, at the size given; biases, norms and activations are free."""
    assert count_macs(nn.Linear(7, 5), (7,)) == 35
    convolution, head = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Linear(4 * 3 * 5, 2)
    network = nn.Sequential(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), head)
    assert count_macs(network, (3, 6, 10)) == 3 * 5 * 9 * 3 * 4 + 60 * 2


def test_macs_are_counted_in_the_models_own_type():
    assert count_macs(nn.Linear(4, 2).to(torch.bfloat16), (4,)) == 8
    assert count_macs(nn.Flatten(), (3, 2, 2)) == 0


def test_a_model_that_fails_to_run_keeps_its_mode():
    model = nn.Sequential(nn.Linear(3, 2)).train()
    with pytest.raises(RuntimeError):
        count_macs(model, (4,))
    assert model.training and model[0].training


def test_size_counts_parameters_and_buffers_apart():
    network = nn.BatchNorm1d(6)  # weight, bias; mean, variance (fp32) and the counter (int64)
    assert model_size(network) == ModelSize(12, 13, size_mb=(24 * 4 + 8) / 2**20)


def test_macs_of_a_depthwise_convolution_and_of_attention():
    assert count_macs(nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 4, 4)) == 4 * 4 * 9 * 8

    class Attention(nn.Module):
        def forward(self, images):
            tokens = images.flatten(2).transpose(1, 2)  # [1, 16, 8]
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert count_macs(Attention(), (8, 4, 4)) == 2 * 16 * 16 * 8


def test_counting_leaves_the_model_as_it_was():
    model = build_model("founding_student", 10).train()
    model.stage1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_macs(model, (3, 32, 32))
    assert model.training
    assert not model.stage1.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Recorder(nn.Module):
    """A model that writes down who was called, with what, and how."""

    def __init__(self, name, calls):
        super().__init__()
        self.name, self.calls = name, calls

    def forward(self, images):
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.calls.append((self.name, len(images), torch.get_num_threads()))
        return images.flatten(1)


def test_models_take_turns():
    calls, progress = [], []

    class Watcher(Silent):
        def progress(self, news, training=""):
            progress.append((news.phase, news.done, news.total))

    models = {name: Recorder(name, calls) for name in ("a", "b")}
    threads = torch.get_num_threads()
    result = measure_latency(
        models,
        (3, 4, 4),
        LatencySettings((1, 2), threads=1, repeats=3, warmup=2, samples=True),
        observer=Watcher(),
    )
    assert calls == [
        (name, size, 1)
        for size in (1, 2)
        for _ in range(5)
        for name in ("a", "b")
        for _ in ("untimed", "timed")
    ]
    assert progress == [("measure", done, 10) for done in range(1, 11)]
    assert torch.get_num_threads() == threads
    assert all(model.training for model in models.values())
    assert set(result) == {"a", "b"}
    for sizes in result.values():
        assert list(sizes) == ["1", "2"]
        for row in sizes.values():
            assert len(row.samples_ms) == 3
            assert row.median_ms == sorted(row.samples_ms)[1]
            assert row.p95_ms == max(row.samples_ms)
    assert json.loads(json.dumps(to_json(result)))["a"]["1"]["p95_ms"] == result["a"]["1"].p95_ms


def test_percentile_is_the_nearest_rank(monkeypatch):
    """Of the timings 1 to 100 ms the median is 50.5 and the 95th percentile 95."""
    ticks = (
        tick // 2 for tick in range(2, 202)
    )  # each turn is an untimed call and a timed one: 1, 1, 2, 2, ...
    monkeypatch.setattr(benchmark, "_time_call", lambda model, images: float(next(ticks)))
    result = measure_latency(
        {"net": nn.Flatten()}, (1, 2, 2), LatencySettings((1,), repeats=100, warmup=0)
    )
    assert result == {"net": {"1": Latency(median_ms=50.5, p95_ms=95.0)}}
    assert to_json(result) == {"net": {"1": {"median_ms": 50.5, "p95_ms": 95.0}}}


def test_second_call_of_each_round_after_warmup_is_timed(monkeypatch):
    """Calls take 0, 1, 2, ... ms: per round an untimed and a timed one of a, then of b."""
    ticks = iter(range(100))
    monkeypatch.setattr(benchmark, "_time_call", lambda model, images: float(next(ticks)))
    models = {"a": nn.Flatten(), "b": nn.Flatten()}
    result = measure_latency(
        models, (1, 2, 2), LatencySettings((1,), repeats=3, warmup=2, samples=True)
    )
    assert result["a"]["1"] == Latency(13.0, 17.0, (9.0, 13.0, 17.0))
    assert result["b"]["1"] == Latency(15.0, 19.0, (11.0, 15.0, 19.0))


def test_a_timing_is_in_milliseconds_and_of_the_call_alone(monkeypatch):
    now = [5.0]

    class Slow(nn.Module):
        def forward(self, images):
            now[0] += 0.25
            return images

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])
    assert benchmark._time_call(Slow(), torch.zeros(1)) == 250.0


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 1), (2, 2), (10, 10), (19, 19), (20, 19), (21, 20), (40, 38)]
)
def test_95_percent_do_not_exceed_the_95th_percentile(count, rank, monkeypatch):
    ticks = iter([time for turn in range(count, 0, -1) for time in (0.0, float(turn))])
    monkeypatch.setattr(benchmark, "_time_call", lambda model, images: next(ticks))
    result = measure_latency(
        {"net": nn.Flatten()}, (1, 2, 2), LatencySettings((1,), repeats=count, warmup=0)
    )
    assert result["net"]["1"].p95_ms == rank and result["net"]["1"].samples_ms is None


def test_every_model_is_shown_the_same_images_of_the_given_shape(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, "_time_call", lambda model, images: seen.append(images) or 1.0)
    for _ in range(2):
        measure_latency(
            {"a": nn.Flatten(), "b": nn.Flatten()},
            (3, 4, 6),
            LatencySettings((2,), repeats=1, warmup=0),
        )
    assert all(torch.equal(images, seen[0]) for images in seen) and seen[0].shape == (2, 3, 4, 6)
    assert seen[0].std() > 0.5, "not all alike"


@pytest.mark.parametrize(("channels_last", "precision"), [(True, "fp32"), (False, "bf16")])
def test_memory_order_and_precision_reach_the_model(channels_last, precision):
    seen = []
    model = nn.Conv2d(3, 4, 3)
    model.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    measure_latency(
        {"net": model},
        (3, 8, 8),
        LatencySettings(
            (2,), repeats=1, warmup=0, channels_last=channels_last, precision=precision
        ),
    )
    (images, output) = seen[0]
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert output.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_threads_and_modes_are_restored_after_a_failure():
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("broken")

    model, threads = Broken(), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="broken"):
        measure_latency({"net": model}, (3, 4, 4), LatencySettings((1,), threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert model.training


def test_counts_of_one_and_no_warmup_are_enough():
    result = measure_latency(
        {"net": nn.Flatten()}, (3, 4, 4), LatencySettings((1,), threads=1, repeats=1, warmup=0)
    )
    assert result["net"]["1"].median_ms == result["net"]["1"].p95_ms >= 0


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"repeats": 0}, {"warmup": -1}, {"batch_sizes": (4, 0)}]
)
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(UnderstudyError, match=f"benchmark.{next(iter(wrong))} must be at least"):
        LatencySettings(**wrong)


def test_both_efficiency_scores():
    """The founding teacher: 83.13 % at 111.29 ms and 17.81 MB."""
    scores = efficiency(83.13, 111.29, 17.81)
    assert scores.accuracy_per_ms == pytest.approx(0.747, abs=5e-4)
    assert scores.accuracy_per_ms_mb == pytest.approx(scores.accuracy_per_ms / 17.81)
    assert efficiency(80.0, 4.0, 2.0) == Efficiency(20.0, 10.0)
