"""Transforms of batches of bytes, each image with its own parameters: crop, mirror, mix, colour.

All are deterministic functions of uint8 ``[B, H, W, C]`` and parameters per image, on the device of
the images, without Python per image. The views of an epoch (:mod:`understudy.data.views`) hold the
parameters.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def crop(pixels: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Pad with zeros and crop back to size, each image at its own offset.

    Args:
        pixels: uint8 ``[B, H, W, C]``.
        top, left: int64 ``[B]``, 0 to 2 * padding.
        padding: pixels of zeros on each side.
    """
    batch, height, width, channels = pixels.shape
    padded = pixels.new_zeros(batch, height + 2 * padding, width + 2 * padding, channels)
    padded[:, padding : padding + height, padding : padding + width] = pixels
    y = top[:, None] + torch.arange(height, device=pixels.device)
    image = torch.arange(batch, device=pixels.device)[:, None]
    if pixels.device.type != "cpu":
        x = left[:, None] + torch.arange(width, device=pixels.device)
        return padded[image[..., None], y[..., None], x[:, None, :]]
    # On the CPU torch gathers byte by byte (15 ms for 512 images). A cropped row is one run of
    # width * channels bytes: read the block as overlapping items of that size and let numpy copy
    # whole items (under 1 ms).
    starts = ((image * padded.shape[1] + y) * padded.shape[2] + left[:, None]) * channels
    flat, run = padded.numpy().reshape(-1), width * channels
    items = np.ndarray((flat.size - run + 1,), dtype=f"V{run}", buffer=flat, strides=(1,))
    copied = items[starts.numpy()].view(np.uint8)
    return torch.from_numpy(copied).view(batch, height, width, channels)


def mirror(pixels: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images marked in ``flip`` (bool ``[B]``) of uint8 ``[B, H, W, C]``.

    On the CPU in place.
    """
    if pixels.device.type != "cpu":
        return torch.where(flip.view(-1, 1, 1, 1), pixels.flip(2), pixels)
    # A pixel is one item of C bytes: the marked images are reversed item by item.
    array = pixels.numpy().view(f"V{pixels.shape[3]}")[..., 0]
    chosen = np.flatnonzero(flip.numpy())
    array[chosen] = array[chosen][:, :, ::-1]
    return pixels


def mirror_vertically(pixels: Tensor, flip: Tensor) -> Tensor:
    """Turn the images marked in ``flip`` (bool ``[B]``) of uint8 ``[B, H, W, C]`` upside down.

    On the CPU in place.
    """
    if pixels.device.type != "cpu":
        return torch.where(flip.view(-1, 1, 1, 1), pixels.flip(1), pixels)
    chosen = flip.nonzero()[:, 0]
    return pixels.index_copy_(0, chosen, pixels.index_select(0, chosen).flip(1))


def mixup(pixels: Tensor, partners: Tensor, lam: Tensor) -> Tensor:
    """``lam * image + (1 - lam) * partner`` (Zhang 2018).

    Args:
        pixels, partners: uint8 ``[B, H, W, C]``.
        lam: float32 ``[B]`` in [0, 1].

    Returns:
        float32 ``[B, H, W, C]`` in 0..255.
    """
    weight = lam.view(-1, 1, 1, 1)
    return pixels.float() * weight + partners.float() * (1 - weight)


def cutmix(pixels: Tensor, partners: Tensor, box: Tensor) -> Tensor:
    """The image with a rectangle of its partner (Yun 2019).

    Args:
        pixels, partners: uint8 ``[B, H, W, C]``.
        box: int64 ``[B, 4]``, top, left, bottom, right of the rectangle.
    """
    return torch.where(_inside(box, pixels), partners, pixels)


def erase(pixels: Tensor, box: Tensor, fill: Tensor) -> Tensor:
    """The image with a rectangle of one colour (Zhong 2017).

    Args:
        pixels: uint8 or float ``[B, H, W, C]`` in 0..255.
        box: int64 ``[B, 4]``, top, left, bottom, right of the rectangle; an empty one does nothing.
        fill: float32 ``[C]`` in 0..255, the colour.

    Returns:
        float32 ``[B, H, W, C]``.
    """
    return torch.where(_inside(box, pixels), fill, pixels.float())


def _inside(box: Tensor, pixels: Tensor) -> Tensor:
    """bool ``[B, H, W, 1]``: which pixels lie in each image's rectangle (int64 ``[B, 4]``)."""
    y = torch.arange(pixels.shape[1], device=box.device).view(1, -1, 1)
    x = torch.arange(pixels.shape[2], device=box.device).view(1, 1, -1)
    top, left, bottom, right = (box[:, side].view(-1, 1, 1) for side in range(4))
    return ((y >= top) & (y < bottom) & (x >= left) & (x < right))[..., None]


# The photometric operations of RandAugment (Cubuk 2020). Geometric ones are left out: crop and
# mirror move pixels already. Each maps values ``[B, H, W, C]`` in 0..255 and a strength in [0, 1]
# per image (float ``[B, 1, 1, 1]``) to values that may leave that range.


def brighten(values: Tensor, strength: Tensor) -> Tensor:
    """Up to 1.9 times as bright."""
    return values * (1 + 0.9 * strength)


def darken(values: Tensor, strength: Tensor) -> Tensor:
    """Down to a tenth of the brightness."""
    return values * (1 - 0.9 * strength)


def increase_contrast(values: Tensor, strength: Tensor) -> Tensor:
    """Up to 1.9 times the distance from the image's mean."""
    middle = values.mean((1, 2, 3), keepdim=True)
    return middle + (values - middle) * (1 + 0.9 * strength)


def reduce_contrast(values: Tensor, strength: Tensor) -> Tensor:
    """Down to a tenth of the distance from the image's mean."""
    middle = values.mean((1, 2, 3), keepdim=True)
    return middle + (values - middle) * (1 - 0.9 * strength)


def desaturate(values: Tensor, strength: Tensor) -> Tensor:
    """Towards grey, which strength 1 reaches."""
    grey = values.mean(3, keepdim=True).expand_as(values)
    return torch.lerp(values, grey, strength.expand_as(values))


def posterise(values: Tensor, strength: Tensor) -> Tensor:
    """1 to 7 of the 8 bits dropped."""
    levels = 2 ** (1 + 6 * strength).round()
    return (values / levels).floor() * levels


def solarise(values: Tensor, strength: Tensor) -> Tensor:
    """Values above a threshold inverted, which falls from 256 to 0."""
    return torch.where(values >= 256 * (1 - strength), 255 - values, values)


def autocontrast(values: Tensor, strength: Tensor) -> Tensor:
    """Each channel stretched to 0..255, in full at strength 1."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    stretched = (values - low) * (255 / (high - low).clamp(min=1))
    return torch.lerp(values, stretched, strength.expand_as(values))


PHOTOMETRIC: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    brighten,
    darken,
    increase_contrast,
    reduce_contrast,
    desaturate,
    posterise,
    solarise,
    autocontrast,
)
"""The photometric operations by number. Views store the numbers, so the order must not change."""


def photometric(pixels: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Apply each image's photometric operations in order.

    Args:
        pixels: uint8 ``[B, H, W, C]``.
        operations: int64 ``[B, R]``, indices into :data:`PHOTOMETRIC`.
        strengths: float32 ``[B, R]`` in [0, 1].

    Returns:
        uint8 ``[B, H, W, C]``.
    """
    values = pixels.float()
    for step in range(operations.shape[1]):
        chosen = operations[:, step].view(-1, 1, 1, 1)
        strength = strengths[:, step].view(-1, 1, 1, 1)
        # Every operation runs on the whole batch and each image takes one of the results: no
        # grouping by operation, hence no synchronisation with the device.
        result = values
        for number, operation in enumerate(PHOTOMETRIC):
            result = torch.where(chosen == number, operation(values, strength), result)
        values = result.clamp(0, 255).round()
    return values.to(torch.uint8)
