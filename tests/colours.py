"""A data set small enough to train on in a test, and not too easy: three classes that differ by colour."""

from pathlib import Path

import numpy as np


def write_colours(path: Path, contrast: int = 80) -> Path:
    """Sixty training and thirty test images, 16 x 16, as an npz file; ``contrast`` is what sets a class's colour apart."""
    rng = np.random.default_rng(0)

    def part(num: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(num) % 3
        pixels = rng.integers(0, 120, (num, 16, 16, 3), dtype=np.uint8)
        pixels[np.arange(num), :, :, labels] += contrast
        return pixels, labels

    (x_train, y_train), (x_test, y_test) = part(60), part(30)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path
