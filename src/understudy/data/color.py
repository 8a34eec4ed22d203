"""Colour operations on batches of images, each image with its own strength.

They work on float32 planes ``[B, C, H, W]`` in 0..255 (:func:`~understudy.data.geometry.to_planes`)
and do not round: torchvision's float operations, up to its scale of 0..1. Images of other than
three channels have neither saturation nor hue, and their grey is the mean of the channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from understudy.data.geometry import from_planes, to_planes

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The parts of colour jitter by number."""


def color_jitter(pixels: Tensor, factors: Tensor, order: Tensor, *, hue: bool) -> Tensor:
    """Change brightness, contrast, saturation and hue, in an order of its own for each image.

    Args:
        pixels: uint8 or float ``[B, H, W, C]`` in 0..255.
        factors: float32 ``[B, 4]``: brightness, contrast and saturation as factors, hue as a share
            of the colour circle in [-0.5, 0.5].
        order: int64 ``[B, 4]``, a permutation of the four for each image.
        hue: whether any hue changes; it costs as much as the others together.

    Returns:
        float32 ``[B, H, W, C]`` in 0..255, not rounded.
    """
    planes = to_planes(pixels)
    for chosen in order.unbind(1):
        factor = factors.gather(1, chosen[:, None])[:, 0]
        planes = _blend_chosen(planes, chosen, factor)
        if hue:
            planes = where_chosen(planes, chosen == HUE, shift_hue, factor)
    return from_planes(planes)


def _blend_chosen(planes: Tensor, chosen: Tensor, factor: Tensor) -> Tensor:
    """Brightness, contrast and saturation are one formula, and one pass does all three of them."""
    is_contrast, is_saturation = (
        (chosen == part).float().view(-1, 1, 1, 1) for part in (CONTRAST, SATURATION)
    )
    grey = to_grey(planes)
    target = is_saturation * grey + is_contrast * grey.mean((2, 3), keepdim=True)
    is_left = chosen == HUE
    if planes.shape[1] != 3:
        is_left = is_left | (chosen == SATURATION)
    return blend(planes, target, torch.where(is_left, torch.ones_like(factor), factor))


def blend(planes: Tensor, target: Tensor | float, factor: Tensor) -> Tensor:
    """``factor * image + (1 - factor) * target``, held in 0..255; ``factor`` float ``[B]``."""
    factor = factor.view(-1, 1, 1, 1)
    return torch.addcmul((1 - factor) * target, planes, factor).clamp_(0, 255)


def to_grey(planes: Tensor) -> Tensor:
    """Luma (ITU-R BT.601), ``[B, 1, H, W]``."""
    if planes.shape[1] != 3:
        return planes.mean(1, keepdim=True)
    red, green, blue = planes.split(1, 1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_contrast(planes: Tensor, factor: Tensor) -> Tensor:
    """Distance from the image's mean grey times ``factor`` (float ``[B]``)."""
    return blend(planes, to_grey(planes).mean((2, 3), keepdim=True), factor)


def adjust_saturation(planes: Tensor, factor: Tensor) -> Tensor:
    """Distance from each pixel's grey times ``factor`` (float ``[B]``)."""
    return blend(planes, to_grey(planes), factor) if planes.shape[1] == 3 else planes


def shift_hue(planes: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle by a share of it (float ``[B]``): value and chroma stay.

    The way through hue, saturation and value (Smith 1978), written out: a channel is
    ``value - chroma * clamp(min(k, 4 - k), 0, 1)`` with ``k = (offset + 6 * hue) mod 6``.
    """
    if planes.shape[1] != 3:
        return planes
    red, green, blue = planes.split(1, 1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # A grey pixel has no hue; any will do, since chroma 0 takes it out again.
    per_chroma = chroma.clamp(min=1e-6).reciprocal_()
    sixths = torch.where(
        value == red,
        (green - blue).mul_(per_chroma),
        torch.where(
            value == green,
            (blue - red).mul_(per_chroma).add_(2),
            (red - green).mul_(per_chroma).add_(4),
        ),
    )
    sixths.add_(6 * shift.view(-1, 1, 1, 1))
    turned = torch.empty_like(planes)
    for offset, channel in zip((5, 3, 1), turned.split(1, 1), strict=True):
        k = sixths + offset
        k.sub_((k / 6).floor_(), alpha=6)  # k mod 6: remainder costs four times as much
        ramp = torch.minimum(k, 4 - k).clamp_(0, 1)
        torch.addcmul(value, chroma, ramp, value=-1, out=channel)
    return turned


def where_chosen(
    planes: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor
) -> Tensor:
    """The operation's result for the chosen images, the others unchanged; may work in place.

    Args:
        planes: ``[B, C, H, W]``.
        chosen: bool ``[B]``.
        operation: ``operation(planes, *parameters)``.
        parameters: ``[B]`` each.
    """
    if planes.device.type != "cpu":
        # All images are computed: to pick the chosen ones would wait for the device.
        return torch.where(chosen.view(-1, 1, 1, 1), operation(planes, *parameters), planes)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return planes
    changed = operation(planes[rows], *(values[rows] for values in parameters))
    return planes.index_copy_(0, rows, changed)
