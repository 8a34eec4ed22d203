"""Which of several students is fast enough on a runtime: ``python -m
understudy.export.timed_students``.

A job comes in as a file of JSON and its result leaves as one, since runtimes print what they like.
"""

import statistics
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from understudy.data.dataset import Split
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.evaluation.stopwatch import Job, Timed
from understudy.export.contenders import contenders_of
from understudy.export.deployable import Deployable, Examples
from understudy.export.job_file import carry_out
from understudy.models.normalisation import Normalisation
from understudy.models.registry import build_model

_WARMUP = 3
"""Untimed calls before the timed ones."""
_ROUNDS = (7, 51)
"""Timed calls, at least and at most."""
_SECONDS = 0.25
"""After which no more than the fewest calls are made."""
_NEAR = 1.5
"""A network of so many times the multiply-accumulates of the largest that was fast enough may be
fast enough as well: time does not grow strictly with them."""
_CALIBRATION_IMAGES = 64
"""Of noise, for int8 files: speed does not depend on them."""


def first_within(
    macs: Sequence[int], limit: float, time_of: Callable[[int], float]
) -> tuple[int | None, dict[int, float]]:
    """The first of several networks that is fast enough.

    The smallest is measured first; then the size at which networks become too slow is searched, as
    if time were proportional to size, and only networks below it, or not far above, are measured in
    order.

    Args:
        macs: of each network, in the order in which they are preferred.
        limit: milliseconds.
        time_of: measures the network at a position.

    Returns:
        Its position, ``None`` if the smallest is too slow; and all times that were measured.
    """
    times: dict[int, float] = {}

    def fits(number: int) -> bool:
        if number not in times:
            times[number] = time_of(number)
        return times[number] <= limit

    by_size = sorted(range(len(macs)), key=lambda number: macs[number])
    if not fits(by_size[0]):
        return None, times
    sizes = [macs[number] for number in by_size]
    fast, slow = 0, len(by_size)
    while slow - fast > 1:
        largest = sizes[fast] * limit / times[by_size[fast]]
        guess = min(max(bisect_right(sizes, largest) - 1, fast + 1), slow - 1)
        fast, slow = (guess, slow) if fits(by_size[guess]) else (fast, guess)
    near = _NEAR * macs[by_size[fast]]
    chosen = next(number for number in range(len(macs)) if macs[number] <= near and fits(number))
    return chosen, times


def timed(job: Job) -> Timed:
    """Write the networks for the runtime, with random weights, and time single images."""
    import torch

    torch.set_num_threads(1)
    (contender,), _ = contenders_of(job.runtime)
    image = ImageSpec.of(job.image)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *image.shape), np.uint8)

    with tempfile.TemporaryDirectory(prefix="understudy-timed-") as folder:

        def time_of(number: int) -> float:
            path = Path(folder, str(number), contender.format.file)
            path.parent.mkdir()
            model = job.models[number]
            network = build_model(model.name, job.num_classes, image, options=model.options)
            deployable = Deployable(
                network=network.eval(),
                classes=tuple(map(str, range(job.num_classes))),
                preprocessing=Preprocessing(image=image),
                normalisation=Normalisation((0.5,) * image.channels, (0.25,) * image.channels),
            )
            contender.write(deployable, path, _noise(image, job.num_classes))
            runtime = contender.format.load_runtime().open_file(path, 1)
            return _median(runtime, pixels)

        chosen, times = first_within(job.macs, job.limit, time_of)
    return Timed(chosen=chosen, milliseconds={str(key): value for key, value in times.items()})


def _median(runtime: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> float:
    """Milliseconds of a call."""
    for _ in range(_WARMUP):
        runtime(pixels)
    fewest, most = _ROUNDS
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < most:
        called = time.perf_counter()
        runtime(pixels)
        found.append(1e3 * (time.perf_counter() - called))
        if len(found) >= fewest and time.perf_counter() - began > _SECONDS:
            break
    return statistics.median(found)


def _noise(image: ImageSpec, num_classes: int) -> Examples:
    shape = (_CALIBRATION_IMAGES, image.height, image.width, image.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    split = Split.from_arrays(pixels, np.arange(len(pixels)) % num_classes)
    return Examples(train=split, val=split)


def main(job_file: str, result_file: str) -> int:
    """Measure what a file describes."""
    return carry_out(Job, timed, job_file, result_file)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
