"""Mean and standard deviation of the images of a split, by which they are normalised."""

import torch
from torch import Tensor

from understudy.data.dataset import Split

_CHUNK = 2**24
"""Bytes of images that are read at a time."""
_LEAST_STD = 1 / 255
"""For a channel that is nearly constant: one step of a byte."""


def measure_channels(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of the [0, 1] images, over all pixels.

    Computed from the exact number of pixels of each value, and rounded to 4 digits, so they do not
    depend on the machine. A split that is larger than memory is read chunk by chunk.

    Args:
        split: uint8 images.

    Returns:
        means in [0, 1] and standard deviations (of the population) of at least 1/255.
    """
    channels = split.image.channels
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    size = max(1, _CHUNK // split.images[0].numel())
    for start in range(0, len(split), size):
        rows = torch.arange(start, min(start + size, len(split)))
        pixels = split.gather(rows).reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += pixels[:, channel].bincount(minlength=256)
    moments = [_moments(row) for row in counts]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def _moments(counts: Tensor) -> tuple[float, float]:
    """Rounded mean and standard deviation of bytes over 255, from how often each value occurs."""
    values = range(256)
    number = int(counts.sum())
    total = sum(value * count for value, count in zip(values, counts.tolist(), strict=True))
    squares = sum(value**2 * count for value, count in zip(values, counts.tolist(), strict=True))
    mean = total / number
    # In whole numbers: the difference of two large squares would lose digits in floating point.
    variance = (number * squares - total**2) / number**2
    return round(mean / 255, 4), round(max(variance**0.5 / 255, _LEAST_STD), 4)
