"""What a network costs: size, multiply-accumulates, latency, and accuracy for that cost."""

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from understudy.config.schema import BenchmarkConfig
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress
from understudy.files import LEFT_OUT_IF_NONE
from understudy.models.modes import evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

MEGABYTE = 2**20
"""Bytes in an MB of the original project's table."""


@dataclass(frozen=True)
class ModelSize:
    """Size of a network in memory.

    Attributes:
        parameters: number of trained elements.
        buffers: number of other elements; batch norm's counter of batches is one of them.
        size_mb: all of them in their own types, in MB of 2^20 bytes.
    """

    parameters: int
    buffers: int
    size_mb: float


@dataclass(frozen=True)
class Latency:
    """Time of a forward pass, in milliseconds a call.

    Attributes:
        median_ms: median over the timed rounds.
        p95_ms: 95th percentile (nearest rank).
        samples_ms: every timing in the order taken, if they were requested.
    """

    median_ms: float
    p95_ms: float
    samples_ms: tuple[float, ...] | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True)
class Efficiency:
    """Accuracy (in percent) for its cost; the original project's table has one, its text the other.

    Attributes:
        accuracy_per_ms: accuracy / latency of a batch.
        accuracy_per_ms_mb: accuracy / (latency of a batch x size in MB).
    """

    accuracy_per_ms: float
    accuracy_per_ms_mb: float


@dataclass(frozen=True)
class LatencySettings:
    """How networks are timed.

    Attributes:
        batch_sizes: images in a call.
        threads: CPU threads of torch while timing.
        repeats: timed rounds for each batch size.
        warmup: untimed rounds before them.
        channels_last: NHWC memory order.
        precision: ``bf16`` times under autocast.
        samples: keep every timing.

    Raises:
        UnderstudyError: for counts below one.
    """

    batch_sizes: Sequence[int] = (1, 128)
    threads: int = 1
    repeats: int = 30
    warmup: int = 5
    channels_last: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    samples: bool = False

    def __post_init__(self) -> None:
        counts = [("threads", self.threads), ("repeats", self.repeats)]
        counts += [("batch_sizes", size) for size in self.batch_sizes]
        for name, count in counts:
            if count < 1:
                raise UnderstudyError(f"benchmark.{name} must be at least 1, not {count}")
        if self.warmup < 0:
            raise UnderstudyError(f"benchmark.warmup must be at least 0, not {self.warmup}")

    @classmethod
    def of(cls, config: BenchmarkConfig, threads: int | None = None) -> "LatencySettings":
        """The settings of a recipe, with another number of threads if one is given."""
        return cls(
            batch_sizes=config.batch_sizes,
            threads=threads or config.threads,
            repeats=config.repeats,
            warmup=config.warmup,
        )


def model_size(model: "nn.Module") -> ModelSize:
    """Size in memory (of an ONNX file on disk); the original project's pair: 17.81 and 0.41 MB."""
    from understudy.models.onnx_network import OnnxNetwork

    if isinstance(model, OnnxNetwork):
        return ModelSize(model.num_parameters, 0, model.num_bytes / MEGABYTE)
    parameters, buffers = list(model.parameters()), list(model.buffers())
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in parameters + buffers)
    return ModelSize(
        parameters=sum(tensor.numel() for tensor in parameters),
        buffers=sum(tensor.numel() for tensor in buffers),
        size_mb=num_bytes / MEGABYTE,
    )


def count_macs(model: "nn.Module", image_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass of one image.

    Convolutions and matrix products, attention included. Norms, activations, pooling and biases are
    not counted, as is usual in the literature.

    Args:
        model: the network; its modes are restored afterwards.
        image_shape: ``(C, H, W)``.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(model.parameters(), torch.empty(0))
    image = torch.zeros((1, *image_shape), dtype=parameter.dtype, device=parameter.device)
    # The fused attention of a CPU is one operation that the counter does not know; the plain form
    # is two products.
    with (
        evaluating(model),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model(image)
    return counter.get_total_flops() // 2


def measure_latency(
    models: Mapping[str, "nn.Module"],
    image_shape: Sequence[int] | Mapping[str, Sequence[int]],
    settings: LatencySettings | None = None,
    *,
    device: str = "cpu",
    observer: Observer = SILENT,
) -> dict[str, dict[str, Latency]]:
    """Time the forward pass of several networks in one process, taking turns.

    In each round every network is timed once, so that a slow moment of the machine falls on all of
    them alike, after an untimed call of its own: the memory that another network released would
    cost the next one page faults (measured: 36 ms instead of 24 for a small student that follows a
    large teacher). The input is random and stays on the device: decoding and copying are not timed.
    The networks are moved to ``device``; modes and thread count are restored afterwards.

    Args:
        models: name -> network.
        image_shape: ``(C, H, W)``, the same for all, or by the name of the network.
        settings: batch sizes, threads, rounds.
        device: ``cpu``, ``cuda``, ...; an accelerator is synchronised before and after each call.
        observer: receives the rounds done, over all batch sizes.

    Returns:
        name -> batch size as text -> latency.
    """
    import torch

    settings = settings or LatencySettings()
    memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    timings: dict[str, dict[str, list[float]]] = {
        name: {str(size): [] for size in settings.batch_sizes} for name in models
    }
    if not isinstance(image_shape, Mapping):
        image_shape = dict.fromkeys(models, image_shape)
    rounds = settings.warmup + settings.repeats
    with _timing_conditions(models, settings, device):
        for model in models.values():
            model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
        for number, size in enumerate(settings.batch_sizes):
            images = {}
            for shape in dict.fromkeys(map(tuple, image_shape.values())):
                drawn = torch.randn((size, *shape), generator=generator).to(device)
                images[shape] = drawn.contiguous(memory_format=memory_format)
            for turn in range(rounds):
                for name, model in models.items():
                    own = images[tuple(image_shape[name])]
                    _time_call(model, own)
                    milliseconds = _time_call(model, own)
                    if turn >= settings.warmup:
                        timings[name][str(size)].append(milliseconds)
                done = number * rounds + turn + 1
                observer.progress(Progress("measure", done, rounds * len(settings.batch_sizes)))
    return {
        name: {size: _latency(values, settings.samples) for size, values in sizes.items()}
        for name, sizes in timings.items()
    }


def efficiency(accuracy: float, latency_ms: float, size_mb: float) -> Efficiency:
    """The two efficiency scores.

    Args:
        accuracy: top-1 in percent, 0 to 100.
        latency_ms: milliseconds per batch.
        size_mb: parameters and buffers in MB.
    """
    return Efficiency(accuracy / latency_ms, accuracy / (latency_ms * size_mb))


@contextmanager
def _timing_conditions(
    models: Mapping[str, "nn.Module"], settings: LatencySettings, device: str
) -> Iterator[None]:
    """Evaluation mode, no gradients, the precision and the threads of the settings."""
    import torch

    threads_before = torch.get_num_threads()
    bf16 = settings.precision == "bf16"
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(evaluating(model))
        stack.callback(torch.set_num_threads, threads_before)
        torch.set_num_threads(settings.threads)
        stack.enter_context(torch.inference_mode())
        kind = torch.device(device).type
        stack.enter_context(torch.autocast(kind, torch.bfloat16, enabled=bf16))
        yield


def _time_call(model: "nn.Module", images: "torch.Tensor") -> float:
    _synchronize(images.device)
    start = time.perf_counter()
    model(images)
    _synchronize(images.device)
    return (time.perf_counter() - start) * 1e3


def _synchronize(device: "torch.device") -> None:
    if device.type != "cpu":
        import torch

        torch.accelerator.synchronize(device)


def _latency(milliseconds: list[float], samples: bool) -> Latency:
    rank = math.ceil(0.95 * len(milliseconds)) - 1
    return Latency(
        median_ms=statistics.median(milliseconds),
        p95_ms=sorted(milliseconds)[rank],
        samples_ms=tuple(milliseconds) if samples else None,
    )
