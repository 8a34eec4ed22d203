"""What a network costs: size, multiply-accumulates, latency, and accuracy for that cost. And the machine it was measured on."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    import torch
    from torch import nn

MEGABYTE = 2**20
"""Bytes in the MB of the founding table."""


def model_size(model: "nn.Module") -> dict[str, int | float]:
    """Size in memory.

    Returns:
        ``parameters`` and ``buffers`` (numbers of elements; batch norm's counter of batches is a buffer of one element) and
        ``size_mb``: all of them in MB of 2^20 bytes, in the types that they have. The founding pair has 17.81 and 0.41.
    """
    parameters, buffers = list(model.parameters()), list(model.buffers())
    return {
        "parameters": sum(tensor.numel() for tensor in parameters),
        "buffers": sum(tensor.numel() for tensor in buffers),
        "size_mb": sum(tensor.numel() * tensor.element_size() for tensor in parameters + buffers)
        / MEGABYTE,
    }


def count_macs(model: "nn.Module", image_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass of one image: convolutions and matrix products, attention included.

    Norms, activations, pooling and biases are not counted, as is usual in the literature.

    Args:
        model: the network; left in the mode that it was in.
        image_shape: ``(C, H, W)``.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(model.parameters(), torch.empty(0))
    image = torch.zeros((1, *image_shape), dtype=parameter.dtype, device=parameter.device)
    modes = _evaluation_mode(model)
    try:
        # The fused attention of a CPU is one operation that the counter does not know; the plain form is two products.
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            model(image)
    finally:
        _restore_modes(modes)
    return counter.get_total_flops() // 2


def measure_latency(
    models: Mapping[str, "nn.Module"],
    image_shape: Sequence[int],
    batch_sizes: Sequence[int] = (1, 128),
    *,
    threads: int = 1,
    repeats: int = 30,
    warmup: int = 5,
    channels_last: bool = True,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str = "cpu",
    samples: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Time the forward pass of several networks in one process, taking turns.

    In each round every network is timed once, so that a slow moment of the machine falls on all of them alike, after an
    untimed call of its own: the memory that another network gave back would cost the next one page faults (measured: 36 ms
    instead of 24 for the founding student behind a larger teacher, and never for the one behind the student). The input
    is random and stays on the device: decoding and copying are not timed. The networks are moved to ``device`` and, with
    ``channels_last``, their weights to NHWC order; modes and thread count are put back afterwards.

    Args:
        models: name -> network.
        image_shape: ``(C, H, W)``.
        batch_sizes: images in a call.
        threads: CPU threads of torch while timing.
        repeats: timed rounds for each batch size.
        warmup: untimed rounds before them.
        channels_last: time in NHWC memory order.
        precision: ``bf16`` times under autocast.
        device: ``cpu``, ``cuda``, ...; an accelerator is synchronised before and after each call.
        samples: add ``samples_ms``, every timing in the order taken.
        progress: called with (rounds done, rounds in all) after each round.

    Returns:
        name -> batch size as text -> ``median_ms`` and ``p95_ms`` (milliseconds per call, nearest-rank percentile), and
        ``samples_ms`` where asked for.

    Raises:
        UnderstudyError: for counts below one.
    """
    import torch

    for what, value in (
        ("threads", threads),
        ("repeats", repeats),
        *(("batch_sizes", size) for size in batch_sizes),
    ):
        if value < 1:
            raise UnderstudyError(f"benchmark.{what} must be at least 1, not {value}")
    if warmup < 0:
        raise UnderstudyError(f"benchmark.warmup must be at least 0, not {warmup}")
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    timings: dict[str, dict[str, list[float]]] = {
        name: {str(size): [] for size in batch_sizes} for name in models
    }
    rounds_done, rounds = 0, (warmup + repeats) * len(batch_sizes)
    threads_before = torch.get_num_threads()
    modes = [mode for model in models.values() for mode in _evaluation_mode(model)]
    try:
        torch.set_num_threads(threads)
        for model in models.values():
            model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
        with (
            torch.inference_mode(),
            torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            for size in batch_sizes:
                images = (
                    torch.randn((size, *image_shape), generator=generator)
                    .to(device)
                    .contiguous(memory_format=memory_format)
                )
                for turn in range(warmup + repeats):
                    for name, model in models.items():
                        _time_call(model, images)
                        milliseconds = _time_call(model, images)
                        if turn >= warmup:
                            timings[name][str(size)].append(milliseconds)
                    rounds_done += 1
                    if progress is not None:
                        progress(rounds_done, rounds)
    finally:
        torch.set_num_threads(threads_before)
        _restore_modes(modes)
    return {
        name: {size: _summary(values, samples) for size, values in sizes.items()}
        for name, sizes in timings.items()
    }


def efficiency(accuracy: float, latency_ms: float, size_mb: float) -> dict[str, float]:
    """The two efficiency scores of the founding repository: the one that its table holds, and the one that its text says.

    Args:
        accuracy: top-1 in percent, 0 to 100.
        latency_ms: milliseconds per batch.
        size_mb: parameters and buffers in MB.

    Returns:
        ``accuracy_per_ms`` (accuracy / latency) and ``accuracy_per_ms_mb`` (accuracy / (latency x size)).
    """
    return {
        "accuracy_per_ms": accuracy / latency_ms,
        "accuracy_per_ms_mb": accuracy / (latency_ms * size_mb),
    }


def _evaluation_mode(model: "nn.Module") -> list[tuple["nn.Module", bool]]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    return modes


def _restore_modes(modes: list[tuple["nn.Module", bool]]) -> None:
    # Each module by itself: a model with a frozen part is in two modes at once.
    for module, training in modes:
        module.training = training


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


def _summary(milliseconds: list[float], samples: bool) -> dict[str, Any]:
    rank = math.ceil(0.95 * len(milliseconds)) - 1
    summary: dict[str, Any] = {
        "median_ms": statistics.median(milliseconds),
        "p95_ms": sorted(milliseconds)[rank],
    }
    return {**summary, "samples_ms": milliseconds} if samples else summary
