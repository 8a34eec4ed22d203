"""What our loop costs beyond the mathematics: its step over the step of a bare tuned loop (founding
student, one thread).

The bare loop renders the same views by the same functions, with the same network, memory order,
precision and fused
optimizer, and does nothing else: no totals, no Fabric, no method, no schedule, no progress, no
    validation.

The two take turns every half second or so, within an epoch: what is looked for is a hundredth of a
    step, and a machine's pace
changes by more than that from one epoch to the next. A sample is the sum of an epoch's turns, its
end included.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import harness
import our_loop
import torch
from torch.nn import functional as F

from understudy.data.prepare import TrainingData
from understudy.data.views import Normalise, ViewPolicy, render
from understudy.kernels.optimize import optimize_for_cpu
from understudy.models.base import Classifier


def bare_steps(model: Classifier, data: TrainingData, batch_size: int) -> Iterator[None]:
    """Training by hand, a step at a time."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if our_loop.PRECISION == "fp32":
        optimize_for_cpu(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2, fused=True)
    images, labels, config = data.train.images, data.train.labels, data.config
    policy = ViewPolicy(config.augment, 0, len(labels), data.image)
    normalise = Normalise(config.mean, config.std, data.image_shape[2], our_loop.CPU)
    for epoch in itertools.count():
        views = policy.epoch(epoch)
        for rows in torch.randperm(len(labels)).split(batch_size):
            pixels = render(images, rows, views[rows], policy, normalise)
            with torch.autocast("cpu", torch.bfloat16, enabled=our_loop.PRECISION == "bf16"):
                logits = model(pixels)
            F.cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield


def turns(
    running: Iterator[Any], steps: int, extra: int, steps_in_epoch: int
) -> Callable[[], float]:
    """A function that takes so many steps each time and returns its seconds; at an epoch's end
    ``extra`` more yields."""
    taken = 0

    def turn() -> float:
        nonlocal taken
        began = time.perf_counter()
        taken += steps
        for _ in range(steps + (extra if taken % steps_in_epoch == 0 else 0)):
            next(running)
        return time.perf_counter() - began

    return turn


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("step_overhead", __doc__, argv)
    torch.set_num_threads(1)
    batch_size = harness.pick(args, tiny=8, quick=128, full=128)
    steps = harness.pick(args, tiny=2, quick=20, full=320)  # CIFAR-10 has 352 in an epoch
    rounds = harness.pick(args, tiny=2, quick=9, full=9)
    parts = harness.pick(args, tiny=2, quick=1, full=10)
    data = our_loop.training_data(steps * batch_size, args.data)
    bare = bare_steps(our_loop.network("founding_student"), data, batch_size)
    ours = our_loop.our_steps(our_loop.network("founding_student"), data, batch_size)
    next(ours)  # what comes before the first epoch's first step
    contenders = {
        "bare": turns(bare, steps // parts, 0, steps),
        "ours": turns(ours, steps // parts, 2, steps),
    }
    taken = harness.alternate(contenders, rounds * parts, warmup=parts)
    samples = {
        name: [sum(values[i : i + parts]) for i in range(0, len(values), parts)]
        for name, values in taken.items()
    }
    rows = [[name, *harness.spread(values, 1e3 / steps, 2)] for name, values in samples.items()]
    return harness.finish(
        args,
        ratios=harness.ratio(samples, "ours", "bare"),
        meaning="our step over the bare loop's, lower is better, 1.03 at most",
        samples=samples,
        settings={
            "batch_size": batch_size,
            "steps": steps,
            "rounds": rounds,
            "threads": 1,
            "precision": our_loop.PRECISION,
        },
        columns=["loop", "ms a step", "quartiles"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
