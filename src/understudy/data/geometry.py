"""Geometry of batches of images: resized crops and affine warps, each image with its own.

Both sample bilinearly, all images in one call, on the device of the images. An image is enlarged
or moved, never shrunk by more than the shear's few percent, so plain bilinear sampling is exact:
antialiasing, which a crop from an image larger than the output would need, has been done when the
image was decoded to its size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def to_planes(pixels: Tensor) -> Tensor:
    """float32 ``[B, C, H, W]``, contiguous, of uint8 or float ``[B, H, W, C]``.

    One plane after the other in memory, which arithmetic on channels runs fastest on. The values
    stay in 0..255. No copy of a view of :func:`from_planes`.
    """
    # The bytes are reordered, not the floats: a quarter of the memory.
    return pixels.permute(0, 3, 1, 2).contiguous().float()


def from_planes(planes: Tensor) -> Tensor:
    """``[B, H, W, C]`` on the memory of ``[B, C, H, W]``."""
    return planes.permute(0, 2, 3, 1)


def resized_crop(pixels: Tensor, box: Tensor) -> Tensor:
    """A rectangle of each image, enlarged to the size of the image (Szegedy 2015).

    Args:
        pixels: uint8 or float ``[B, H, W, C]`` in 0..255.
        box: int64 ``[B, 4]``, top, left, bottom, right of the rectangles.

    Returns:
        float32 ``[B, H, W, C]`` in 0..255, not rounded.
    """
    batch, height, width, _ = pixels.shape
    top, left, bottom, right = (side[:, None].float() for side in box.unbind(1))
    y = top + _source(bottom - top, height)
    x = left + _source(right - left, width)
    grid = torch.stack(
        (
            ((2 * x + 1) / width - 1)[:, None, :].expand(batch, height, width),
            ((2 * y + 1) / height - 1)[:, :, None].expand(batch, height, width),
        ),
        dim=3,
    )
    return from_planes(F.grid_sample(to_planes(pixels), grid, "bilinear", "border", False))


def _source(length: Tensor, size: int) -> Tensor:
    """Where equal steps over each ``length`` (float ``[B, 1]``) are sampled: ``[B, size]``.

    Held inside the rectangle: its pixels alone are seen, not their neighbours outside.
    """
    steps = torch.arange(size, device=length.device) + 0.5
    return (steps * (length / size) - 0.5).clamp(min=0).minimum(length - 1)


def warp(planes: Tensor, matrix: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Affine maps of images, black where the image has moved away.

    Args:
        planes: float32 ``[B, C, H, W]``.
        matrix: float32 ``[B, 2, 3]``: from a point (x, y) of the result, in pixels from the centre
            of the image, to the point of the image that is shown there.
        size: (height, width) of the image in these pixels, if it is not that of the planes.
    """
    height, width = size or planes.shape[2:]
    # affine_grid counts in half widths and half heights. Python's numbers, no tensor of them: that
    # would be copied to the device in every step.
    (a, b, x), (c, d, y) = (row.unbind(1) for row in matrix.unbind(1))
    scaled = (a, b * (height / width), x * (2 / width), c * (width / height), d, y * (2 / height))
    theta = torch.stack(scaled, 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, "bilinear", "zeros", False)
