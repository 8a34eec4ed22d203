"""The first pass over a folder of photographs, against torchvision's ImageFolder and DataLoader,
and what comes after it: a second start, and a distilled epoch.

The photographs are 500 pixels at the longer side, cut at random from the sample photographs that
come with scikit-learn and matplotlib, so that their bytes are those of photographs. Both readers
bring them to 96 x 96 (resized, centre cut out) with Pillow, on two cores, from files that the
operating system has in memory; ours writes its cache of decoded images as well. Everything but
torchvision's data loading is what a run does: scan, decode, write, map.
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE, CLASSES = 96, 10
LONGER, SHORTER = 500, 375
BATCH = 64
WORKERS = 2


def photographs() -> list[Image.Image]:
    """The samples, in RGB."""
    import matplotlib
    from sklearn.datasets import load_sample_images

    found = [Image.fromarray(image) for image in load_sample_images().images]
    sample = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    return [*found, Image.open(sample).convert("RGB")]


def write_photos(folder: Path, count: int) -> None:
    """``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``: crops of random place, size and quality."""
    random, samples = np.random.default_rng(0), photographs()
    for number in range(count):
        split = "test" if number % 10 == 0 else "train"
        file = folder / split / f"class-{number // 10 % CLASSES}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        sample = samples[number % len(samples)]
        shape = (LONGER, SHORTER) if number % 4 else (SHORTER, LONGER)
        most = min(own / new for own, new in zip(sample.size, shape, strict=True))
        wide, tall = (int(side * most * random.uniform(0.5, 1)) for side in shape)
        left = int(random.integers(0, sample.width - wide + 1))
        top = int(random.integers(0, sample.height - tall + 1))
        photo = sample.resize(
            shape, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + tall)
        )
        photo.save(file, quality=int(random.integers(75, 96)))
