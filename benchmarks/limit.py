"""The arithmetic of the limit: FLOPs and bytes of a training step of the founding student, and the
least time they take here.

Each operation reads its inputs and writes its outputs once (batch norm reads twice: statistics,
then values), in fp32,
and nothing stays in the cache between two operations. Weights and optimizer are left out: 0.4 MB
against hundreds.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import harness
import our_loop
import torch
from torch import Tensor, nn


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
        counts[name.replace(".bn", ".norm_relu")] = (flops, 4.0 * moved)

    hooks = [
        m.register_forward_hook(partial(count, n))
        for n, m in model.named_modules()
        if not list(m.children())
    ]
    model(torch.zeros(batch_size, 3, 32, 32, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    return counts


def machine(size: int, rounds: int) -> tuple[harness.Samples, float, float]:
    """Samples, FLOP/s of a matrix product and bytes/s of a copy, on one thread."""
    a, b, c = (torch.randn(size, size) for _ in range(3))
    source, target = torch.ones(size * 16 * 1024), torch.empty(size * 16 * 1024)
    contenders = {
        "product": _timed(partial(torch.mm, a, b, out=c)),
        "copy": _timed(partial(target.copy_, source)),
    }
    samples = harness.alternate(contenders, rounds)
    return samples, 2 * size**3 / min(samples["product"]), 8 * source.numel() / min(samples["copy"])


def _timed(call: Callable[[], Any]) -> Callable[[], float]:
    def timed() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return timed


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("limit", __doc__, argv)
    torch.set_num_threads(1)
    batch_size = harness.pick(args, tiny=8, quick=128, full=128)
    rounds = harness.pick(args, tiny=2, quick=9, full=31)
    steps = harness.pick(args, tiny=1, quick=10, full=20)
    with torch.device("meta"):
        counts = arithmetic(our_loop.network("founding_student"), batch_size)
    samples, flops_per_second, bytes_per_second = machine(
        harness.pick(args, tiny=16, quick=1024, full=1024), rounds
    )
    data = our_loop.training_data(steps * batch_size, args.data)
    epoch = our_loop.our_epochs(our_loop.network("founding_student"), data, batch_size)
    samples |= harness.alternate({"our epoch": epoch}, rounds)
    measured = harness.summarise(samples["our epoch"])["median"] / steps
    flops, moved = (sum(values) for values in zip(*counts.values(), strict=True))
    computing, moving = flops / flops_per_second, moved / bytes_per_second
    rows = [
        [name, f"{f / 1e6:,.0f}", f"{b / 1e6:,.1f}", ""]
        for name, (f, b) in counts.items()
        if f or b
    ]
    rows.append(["all", f"{flops / 1e6:,.0f}", f"{moved / 1e6:,.1f}", ""])
    rows.append([f"at {flops_per_second / 1e9:,.0f} GFLOP/s", "", "", f"{computing * 1e3:.1f}"])
    rows.append([f"at {bytes_per_second / 1e9:,.1f} GB/s", "", "", f"{moving * 1e3:.1f}"])
    rows.append(["our step, measured", "", "", f"{measured * 1e3:.1f}"])
    return harness.finish(
        args,
        ratios=measured / (computing + moving),
        meaning="our step over computing and moving one after the other at this machine's speeds, "
        "lower is better",
        samples=samples,
        settings={
            "batch_size": batch_size,
            "steps": steps,
            "flops": flops,
            "bytes": moved,
            "precision": our_loop.PRECISION,
            "flops_per_second": flops_per_second,
            "bytes_per_second": bytes_per_second,
            "threads": 1,
        },
        columns=["layer", "MFLOP", "MB", "ms"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
