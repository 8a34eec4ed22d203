"""Random parameters of views, drawn for all images of an epoch at once from one generator."""

import math

import numpy as np
import torch
from torch import Tensor

from understudy.data.spec import ImageSpec

ATTEMPTS = 10
"""Rectangles drawn for each image, of which the first that fits is taken, as in torchvision."""
CROP_RATIO = (3 / 4, 4 / 3)
"""Proportions (width / height) of resized crops."""
ERASED_AREA = (0.02, 0.33)
"""Share of the image's area that random erasing takes."""
ERASED_RATIO = (0.3, 3.3)
"""Proportions (height / width) of erased rectangles."""


def uniform(
    shape: tuple[int, ...], between: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """float64 of this shape, uniform between two numbers."""
    low, high = between
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def crop_boxes(
    count: int, image: ImageSpec, area: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Rectangles of resized crops (Szegedy 2015), as torchvision's ``RandomResizedCrop`` draws.

    Area uniform, proportions log-uniform, position uniform. If not one of ten fits into the image,
    the largest rectangle of permitted proportions in its centre.

    Args:
        count: N.
        image: of this shape.
        area: smallest and largest share of the image's area.
        generator: on the CPU.

    Returns:
        int64 ``[N, 4]``, top, left, bottom, right.
    """
    height, width = image.height, image.width
    size = height * width * uniform((count, ATTEMPTS), area, generator)
    ratio = _log_uniform((count, ATTEMPTS), CROP_RATIO, generator)
    heights, widths = (size / ratio).sqrt().round(), (size * ratio).sqrt().round()
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    own = width / height
    centred_height = round(width / CROP_RATIO[0]) if own < CROP_RATIO[0] else height
    centred_width = round(height * CROP_RATIO[1]) if own > CROP_RATIO[1] else width
    h, w = _first(heights, fits, centred_height), _first(widths, fits, centred_width)
    box = _placed(h, w, image, generator)
    top, left = (height - centred_height) // 2, (width - centred_width) // 2
    centred = torch.tensor([top, left, top + centred_height, left + centred_width])
    return torch.where(fits.any(1, keepdim=True), box, centred)


def erased_boxes(
    count: int, image: ImageSpec, probability: float, generator: torch.Generator
) -> Tensor:
    """Rectangles of random erasing (Zhong 2017), as torchvision's ``RandomErasing`` draws.

    Args:
        count: N.
        image: of this shape.
        probability: that an image is erased at all.
        generator: on the CPU.

    Returns:
        int64 ``[N, 4]``, top, left, bottom, right; empty for images that are left alone.
    """
    height, width = image.height, image.width
    is_erased = torch.rand(count, generator=generator) < probability
    size = height * width * uniform((count, ATTEMPTS), ERASED_AREA, generator)
    ratio = _log_uniform((count, ATTEMPTS), ERASED_RATIO, generator)
    heights, widths = (size * ratio).sqrt().round(), (size / ratio).sqrt().round()
    fits = (heights < height) & (widths < width)
    h, w = _first(heights, fits, 0), _first(widths, fits, 0)
    return _placed(h, w, image, generator) * is_erased[:, None]


def jitter_factors(
    count: int, largest: tuple[float, float, float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Factors and orders of colour jitter, as torchvision's ``ColorJitter`` draws.

    Args:
        count: N.
        largest: changes of brightness, contrast, saturation and hue.
        generator: on the CPU.

    Returns:
        float32 ``[N, 4]`` and int64 ``[N, 4]``, as for :func:`~understudy.data.color.color_jitter`.
    """
    *changes, hue = largest
    between = [(max(0.0, 1 - change), 1 + change) for change in changes]
    factors = [uniform((count,), ends, generator) for ends in [*between, (-hue, hue)]]
    order = torch.rand((count, len(factors)), generator=generator).argsort(1)
    return torch.stack(factors, 1).float(), order


def mix_boxes(lam: Tensor, image: ImageSpec, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """CutMix's rectangles around uniform centres, clipped by the border.

    Args:
        lam: float32 ``[N]``, the share of the area that stays.
        image: of this shape.
        generator: on the CPU.

    Returns:
        int64 ``[N, 4]``, top, left, bottom, right, and float32 ``[N]``, the share that stays after
        clipping, which the label's weight follows, as in the paper's code.
    """
    count, height, width = len(lam), image.height, image.width
    side = (1 - lam).sqrt()
    centre_y = torch.randint(height, (count,), generator=generator)
    centre_x = torch.randint(width, (count,), generator=generator)
    half_y, half_x = (side * height / 2).long(), (side * width / 2).long()
    top, bottom = (centre_y - half_y).clamp(0, height), (centre_y + half_y).clamp(0, height)
    left, right = (centre_x - half_x).clamp(0, width), (centre_x + half_x).clamp(0, width)
    lam = 1 - ((bottom - top) * (right - left)).float() / (height * width)
    return torch.stack((top, left, bottom, right), 1), lam


def beta(count: int, alpha: float, generator: torch.Generator) -> Tensor:
    """float32 ``[N]`` from Beta(alpha, alpha).

    torch's Beta takes no generator; numpy's does, and is stable across platforms.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    drawn = np.random.Generator(np.random.PCG64(seed)).beta(alpha, alpha, count)
    return torch.from_numpy(drawn.astype(np.float32))


def _log_uniform(
    shape: tuple[int, ...], between: tuple[float, float], generator: torch.Generator
) -> Tensor:
    low, high = map(math.log, between)
    return uniform(shape, (low, high), generator).exp()


def _first(values: Tensor, fits: Tensor, otherwise: int) -> Tensor:
    """int64 ``[N]``: of each row of values the first that fits, or ``otherwise``."""
    chosen = values.gather(1, fits.int().argmax(1, keepdim=True))[:, 0].long()
    return torch.where(fits.any(1), chosen, otherwise)


def _placed(
    heights: Tensor, widths: Tensor, image: ImageSpec, generator: torch.Generator
) -> Tensor:
    """int64 ``[N, 4]``: rectangles of these sizes (int64 ``[N]``), everywhere equally likely."""
    count = len(heights)
    top = (uniform((count,), (0, 1), generator) * (image.height - heights + 1)).long()
    left = (uniform((count,), (0, 1), generator) * (image.width - widths + 1)).long()
    return torch.stack((top, left, top + heights, left + widths), 1)
