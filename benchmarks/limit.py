"""The arithmetic of the limit: the least time that a step of the founding student can take.

Each operation reads its inputs and writes its outputs once (batch norm reads twice: statistics,
then values), in the precision that a run would use on this machine; weights and optimizer are left
out: 0.4 MB against hundreds. Computing is as fast as the fastest matrix product in that precision,
on the units that it uses (AMX or AVX512-BF16 for bf16), moving as fast as the fastest copy, which
is one within the processor's cache. The two may overlap: of each layer the slower one counts. No
step can take less, and the program ends with an error if one does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import harness
import our_loop
import torch
from torch import Tensor, nn

DTYPE = torch.bfloat16 if our_loop.PRECISION == "bf16" else torch.float32
"""Of matrices and maps in a step."""
ITEM = DTYPE.itemsize
SIZES = (256, 512, 1024, 2048)
"""Rows and columns of the matrix products that are tried."""
COPIES = (2**16, 2**18, 2**20, 2**22, 2**24)
"""Bytes of the copies that are tried: within a core's cache, within the shared one, beyond."""


def arithmetic(model: nn.Module, batch_size: int) -> dict[str, tuple[float, float]]:
    """Layer -> (FLOPs, bytes) of one training step on 32 x 32 RGB images, from the shapes alone."""
    counts: dict[str, tuple[float, float]] = {}
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))

    def count(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        read, written = inputs[0].numel(), output.numel()
        flops, moved = 0.0, 0
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            # Forward, gradient by the input (the images need none) and gradient by the weights: one
            # product each.
            products = 2 if module is first else 3
            flops = 2.0 * products * written * module.weight[0].numel()
            moved = (read + written) * products
        elif isinstance(module, nn.BatchNorm2d):
            # With the pool and the ReLU behind it, as norm_relu goes over them: the map for its
            # statistics, the map again and
            # the result (and what each window kept); backward what was kept, the result and its
            # gradient for the sums, then
            # those and the map again for the gradient by the map, which is written once.
            pools = getattr(model.get_submodule(name.rpartition(".")[0]), "pool", False)
            result = read // 4 if pools else read
            kept = result if pools else 0  # without a pool what was kept is the map itself
            moved = 4 * read + 6 * result + 2 * kept
        counts[name.replace(".bn", ".norm_relu")] = (flops, float(ITEM * moved))

    hooks = [
        m.register_forward_hook(partial(count, n))
        for n, m in model.named_modules()
        if not list(m.children())
    ]
    model(torch.zeros(batch_size, 3, 32, 32, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    return counts


def machine(
    sizes: Sequence[int], copies: Sequence[int], rounds: int
) -> tuple[harness.Samples, float, float]:
    """Samples, and the fastest FLOP/s of a matrix product and bytes/s of a copy, on one thread."""
    contenders: dict[str, Callable[[], float]] = {}
    done: dict[str, float] = {}
    for size in sizes:
        a, b = (torch.randn(size, size).to(DTYPE) for _ in range(2))
        calls = max(1, 1024 // size)
        name = f"product {size}"
        contenders[name] = _timed(partial(torch.mm, a, b, out=torch.empty_like(a)), calls)
        done[name] = 2.0 * size**3 * calls
    for size in copies:
        source = torch.ones(size, dtype=torch.uint8)
        calls = max(1, 2**24 // size)
        name = f"copy {size}"
        contenders[name] = _timed(partial(torch.empty_like(source).copy_, source), calls)
        done[name] = 2.0 * size * calls
    samples = harness.alternate(contenders, rounds)
    rates = {name: done[name] / min(samples[name]) for name in samples}
    products = [rate for name, rate in rates.items() if name.startswith("product")]
    moves = [rate for name, rate in rates.items() if name.startswith("copy")]
    return samples, max(products), max(moves)


def _timed(call: Callable[[], Any], calls: int) -> Callable[[], float]:
    """Seconds of so many calls one after the other."""

    def timed() -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start

    return timed


def least_seconds(
    counts: Mapping[str, tuple[float, float]], flops_per_second: float, bytes_per_second: float
) -> float:
    """Sum over the layers of the slower of computing and moving, which may overlap."""
    return sum(max(f / flops_per_second, b / bytes_per_second) for f, b in counts.values())


def require_limit(measured: float, limit: float) -> None:
    """End the program if a step took less than its limit, which then is none."""
    if measured < limit:
        raise SystemExit(
            f"error: a step took {1e3 * measured:.2f} ms, less than its limit of "
            f"{1e3 * limit:.2f} ms: the machine is faster than what `machine` measured"
        )


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("limit", __doc__, argv)
    torch.set_num_threads(1)
    batch_size = harness.pick(args, tiny=8, quick=128, full=128)
    rounds = harness.pick(args, tiny=2, quick=9, full=31)
    steps = harness.pick(args, tiny=1, quick=10, full=20)
    with torch.device("meta"):
        counts = arithmetic(our_loop.network("founding_student"), batch_size)
    samples, flops_per_second, bytes_per_second = machine(SIZES, COPIES, rounds)
    data = our_loop.training_data(steps * batch_size, args.data)
    epoch = our_loop.our_epochs(our_loop.network("founding_student"), data, batch_size)
    samples |= harness.alternate({"our epoch": epoch}, rounds)
    measured = harness.summarise(samples["our epoch"])["median"] / steps
    limit = least_seconds(counts, flops_per_second, bytes_per_second)
    require_limit(measured, limit)
    return harness.finish(
        args,
        ratios=measured / limit,
        meaning=f"our step over its limit ({our_loop.PRECISION}), lower is better, never below 1",
        samples=samples,
        settings={
            "batch_size": batch_size,
            "steps": steps,
            "flops": sum(f for f, _ in counts.values()),
            "bytes": sum(b for _, b in counts.values()),
            "precision": our_loop.PRECISION,
            "flops_per_second": flops_per_second,
            "bytes_per_second": bytes_per_second,
            "threads": 1,
        },
        columns=["layer", "MFLOP", "MB", "ms"],
        rows=_rows(counts, flops_per_second, bytes_per_second, measured),
    )


def _rows(
    counts: Mapping[str, tuple[float, float]], flops: float, speed: float, measured: float
) -> list[list[str]]:
    rows = [
        [name, f"{f / 1e6:,.0f}", f"{b / 1e6:,.1f}", f"{1e3 * max(f / flops, b / speed):.2f}"]
        for name, (f, b) in counts.items()
        if f or b
    ]
    total_flops, total_bytes = (sum(values) for values in zip(*counts.values(), strict=True))
    limit = least_seconds(counts, flops, speed)
    rows.append(
        ["limit", f"{total_flops / 1e6:,.0f}", f"{total_bytes / 1e6:,.1f}", f"{limit * 1e3:.1f}"]
    )
    rows.append(
        [
            f"computing alone, at {flops / 1e9:,.0f} GFLOP/s",
            "",
            "",
            f"{1e3 * total_flops / flops:.1f}",
        ]
    )
    rows.append(
        [f"moving alone, at {speed / 1e9:,.0f} GB/s", "", "", f"{1e3 * total_bytes / speed:.1f}"]
    )
    rows.append(["our step, measured", "", "", f"{measured * 1e3:.1f}"])
    return rows


if __name__ == "__main__":
    main()
