"""Small folders of pictures, and the listing of a folder without the sources that read one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.data.listing import SPLIT_NAMES, Listing, PassedOver, Sample, SplitName


def picture(seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    """A smooth picture of (width, height), RGB; each seed another one."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def write_pictures(root: Path, counts: dict[str, int]) -> None:
    """PNG files ``<folder>/<number>.png``, all of them different."""
    seed = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(seed).save(root / folder / f"{number}.png")
            seed += 1


def listing_of_folder(
    root: Path, *, has_own_test: bool = True, passed_over: tuple[PassedOver, ...] = ()
) -> Listing:
    """``train|val|test/<class>/<file>``."""
    classes = tuple(sorted({path.name for path in root.glob("*/*")}))
    samples = [
        Sample(path.relative_to(root).as_posix(), classes.index(path.parts[-2]), split)
        for split in SPLIT_NAMES
        for path in sorted(root.glob(f"{split}/*/*"))
    ]
    return listing_of_files(root, samples, classes, has_own_test, passed_over)


def listing_of_files(
    root: Path,
    samples: Sequence[Sample],
    classes: tuple[str, ...],
    has_own_test: bool = True,
    passed_over: tuple[PassedOver, ...] = (),
) -> Listing:
    """A listing of these files in ``root``."""

    def encoded(rows: Sequence[int]) -> Iterable[tuple[str, Path]]:
        for row in rows:
            yield samples[row].name, root / samples[row].name

    return Listing("mine", classes, tuple(samples), encoded, has_own_test, passed_over)


def samples_named(names: Iterable[str], split: SplitName = "train") -> list[Sample]:
    """Samples of ``<class>/<file>``, the classes in alphabetical order."""
    held = list(names)
    classes = sorted({name.split("/")[0] for name in held})
    return [Sample(name, classes.index(name.split("/")[0]), split) for name in held]
