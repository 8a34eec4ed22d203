"""How many times faster we train than the usual PyTorch loop, both with all cores (founding pair).

The usual loop is one process with its best number of DataLoader workers and threads, tried here
first. Ours is one
pinned process of one thread on each core, throughput summed: that is how a run trains its arms and
    seeds.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness
import usual_loop
from worker_process import ONE_THREAD, Worker

from understudy.cores import available_cores


def build_ours(
    images: int, batch_size: int, path: str | None, folder: str
) -> Callable[[str], float]:
    """``measure(kind) -> seconds`` of one epoch of our loop on this core; ``distilled`` reads a
    warm cache."""
    import our_loop
    import torch

    torch.set_num_threads(1)
    data = our_loop.training_data(images, path)
    batches = our_loop.batches_of(data, batch_size)
    cached = our_loop.cached_teacher(
        our_loop.live_teacher("founding_teacher"), batches, Path(folder), warm=True
    )
    student = partial(our_loop.network, "founding_student")
    contenders = {
        "plain": our_loop.our_epochs(student(), data, batch_size),
        "distilled": our_loop.our_epochs(
            student(), data, batch_size, method="kd", teacher=cached, batches=batches
        ),
    }

    def measure(kind: str) -> float:
        return contenders[kind]()

    return measure


def together(workers: Sequence[Worker], kind: str) -> float:
    """Seconds in which all workers together train as many images as one trains in an epoch."""
    for worker in workers:
        worker.start(kind)
    return 1 / sum(1 / worker.result() for worker in workers)


def alone(worker: Worker, kind: str, workers: int, threads: int, steps: int) -> float:
    """Seconds of so many steps of the usual loop."""
    worker.start(kind, workers, threads, steps)
    return worker.result()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("plain_epoch", __doc__, argv)
    steps = harness.pick(args, tiny=1, quick=8, full=40)
    trial_steps = harness.pick(args, tiny=1, quick=3, full=20)
    rounds = harness.pick(args, tiny=1, quick=3, full=9)
    batch_size = harness.pick(args, tiny=4, quick=128, full=128)
    settings = [(w, t) for w in (0, 1, 2) for t in (1, 2)] if not args.tiny else [(0, 1)]
    sizes = (steps * batch_size, batch_size, args.data)
    cores = available_cores()[: 1 if args.tiny else None]
    usual = Worker(usual_loop.build, *sizes, here=args.tiny)
    folder = tempfile.TemporaryDirectory()
    ours = [
        Worker(
            build_ours,
            *sizes,
            f"{folder.name}/{core}",
            environment=ONE_THREAD,
            core=core,
            here=args.tiny,
        )
        for core in cores
    ]
    samples: harness.Samples = {}
    ratios: dict[str, float] = {}
    rows, best = [], {}
    for kind in ("plain", "distilled"):
        tried = {s: alone(usual, kind, *s, trial_steps) for s in settings}
        best[kind] = min(tried, key=lambda s: tried[s])
        found = harness.alternate(
            {
                "usual": partial(alone, usual, kind, *best[kind], steps),
                "ours": partial(together, ours, kind),
            },
            rounds,
        )
        ratios[kind] = harness.ratio(found, "usual", "ours")
        workers, threads = best[kind]
        names = {
            "usual": f"usual ({workers} workers, {threads} threads)",
            "ours": f"ours ({len(cores)} processes)",
        }
        for name, values in found.items():
            images = sizes[0] / harness.summarise(values)["median"]
            rows.append(
                [
                    f"{kind}, {names[name]}",
                    *harness.spread(values, 1e6 / sizes[0], 0),
                    f"{images:,.0f}",
                ]
            )
        samples |= {f"{kind}_{name}": values for name, values in found.items()}
    for worker in (usual, *ours):
        worker.close()
    folder.cleanup()
    return harness.finish(
        args,
        ratios=ratios,
        meaning="images a second, ours over the usual loop's, higher is better",
        samples=samples,
        settings={
            "batch_size": batch_size,
            "steps": steps,
            "rounds": rounds,
            "samples_are": f"seconds per {sizes[0]} images, all workers together",
            "usual_tried": [f"{w} workers, {t} threads" for w, t in settings],
            "usual_best": {kind: f"{w} workers, {t} threads" for kind, (w, t) in best.items()},
            "our_processes": len(cores),
        },
        columns=["loop", "ms for 1,000 images", "quartiles", "images/s"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
