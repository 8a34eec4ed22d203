"""RandAugment (Cubuk 2020): a few operations of fourteen for each image, all of one magnitude.

Operations, their ranges and order are torchvision's (``transforms.v2.RandAugment``); warps sample
bilinearly instead of taking the nearest pixel. Like there an image is rounded to bytes after every
operation.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.config.images import LARGEST_MAGNITUDE
from understudy.data.color import adjust_contrast, adjust_saturation, blend, where_chosen
from understudy.data.geometry import from_planes, to_planes, warp


def rand_augment(
    pixels: Tensor,
    operations: Tensor,
    signs: Tensor,
    magnitude: int,
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Apply each image's operations in order.

    Args:
        pixels: uint8 or float ``[B, H, W, C]`` in 0..255.
        operations: int64 ``[B, R]``, indices into :data:`OPERATIONS`.
        signs: float32 ``[B, R]``, 1 or -1: the direction of those that have two.
        magnitude: 0 to :data:`~understudy.config.images.LARGEST_MAGNITUDE`.
        grid: (height, width) in whose pixels images are moved, if they have another size.
            Sharpness smooths over neighbouring pixels whatever their size.

    Returns:
        float32 ``[B, H, W, C]``, whole numbers in 0..255.
    """
    planes = to_planes(pixels).round()
    size = grid or (planes.shape[2], planes.shape[3])
    for chosen, sign in zip(operations.unbind(1), signs.unbind(1), strict=True):
        strength = sign * (magnitude / LARGEST_MAGNITUDE)
        is_warp = (chosen >= FIRST_WARP) & (chosen <= LAST_WARP)
        move = partial(_warp, size=size)
        planes = where_chosen(planes, is_warp, move, chosen, strength)
        for number, operation in enumerate(COLOR_OPERATIONS, LAST_WARP + 1):
            planes = where_chosen(planes, chosen == number, operation, strength)
        planes = planes.round_()
    return from_planes(planes)


def _warp(planes: Tensor, chosen: Tensor, strength: Tensor, size: tuple[int, int]) -> Tensor:
    """All warps in one: each image has the matrix of its own operation."""
    return warp(planes, warp_matrices(chosen, strength, *size), size)


def warp_matrices(chosen: Tensor, strength: Tensor, height: int, width: int) -> Tensor:
    """The maps of shear, translation and rotation, as for :func:`~understudy.data.geometry.warp`.

    Args:
        chosen: int64 ``[B]``, indices into :data:`OPERATIONS`; the identity for any other.
        strength: float32 ``[B]`` in [-1, 1].
        height, width: of the images.

    Returns:
        float32 ``[B, 2, 3]``.
    """
    shear_x, shear_y, move_x, move_y, turn = (
        torch.where(chosen == FIRST_WARP + number, strength, torch.zeros_like(strength))
        for number in range(5)
    )
    shear_x, shear_y, turn = 0.3 * shear_x, 0.3 * shear_y, turn * (torch.pi / 6)
    # Whole pixels, as torchvision's. Sheared about the upper left corner, which is half an image
    # away from the centre.
    across = shear_x * (height / 2) - (move_x * (width * 150 / 331)).trunc()
    down = shear_y * (width / 2) - (move_y * (height * 150 / 331)).trunc()
    cos, sin = turn.cos(), turn.sin()
    rows = (cos, shear_x - sin, across, sin + shear_y, cos, down)
    return torch.stack(rows, 1).view(-1, 2, 3)


def brightness(planes: Tensor, strength: Tensor) -> Tensor:
    """Times 0.1 to 1.9."""
    return blend(planes, 0.0, 1 + 0.9 * strength)


def color(planes: Tensor, strength: Tensor) -> Tensor:
    """Saturation times 0.1 to 1.9."""
    return adjust_saturation(planes, 1 + 0.9 * strength)


def contrast(planes: Tensor, strength: Tensor) -> Tensor:
    """Contrast times 0.1 to 1.9."""
    return adjust_contrast(planes, 1 + 0.9 * strength)


def sharpness(planes: Tensor, strength: Tensor) -> Tensor:
    """Away from the image smoothed by a 3 x 3 kernel, or towards it; the border stays."""
    if min(planes.shape[2:]) <= 2:
        return planes
    channels = planes.shape[1]
    kernel = planes.new_ones(3, 3)
    kernel[1, 1] = 5
    kernel = (kernel / 13).expand(channels, 1, 3, 3)
    smooth = planes.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(planes, kernel, groups=channels).round()
    return blend(planes, smooth, 1 + 0.9 * strength)


def posterize(planes: Tensor, strength: Tensor) -> Tensor:
    """8 to 4 bits for each channel."""
    step = 2 ** (4 * strength.abs()).round().view(-1, 1, 1, 1)
    return (planes / step).floor() * step


def solarize(planes: Tensor, strength: Tensor) -> Tensor:
    """Values from a threshold inverted; it falls from 255 to 0."""
    threshold = 255 * (1 - strength.abs()).view(-1, 1, 1, 1)
    return torch.where(planes >= threshold, 255 - planes, planes)


def auto_contrast(planes: Tensor, strength: Tensor) -> Tensor:
    """Each channel stretched to 0..255; a channel of one value stays."""
    low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    stretched = (planes - low) * (255 / (high - low).clamp(min=1))
    return torch.where(high > low, stretched, planes)


def equalize(planes: Tensor, strength: Tensor) -> Tensor:
    """Each channel's values spread so that its histogram is as flat as a table of values allows.

    Pillow's: the table is the cumulative histogram in steps of 1/255 of all pixels but those of the
    largest value; a channel of so few values that the step is 0 stays.
    """
    flat = planes.flatten(2)
    values = flat.long()
    counts = torch.zeros(*flat.shape[:2], 256, device=flat.device, dtype=torch.int64)
    counts.scatter_add_(2, values, torch.ones_like(values))
    largest = counts.gather(2, values.amax(2, keepdim=True))
    step = (flat.shape[2] - largest) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    spread = table.gather(2, values).float()
    return torch.where(step > 0, spread, flat).view_as(planes)


COLOR_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    brightness,
    color,
    contrast,
    sharpness,
    posterize,
    solarize,
    auto_contrast,
    equalize,
)
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    *(operation.__name__ for operation in COLOR_OPERATIONS),
)
"""The operations by number. Views store the numbers, so the order must not change."""
FIRST_WARP, LAST_WARP = OPERATIONS.index("shear_x"), OPERATIONS.index("rotate")
