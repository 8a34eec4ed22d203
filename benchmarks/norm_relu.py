"""Batch norm, max-pool and ReLU as one operation against PyTorch's three, forward and backward,
channels-last, one thread.

The maps of the founding student at batch 128, and a residual sum as in resnet20.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import harness
import torch
from torch import Tensor, nn

from understudy.kernels.allocator import keep_freed_memory
from understudy.kernels.norm_relu import by_pytorch, norm_relu

MAPS = {
    "stage 1, pool": (16, 32, "pool"),
    "stage 2, pool": (32, 16, "pool"),
    "stage 3, pool": (64, 8, "pool"),
    "stage 4": (128, 4, "plain"),
    "resnet20, sum": (16, 32, "add"),
}
"""Name -> (channels, height and width, what follows the norm)."""


def contender(
    function: Callable[..., Tensor], batch_size: int, dtype: torch.dtype, *, calls: int, of: str
) -> Callable[[], float]:
    """A function that returns the mean seconds of a forward and a backward pass."""
    channels, side, mode = MAPS[of]
    torch.manual_seed(0)
    shape = (batch_size, channels, side, side)
    # A map that some layer computed, as in a network: the gradient by it goes on, to nobody here.
    x = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    add = torch.randn_like(x).detach().requires_grad_() if mode == "add" else None
    bn = nn.BatchNorm2d(channels)
    pool = mode == "pool"
    gradient = torch.randn_like(function(bn, x, pool=pool, add=add))
    wanted = [x, bn.weight, bn.bias, *([add] if add is not None else [])]

    def work() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            torch.autograd.grad(function(bn, x, pool=pool, add=add), wanted, gradient)
        return (time.perf_counter() - began) / calls

    return work


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("norm_relu", __doc__, argv)
    torch.set_num_threads(1)
    keep_freed_memory()
    rounds = harness.pick(args, tiny=1, quick=15, full=61)
    calls = harness.pick(args, tiny=1, quick=5, full=10)
    batch_size = harness.pick(args, tiny=2, quick=128, full=128)
    samples: harness.Samples = {}
    ratios, rows = {}, []
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        for name in MAPS:
            contenders = {
                which: contender(function, batch_size, dtype, calls=calls, of=name)
                for which, function in (("pytorch", by_pytorch), ("ours", norm_relu))
            }
            found = harness.alternate(contenders, rounds, warmup=2)
            label = f"{precision} {name}"
            ratios[label] = harness.ratio(found, "pytorch", "ours")
            theirs, own = (harness.spread(found[which], 1e3, 2) for which in ("pytorch", "ours"))
            rows.append([label, *theirs, *own, f"{ratios[label]:.2f}"])
            samples |= {f"{label}, {which}": values for which, values in found.items()}
    return harness.finish(
        args,
        ratios=ratios,
        meaning="times as fast as PyTorch's operations, higher is better",
        samples=samples,
        settings={"rounds": rounds, "calls": calls, "batch_size": batch_size, "threads": 1},
        columns=["map", "PyTorch, ms", "quartiles", "ours, ms", "quartiles", "times as fast"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
