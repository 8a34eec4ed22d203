"""A first pass over a folder of photographs: torchvision's DataLoader against our decoding.

After it come our second start, and a distilled epoch with cached outputs against a plain one.
Photographs have 500 pixels at the longer side (a third each 4:3, 3:4 and square) and are cut at
random from those that come with scikit-learn and matplotlib, so that their bytes are those of
photographs. Both readers give images of 96 x 96, resized by Pillow with the centre cut out, on two
cores, from files that the operating system has in memory. torchvision's has Resize, CenterCrop and
ToTensor and makes batches of 64 in two processes; ours writes the cache that every epoch maps.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
from PIL import Image

SIDE, CLASSES, BATCH, WORKERS = 96, 10, 64, 2
SHAPES = ((500, 375), (375, 500), (500, 500))


def samples() -> list[Image.Image]:
    """The photographs that the others are cut from."""
    import matplotlib
    from sklearn.datasets import load_sample_images

    found = [Image.fromarray(image) for image in load_sample_images().images]
    portrait = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    return [*found, Image.open(portrait).convert("RGB")]


def write_photos(folder: Path, count: int) -> None:
    """``train/CLASS/*.jpg`` and, of every tenth, ``test/CLASS/*.jpg``."""
    random, originals = np.random.default_rng(0), samples()
    for number in range(count):
        place = folder / ("test" if number // CLASSES % 10 == 0 else "train")
        file = place / f"class {number % CLASSES}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        original = originals[int(random.integers(len(originals)))]
        shape = SHAPES[int(random.integers(len(SHAPES)))]
        most = min(own / new for own, new in zip(original.size, shape, strict=True))
        wide, tall = (int(side * most * random.uniform(0.6, 1)) for side in shape)
        left = int(random.integers(original.width - wide + 1))
        top = int(random.integers(original.height - tall + 1))
        box = (left, top, left + wide, top + tall)
        photo = original.resize(shape, Image.Resampling.BICUBIC, box)
        photo.save(file, quality=int(random.integers(75, 96)))


def torchvision_pass(folder: Path) -> Callable[[], float]:
    """A function that decodes all photographs once and returns its seconds."""
    import_torchvision()
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    steps = Compose([Resize(SIDE), CenterCrop(SIDE), ToTensor()])

    def first_pass() -> float:
        began = time.perf_counter()
        images = ConcatDataset([ImageFolder(folder / split, steps) for split in ("train", "test")])
        seen = sum(len(labels) for _, labels in DataLoader(images, BATCH, num_workers=WORKERS))
        assert seen == len(images)
        return time.perf_counter() - began

    return first_pass


def import_torchvision() -> None:
    """Where its extension does not load (it is for the torch of another accelerator), torchvision
    is short of two operators to be imported. No reader of images calls them."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)


_libraries: list[Any] = []
"""torch forgets the operators when their Library is collected."""


def our_pass(folder: Path, cache: Path, *, is_first: bool) -> Callable[[], float]:
    """A function that opens the data set, without decoded images or with them."""
    from understudy.data import load_dataset

    def start() -> float:
        if is_first:
            shutil.rmtree(cache, ignore_errors=True)
        began = time.perf_counter()
        load_dataset("imagefolder", folder, image_size=SIDE, cache_dir=cache)
        return time.perf_counter() - began

    return start


def epochs(folder: Path, cache: Path, steps: int, rounds: int) -> harness.Samples:
    """Seconds of so many steps on the photographs, plain and with a teacher whose outputs are
    cached."""
    import our_loop
    import torch

    from understudy.config.schema import AugmentConfig, DataConfig
    from understudy.data import load_dataset
    from understudy.data.prepare import TrainingData

    dataset = load_dataset("imagefolder", folder, image_size=SIDE, cache_dir=cache)
    order, used = torch.arange(len(dataset.train)), steps * BATCH
    rows, rest = order[:used], order[used:]
    train, val = dataset.train.take(rows), dataset.train.take(rest[:2])
    config = DataConfig(augment=AugmentConfig(view_seed=0))
    data = TrainingData(
        "photos", train, val, rows, dataset.class_names, config, dataset.fingerprint
    )
    batches = our_loop.batches_of(data, BATCH)
    teacher = our_loop.cached_teacher(
        our_loop.live_teacher("resnet20"), batches, cache / "outputs", warm=True
    )
    return harness.alternate(
        {
            "plain epoch": our_loop.our_epochs(our_loop.network("resnet8"), data, BATCH),
            "distilled epoch": our_loop.our_epochs(
                our_loop.network("resnet8"),
                data,
                BATCH,
                method="kd",
                teacher=teacher,
                batches=batches,
            ),
        },
        rounds,
    )


def peak_memory() -> float:
    """Of this process so far in GB, with torch and the pages of mapped files in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) * 1024 / 1e9


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("photos", __doc__, argv, images="number of photographs")
    count = int(args.images or harness.pick(args, tiny=100, quick=1000, full=10_000))
    rounds = harness.pick(args, tiny=1, quick=3, full=5)
    steps = harness.pick(args, tiny=1, quick=4, full=20)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name, "photos"), Path(name, "cache")
        write_photos(folder, count)
        found = harness.alternate(
            {
                "torchvision, first pass": torchvision_pass(folder),
                "ours, first pass": our_pass(folder, cache, is_first=True),
                "ours, second start": our_pass(folder, cache, is_first=False),
            },
            rounds,
        )
        memory = {"decoding": peak_memory()}
        found |= epochs(folder, cache, steps, rounds)
        memory["training"] = peak_memory()
    return harness.finish(
        args,
        ratios={
            "first pass": harness.ratio(found, "torchvision, first pass", "ours, first pass"),
            "distilled epoch": harness.ratio(found, "distilled epoch", "plain epoch"),
        },
        meaning="torchvision's first pass over ours, higher is better; a distilled epoch over a "
        "plain one, lower is better",
        samples=found,
        settings={
            "images": count,
            "steps_of_an_epoch": steps,
            "batch_size": BATCH,
            "workers_of_torchvision": WORKERS,
            "peak_memory_gb": memory,
        },
        columns=["", "seconds", "quartiles"],
        rows=[
            *([name, *harness.spread(values, 1, 2)] for name, values in found.items()),
            *([f"peak memory, {stage}, GB", f"{peak:.2f}", ""] for stage, peak in memory.items()),
        ],
    )


if __name__ == "__main__":
    main()
