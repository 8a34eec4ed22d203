"""What a training step costs under each method, over a plain step (founding student, teacher of 2.5
MB, one thread).

A step is the loop's: teacher, student, losses, backward, optimizer, on one ready batch. Methods
that read logits find them kept, as they do in a run from its second use on; for those that read
features the teacher runs in every step. ``--package`` writes the ratios, with the hardware, to
where ``understudy methods`` reads them: ``src/understudy/methods/costs.json``.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import our_loop
import torch

from understudy.config.schema import TrainConfig
from understudy.data.loader import Batch
from understudy.files import write_bytes
from understudy.kernels.optimize import optimize_for_cpu
from understudy.methods import METHODS
from understudy.methods.costs import NUM_IMAGES, STUDENT, TEACHER, example_of
from understudy.models.base import Outputs
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.optim import make_optimizer

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "understudy" / "methods" / "costs.json"


def steps_of(name: str, batch: Batch, steps: int) -> Callable[[], float]:
    """A function that takes so many steps of a method and returns their wall seconds."""
    method, context = example_of(METHODS[name], name)
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if our_loop.PRECISION == "fp32":
        optimize_for_cpu(method)
    method.train()
    assert context.teacher is not None
    context.teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = FrozenTeacher(context.teacher, precision=our_loop.PRECISION)
    needs = method.needs_with(method.config)
    answer = _kept(teacher.outputs(batch), needs)
    optimizer = make_optimizer(method, TrainConfig())
    method.epoch = method.epochs - 1  # after every warm-up and first stage

    def some_steps() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            said = teacher.outputs(batch) if needs == "features" else answer
            with torch.autocast("cpu", torch.bfloat16, enabled=our_loop.PRECISION == "bf16"):
                losses, _ = method(batch, said)
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - began

    return some_steps


def _kept(said: Outputs, needs: str) -> Outputs | None:
    """What a cache would hand back."""
    if needs == "embedding":
        assert said.embedding is not None
        return Outputs(said.logits, embedding=said.embedding.float())
    return Outputs(said.logits) if needs == "logits" else None


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = harness.arguments(
        "method_costs", __doc__, [word for word in words if word != "--package"]
    )
    torch.set_num_threads(1)
    batch_size = harness.pick(args, tiny=4, quick=64, full=128)
    steps = harness.pick(args, tiny=1, quick=1, full=3)
    rounds = harness.pick(args, tiny=1, quick=5, full=9)
    generator = torch.Generator().manual_seed(0)
    index = torch.randperm(NUM_IMAGES, generator=generator)[:batch_size]
    images = torch.randn(batch_size, 3, 32, 32, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    batch = Batch(images, index % our_loop.NUM_CLASSES, index)
    samples = harness.alternate({name: steps_of(name, batch, steps) for name in METHODS}, rounds)
    ratios = {name: harness.ratio(samples, name, "ce") for name in METHODS if name != "ce"}
    result = harness.finish(
        args,
        ratios=ratios,
        meaning="a step over a plain step, lower is better",
        samples=samples,
        settings={
            "batch_size": batch_size,
            "steps": steps,
            "rounds": rounds,
            "threads": 1,
            "precision": our_loop.PRECISION,
            "student": STUDENT,
            "teacher": TEACHER,
        },
        columns=["method", "ms a step", "quartiles", "over plain"],
        rows=[
            [name, *harness.spread(values, 1e3 / steps), f"{ratios.get(name, 1.0):.2f}"]
            for name, values in samples.items()
        ],
    )
    if "--package" in words:
        kept = {key: result[key] for key in ("settings", "hardware", "versions")}
        kept["command"] = result["command"] + " --package"
        kept["cost_per_step"] = {"ce": 1.0} | {
            name: round(value, 3) for name, value in ratios.items()
        }
        write_bytes(PACKAGE, (json.dumps(kept, indent=1) + "\n").encode())
    return result


if __name__ == "__main__":
    main()
