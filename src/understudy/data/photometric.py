"""Photometric operations of a RandAugment-like policy (after Cubuk et al. 2020), on whole batches of bytes.

Each operation maps uint8 ``[B, H, W, C]`` and a strength in [0, 1] per image (float ``[B, 1, 1, 1]``) to float values
in 0..255. Geometric operations are left out: the crop and the flip move pixels already.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def _brighten(x: Tensor, strength: Tensor) -> Tensor:
    return x * (1 + 0.9 * strength)


def _darken(x: Tensor, strength: Tensor) -> Tensor:
    return x * (1 - 0.9 * strength)


def _contrast(x: Tensor, strength: Tensor) -> Tensor:
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (1 + 0.9 * strength)


def _flatten(x: Tensor, strength: Tensor) -> Tensor:
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (1 - 0.9 * strength)


def _desaturate(x: Tensor, strength: Tensor) -> Tensor:
    return torch.lerp(x, x.mean(3, keepdim=True).expand_as(x), strength.expand_as(x))


def _posterise(x: Tensor, strength: Tensor) -> Tensor:
    levels = 2 ** (1 + 6 * strength).round()
    return (x / levels).floor() * levels


def _solarise(x: Tensor, strength: Tensor) -> Tensor:
    return torch.where(x >= 256 * (1 - strength), 255 - x, x)


def _stretch(x: Tensor, strength: Tensor) -> Tensor:
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    return torch.lerp(x, (x - low) * (255 / (high - low).clamp(min=1)), strength.expand_as(x))


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brighten,
    _darken,
    _contrast,
    _flatten,
    _desaturate,
    _posterise,
    _solarise,
    _stretch,
)


def apply(pixels: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Apply each image's operations in order.

    Args:
        pixels: uint8 ``[B, H, W, C]``.
        operations: int64 ``[B, R]``, indices into :data:`OPERATIONS`.
        strengths: float32 ``[B, R]`` in [0, 1].

    Returns:
        uint8 ``[B, H, W, C]``.
    """
    values = pixels.float()
    for step in range(operations.shape[1]):
        chosen = operations[:, step].view(-1, 1, 1, 1)
        strength = strengths[:, step].view(-1, 1, 1, 1)
        # Every operation runs on the whole batch and each image keeps one result: no grouping, so no host sync.
        result = values
        for number, operation in enumerate(OPERATIONS):
            result = torch.where(chosen == number, operation(values, strength), result)
        values = result.clamp(0, 255).round()
    return values.to(torch.uint8)
