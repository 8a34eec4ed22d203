"""What a run costs against images, epochs, seeds and teacher size (founding student, one thread),
with fitted slopes.

Images and epochs are of plain training. Seeds share one cache that starts empty, so that only the
first pays for labels.
Teacher size is the time to label 512 images, against the multiply-accumulates of one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness
import our_loop
import torch

from understudy.data.prepare import TrainingData
from understudy.evaluation.latency import count_macs
from understudy.teachers.frozen import FrozenTeacher


def train_for(data: TrainingData, batch_size: int, epochs: int) -> float:
    """Seconds of a plain training from its start to its end."""
    began = time.perf_counter()
    epoch = our_loop.our_epochs(
        our_loop.network("founding_student"), data, batch_size, epochs=epochs
    )
    for _ in range(epochs):
        epoch()
    return time.perf_counter() - began


def distil_seeds(data: TrainingData, batch_size: int, teacher: FrozenTeacher, seeds: int) -> float:
    """Seconds of one distilled epoch for each seed, one after the other, over one cache that starts
    empty."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for seed in range(seeds):
            batches = our_loop.batches_of(data, batch_size)
            cached = our_loop.cached_teacher(teacher, batches, Path(folder), warm=False)
            student = our_loop.network("founding_student", seed)
            our_loop.our_epochs(
                student,
                data,
                batch_size,
                method="kd",
                teacher=cached,
                batches=batches,
                epochs=1,
                seed=seed,
            )()
        return time.perf_counter() - began


def label(data: TrainingData, teacher: FrozenTeacher) -> float:
    """Seconds to label every image under one view, into an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        batches = our_loop.batches_of(data, 128)
        cached = our_loop.cached_teacher(teacher, batches, Path(folder), warm=False)
        began = time.perf_counter()
        cached.prepare(0, batches.policy.epoch(0))
        return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("scaling", __doc__, argv)
    torch.set_num_threads(1)
    rounds = harness.pick(args, tiny=1, quick=3, full=9)
    batch_size = harness.pick(args, tiny=8, quick=128, full=128)
    counts = harness.pick(
        args, tiny=(8, 16), quick=(512, 1024, 2048), full=(1024, 2048, 4096, 8192, 16384)
    )
    repeats = harness.pick(args, tiny=(1, 2), quick=(1, 2, 4), full=(1, 2, 4, 8))
    names = harness.pick(
        args,
        tiny=("founding_student", "resnet8"),
        quick=("founding_student", "fast_teacher", "founding_teacher"),
        full=("founding_student", "resnet20", "founding_teacher", "fast_teacher", "resnet110"),
    )
    data = our_loop.training_data(harness.pick(args, tiny=16, quick=512, full=512), args.data)
    teachers = {name: our_loop.live_teacher(name) for name in names}
    student = partial(our_loop.network, "founding_student")
    mega_macs = {
        name: count_macs(teacher.model, (3, 32, 32)) / 1e6 for name, teacher in teachers.items()
    }
    grid: dict[str, dict[float, Callable[[], float]]] = {
        "images": {
            n: our_loop.our_epochs(student(), our_loop.training_data(n, args.data), batch_size)
            for n in counts
        },
        "epochs": {n: partial(train_for, data, batch_size, n) for n in repeats},
        "seeds": {
            n: partial(distil_seeds, data, batch_size, teachers[names[-1]], n) for n in repeats
        },
        "teacher MMACs": {mega_macs[name]: partial(label, data, teachers[name]) for name in names},
    }
    samples: harness.Samples = {}
    rows, slopes = [], {}
    for axis, points in grid.items():
        found = harness.alternate({f"{axis}={x:g}": call for x, call in points.items()}, rounds)
        medians = [statistics.median(values) for values in found.values()]
        slopes[axis], intercept = statistics.linear_regression(list(points), medians)
        for (name, values), x in zip(found.items(), points, strict=True):
            rows.append(
                [
                    name,
                    *harness.spread(values, 1.0, 3),
                    f"{1e3 * statistics.median(values) / x:.3f}",
                ]
            )
        rows.append(
            [f"{axis}: fit", f"{intercept:.3f} s + {1e3 * slopes[axis]:.3f} ms each", "", ""]
        )
        samples |= found
    per_image = {n: statistics.median(samples[f"images={n:g}"]) / n for n in counts}
    return harness.finish(
        args,
        ratios=per_image[counts[-1]] / per_image[counts[0]],
        meaning=f"cost of an image at {counts[-1]} images over that at {counts[0]}, 1 is linear",
        samples=samples,
        settings={
            "rounds": rounds,
            "batch_size": batch_size,
            "threads": 1,
            "slopes_s": slopes,
            "teacher_mmacs": mega_macs,
        },
        columns=["size", "seconds", "quartiles", "ms each"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
