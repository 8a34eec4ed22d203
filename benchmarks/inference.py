"""Ways to run the founding pair: NCHW, channels-last, bf16 autocast, compiled; batches of 1 and
128, one thread.

Forward pass only, in eval mode, the input in memory. ``torch.compile`` needs a C++ compiler;
without one its rows say so.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import harness
import our_loop
import torch

NETWORKS = {"student": "founding_student", "teacher": "founding_teacher"}


def contender(name: str, batch_size: int, calls: int, *, way: str) -> Callable[[], float]:
    """A function that returns the mean seconds of a forward pass."""
    model: Any = our_loop.network(NETWORKS[name]).eval()
    images = torch.randn(batch_size, 3, 32, 32)
    if way != "eager":
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if way == "compiled":
        model = torch.compile(model, dynamic=False)

    @torch.inference_mode()
    def forward() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "bf16"):
            began = time.perf_counter()
            for _ in range(calls):
                model(images)
            return (time.perf_counter() - began) / calls

    return forward


def compiled(name: str, batch_size: int, calls: int) -> tuple[Callable[[], float] | None, str]:
    """The compiled contender after its first call, or nothing; and the seconds that took, or the
    reason."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return None, f"skipped: no C++ compiler ({compiler})"
    forward = contender(name, batch_size, calls, way="compiled")
    began = time.perf_counter()
    try:
        forward()
    except Exception as error:  # whatever a compiler may fail with: the reason stands in the table
        return None, f"skipped: {type(error).__name__}: {str(error).strip().splitlines()[0][:60]}"
    return forward, f"compiled in {time.perf_counter() - began:.1f} s"


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("inference", __doc__, argv)
    torch.set_num_threads(1)
    rounds = harness.pick(args, tiny=1, quick=11, full=41)
    sizes = harness.pick(args, tiny=(1, 2), quick=(1, 128), full=(1, 128))
    # Compiling takes many seconds for each network and batch size: --quick does it once.
    compile_for = harness.pick(
        args,
        tiny=set(),
        quick={("student", 128)},
        full={(n, s) for n in NETWORKS for s in (1, 128)},
    )
    samples: harness.Samples = {}
    ratios, rows, notes = {}, [], {}
    for network in NETWORKS:
        for size in sizes:
            calls = 10 if size == 1 and not args.tiny else 1
            contenders = {
                way: contender(network, size, calls, way=way)
                for way in ("eager", "channels_last", "bf16")
            }
            note = "not in --quick"
            if (network, size) in compile_for:
                forward, note = compiled(network, size, calls)
                if forward is not None:
                    contenders["compiled"] = forward
            notes[f"{network}_{size}"] = note
            found = harness.alternate(contenders, rounds, warmup=2)
            for way, values in found.items():
                faster = harness.ratio(found, "eager", way)
                ratios[f"{network}_{size}_{way}"] = faster
                label = f"{network}, batch {size}, {way}" + (
                    f" ({note})" if way == "compiled" else ""
                )
                rows.append([label, *harness.spread(values, 1e3, 2), f"{faster:.2f}"])
                samples[f"{network}_{size}_{way}"] = values
            if "compiled" not in found:
                rows.append([f"{network}, batch {size}, compiled ({note})", "–", "–", "–"])
    ratios = {name: value for name, value in ratios.items() if not name.endswith("_eager")}
    return harness.finish(
        args,
        ratios=ratios,
        meaning="times as fast as eager NCHW fp32, higher is better",
        samples=samples,
        settings={"rounds": rounds, "threads": 1, "compile": notes},
        columns=["network", "ms a batch", "quartiles", "times as fast"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
