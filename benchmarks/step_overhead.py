"""What our loop costs beyond the mathematics: its step over the step of a bare tuned loop (founding student, one thread).

The bare loop renders the same views by the same functions, with the same network, memory order, precision and fused
optimizer, and does nothing else: no totals, no Fabric, no method, no schedule, no progress, no validation.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import harness
import our_loop
import torch
from torch.nn import functional as F

from understudy.conv import use_small_map_gradients
from understudy.data.training import TrainingData
from understudy.data.views import Normalise, ViewPolicy, render
from understudy.models.base import Classifier


def bare_epochs(model: Classifier, data: TrainingData, batch_size: int) -> Callable[[], float]:
    """A function that trains for one more epoch each time, by hand, and returns its wall seconds."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if our_loop.PRECISION == "fp32":
        use_small_map_gradients(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2, fused=True)
    images, labels, config = data.train.images, data.train.labels, data.config
    policy = ViewPolicy(config.augment, 0, len(labels), data.image_shape)
    normalise = Normalise(config.mean, config.std, data.image_shape[2], our_loop.CPU)
    epoch = 0

    def one_epoch() -> float:
        nonlocal epoch
        began = time.perf_counter()
        views = policy.epoch(epoch)
        for rows in torch.randperm(len(labels)).split(batch_size):
            pixels = render(images, rows, views[rows], policy, normalise)
            with torch.autocast("cpu", torch.bfloat16, enabled=our_loop.PRECISION == "bf16"):
                logits = model(pixels)
            F.cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        epoch += 1
        return time.perf_counter() - began

    return one_epoch


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("step_overhead", __doc__, argv)
    torch.set_num_threads(1)
    batch_size = harness.pick(args, tiny=8, quick=128, full=128)
    steps = harness.pick(args, tiny=2, quick=20, full=320)  # CIFAR-10 has 352 in an epoch
    rounds = harness.pick(args, tiny=2, quick=9, full=7)
    data = our_loop.training_data(steps * batch_size, args.data)
    contenders = {
        "bare": bare_epochs(our_loop.network("founding_student"), data, batch_size),
        "ours": our_loop.our_epochs(our_loop.network("founding_student"), data, batch_size),
    }
    samples = harness.alternate(contenders, rounds)
    rows = [[name, *harness.spread(values, 1e3 / steps, 2)] for name, values in samples.items()]
    return harness.finish(
        args,
        ratios=harness.ratio(samples, "ours", "bare"),
        meaning="our step over the bare loop's, lower is better, 1.03 at most",
        samples=samples,
        settings={"batch_size": batch_size, "steps": steps, "rounds": rounds, "threads": 1, "precision": our_loop.PRECISION},
        columns=["loop", "ms a step", "quartiles"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
