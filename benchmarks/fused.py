"""K students trained together against one after the other: in turns, stacked, or by torch.func.vmap
(founding student).

All listen to a kept teacher (``kd``) and are shown the same views; ``live`` contenders run the
founding teacher in every step, as
methods that read feature maps must. On CUDA where there is one, else one CPU thread. An epoch is
all that a backend does,
validation (on two images) included, but no checkpoint. On CUDA epochs are longer, as launching is
what is measured there, and
there are further contenders: fp32 one after the other, and the stack with whatever kernels are
    fastest, whose sums may be added
in any order (a run keeps to those that give the same bits again).
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import our_loop
import torch
from torch.nn import functional as F

from understudy.config.schema import TrainConfig
from understudy.data.prepare import TrainingData
from understudy.execution.fused.interleaved import (
    SharedBatches,
    SharedTeacher,
    StepwiseRun,
    round_robin_epoch,
)
from understudy.execution.fused.stack import epoch_stacked
from understudy.execution.fused.student import StackedStudent
from understudy.methods import build_method, method_config
from understudy.methods.base import Method, MethodContext
from understudy.teachers.base import Teacher
from understudy.training.device import make_fabric
from understudy.training.loop import train_epochs, train_steps

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = our_loop.PRECISION == "bf16" or DEVICE.type == "cuda"
"""Whether the machine multiplies bf16 at speed: the others then train in bf16, as a run would."""
STUDENT = "founding_student"


def settings(batch_size: int, precision: str) -> TrainConfig:
    """Constant rate and no end, so that an epoch is like any other."""
    return TrainConfig(
        epochs=100_000, batch_size=batch_size, schedule="constant", lr=1e-3, precision=precision
    )  # type: ignore[arg-type]


def methods(count: int, data: TrainingData) -> list[Method]:
    """Students of different weights, each in a soft-label loss of its own temperature and alpha."""
    built = []
    for number in range(count):
        options = {
            "name": "kd",
            "temperature": 1.0 + number % 5,
            "alpha": 0.1 + 0.2 * (number // 5 % 5),
        }
        student = our_loop.network(STUDENT, number).to(DEVICE)
        context = MethodContext(
            our_loop.NUM_CLASSES, data.train.labels, 1, 0.0, our_loop.EXAMPLE, our_loop.EXAMPLE
        )
        built.append(build_method(method_config(options), student, context).to(DEVICE))
    return built


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Wall seconds of one call."""

    def measured() -> float:
        began = time.perf_counter()
        work()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return measured


def sequential(
    count: int, data: TrainingData, teacher: Teacher, batch_size: int, precision: str
) -> Callable[[], float]:
    """An epoch of each, one after the other; batches are rendered for each and a live teacher is
    asked by each."""
    fabric, config = make_fabric(DEVICE.type, precision), settings(batch_size, precision)
    running = [
        train_epochs(
            method, data, config, fabric, teacher=teacher, batches=batches_of(data, batch_size)
        )
        for method in methods(count, data)
    ]
    return timed(lambda: [next(epochs) for epochs in running])


def interleaved(
    count: int, data: TrainingData, teacher: Teacher, batch_size: int, precision: str
) -> Callable[[], float]:
    """An epoch of all in turns."""
    fabric, config, batches = (
        make_fabric(DEVICE.type, precision),
        settings(batch_size, precision),
        batches_of(data, batch_size),
    )
    shared = SharedTeacher(teacher)
    runs = {
        str(number): StepwiseRun(
            train_steps(method, data, config, fabric, teacher=shared, batches=batches), DEVICE
        )
        for number, method in enumerate(methods(count, data))
    }
    for run in runs.values():
        run.start()
    return timed(lambda: _done(round_robin_epoch(runs)))


def stacked(
    count: int, data: TrainingData, teacher: Teacher, batch_size: int, precision: str
) -> Callable[[], float]:
    """An epoch of all as one network."""
    fabric, config, batches = (
        make_fabric(DEVICE.type, precision),
        settings(batch_size, precision),
        batches_of(data, batch_size),
    )
    shared = SharedTeacher(teacher)
    students = {
        str(number): StackedStudent(method, data, config, fabric, shared, batches)
        for number, method in enumerate(methods(count, data))
    }
    return timed(lambda: _done(epoch_stacked(students)))


def with_any_kernel(work: Callable[[], float]) -> Callable[[], float]:
    """The same with cuDNN's fastest convolutions, found by trying them, in the first round; their
    bits differ from run to run."""

    def measured() -> float:
        backend = torch.backends.cudnn
        backend.benchmark, backend.deterministic = True, False
        try:
            return work()
        finally:
            backend.benchmark, backend.deterministic = False, True

    return measured


def vmapped(
    count: int, data: TrainingData, teacher: Teacher, batch_size: int
) -> Callable[[], float]:
    """An epoch of all as one network by torch.func.vmap: fp32, since it fails under autocast; one
    learning rate for all."""
    students = [method.student.train() for method in methods(count, data)]
    skeleton = students[0]
    parameters, buffers = torch.func.stack_module_state(students)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(parameters.values(), 1e-3, fused=True)
    batches, epoch = batches_of(data, batch_size), 0

    def loss(
        own: dict[str, torch.Tensor],
        stats: dict[str, torch.Tensor],
        images: Any,
        labels: Any,
        target: Any,
    ) -> torch.Tensor:
        logits = torch.func.functional_call(skeleton, (own, stats), (images,))
        ours, theirs = (
            (logits / 4).log_softmax(1),
            (target / 4).log_softmax(1),
        )  # kl_div has no rule under vmap
        return (
            0.3 * F.cross_entropy(logits, labels)
            + 0.7 * 16 * (theirs.exp() * (theirs - ours)).sum(1).mean()
        )

    together = torch.vmap(loss, in_dims=(0, 0, None, None, None), randomness="different")

    def work() -> None:
        nonlocal epoch
        views = batches.policy.epoch(epoch)
        teacher.prepare(epoch, views)
        for batch in batches.epoch(epoch, views):
            target = teacher.outputs(batch).logits
            together(parameters, buffers, batch.images, batch.labels, target).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        epoch += 1

    return timed(work)


def batches_of(data: TrainingData, batch_size: int) -> SharedBatches:
    """Batches that students may share."""
    return SharedBatches(data.train, data.config, batch_size, 0, DEVICE)


def _done(epoch: Any) -> None:
    for _, result in epoch:
        if isinstance(result, Exception):
            raise result


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("fused", __doc__, argv)
    torch.set_num_threads(1)
    batch_size = harness.pick(args, tiny=4, quick=128, full=128)
    if (
        DEVICE.type == "cuda"
    ):  # what matters most comes first: the results so far are written after each count
        counts = harness.pick(args, tiny=(2,), quick=(25,), full=(25, 8, 1))
        steps = harness.pick(args, tiny=2, quick=50, full=100)
        rounds = harness.pick(args, tiny=1, quick=2, full=2)
    else:
        counts = harness.pick(args, tiny=(2,), quick=(1, 4), full=(1, 4, 8, 25))
        steps = harness.pick(args, tiny=2, quick=2, full=4)
        rounds = harness.pick(args, tiny=1, quick=3, full=5)
    data = our_loop.training_data(steps * batch_size, args.data)
    precision = "bf16" if BF16 else "fp32"
    live = our_loop.live_teacher("founding_teacher" if not args.tiny else "resnet8")
    live.model.to(DEVICE)
    live.precision = precision
    samples: harness.Samples = {}
    result: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    ratios: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kept = our_loop.cached_teacher(live, batches_of(data, batch_size), Path(folder), warm=True)
        for count in counts:
            size = (count, data, kept, batch_size)
            contenders = {
                "sequential": sequential(*size, precision),
                "interleaved": interleaved(*size, precision),
                "stacked fp32": stacked(*size, "fp32"),
                "stacked bf16": stacked(*size, "bf16"),
                "vmap fp32": vmapped(*size),
                "sequential, live": sequential(count, data, live, batch_size, precision),
                "interleaved, live": interleaved(count, data, live, batch_size, precision),
            }
            if DEVICE.type == "cuda":
                contenders |= {
                    "sequential fp32": sequential(*size, "fp32"),
                    "stacked fp32, any kernel": with_any_kernel(stacked(*size, "fp32")),
                    "stacked bf16, any kernel": with_any_kernel(stacked(*size, "bf16")),
                }
                for name in list(
                    contenders
                ):  # to warm up; one that cannot run shall not take the others' figures along
                    try:
                        contenders[name]()
                    except Exception as error:
                        left_out[f"{name} {count}"] = " ".join(
                            f"{type(error).__name__}: {error}".split()
                        )[:300]
                        print(f"{name} {count} is left out: {left_out[f'{name} {count}']}")
                        del contenders[name]
            found = harness.alternate(contenders, rounds, warmup=0 if DEVICE.type == "cuda" else 1)
            for name, values in found.items():
                against = "sequential, live" if name.endswith("live") else "sequential"
                faster = harness.ratio(found, against, name)
                rate = count * len(data.train) / harness.summarise(values)["median"]
                milliseconds = harness.spread(
                    values, 1e3 / (steps * count), 3 if DEVICE.type == "cuda" else 1
                )
                rows.append([f"{count}, {name}", f"{rate:,.0f}", *milliseconds, f"{faster:.3f}"])
                samples[f"{name} {count}"] = values
                if name != against:
                    ratios[f"{name} {count}"] = faster
            if DEVICE.type == "cpu" and count != counts[-1]:
                continue
            result = harness.finish(
                args,
                ratios=ratios,
                meaning="times as fast as one after the other, higher is better",
                samples=samples,
                settings={
                    "student": STUDENT,
                    "counts": counts,
                    "batch_size": batch_size,
                    "steps": steps,
                    "rounds": rounds,
                    "device": DEVICE.type,
                    "threads": 1,
                    "precision": precision,
                    "left_out": left_out,
                },
                columns=[
                    "students",
                    "student-images/s",
                    "ms a step of one",
                    "quartiles",
                    "over sequential",
                ],
                rows=rows,
            )
    return result


if __name__ == "__main__":
    main()
