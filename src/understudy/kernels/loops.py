"""Loops over channels-last maps, compiled by Numba for this machine's vector units and kept on disk.

Maps come as ``[N, H, W, C]``, as they lie in memory; bf16, which NumPy does not know, as its bits in ``uint16``. All
arithmetic is fp32; sums go to fp64 after each image.

Written so that the compiler can use vectors: innermost loops run over neighbours in memory and write one place, choices are
selections and not branches, and what each channel needs is repeated along a row beforehand. Not-a-number passes through.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

_FLAGS: Any = {"nogil": True, "boundscheck": False, "fastmath": {"contract", "nsz"}}


def _compiled(function: Any) -> Any:
    """The function, compiled at its first call, for all later processes too."""
    try:
        return njit(cache=True, **_FLAGS)(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation and no home folder
        return njit(**_FLAGS)(function)


def load(value: Any) -> Any:
    """An element as fp32."""


def store(value: Any, array: Any) -> Any:
    """An fp32 as an element of ``array``, rounded to nearest, ties to even."""


@overload(load, inline="always")
def _load(value):  # type: ignore[no-untyped-def]  # Numba compares the two signatures, annotations and all
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(store, inline="always")
def _store(value, array):  # type: ignore[no-untyped-def]
    if array.dtype == types.uint16:

        def rounded(value, array):  # type: ignore[no-untyped-def]
            bits = np.float32(value).view(np.uint32)
            odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, array: np.float32(value)


@_compiled
def forward(
    x: Any,
    add: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
    norm: Any,
    picked: Any,
    out: Any,
) -> None:
    """Batch norm with the batch's statistics, then the pool or the sum, then ReLU.

    Args:
        x: ``[N, H, W, C]``.
        add: of ``x``'s shape, or ``None``.
        weight, bias, running_mean, running_var: fp32 ``[C]``; the last two are updated.
        momentum, eps: of the batch norm.
        norm: fp64 ``[3, C]``, set to scale, mean and 1 / standard deviation.
        picked: ``None``, or, to pool, set to the element of ``x`` that each window keeps.
        out: ``[N, H, W, C]``, or pooled ``[N, H // 2, W // 2, C]``; set.
    """
    images, height, width, channels = x.shape
    count = images * height * width
    mean, squares = _moments(x)
    for c in range(channels):
        inverse = 1 / np.sqrt(squares[c] / count + eps)
        norm[0, c], norm[1, c], norm[2, c] = weight[c] * inverse, mean[c], inverse
        running_mean[c] += np.float32(momentum * (mean[c] - running_mean[c]))
        running_var[c] += np.float32(momentum * (squares[c] / (count - 1) - running_var[c]))
    shift = bias - norm[1] * norm[0]
    if picked is None:
        _norm_relu(x, add, norm[0], shift, out)
    else:
        _norm_pool_relu(x, norm[0].astype(np.float32), shift.astype(np.float32), picked, out)


@_compiled
def backward(
    x: Any,
    picked: Any,
    out: Any,
    gradient: Any,
    norm: Any,
    passed: Any,
    by_x: Any,
    by_weight: Any,
    by_bias: Any,
) -> None:
    """Gradients of :func:`forward` (batch norm's: Ioffe & Szegedy 2015, section 3).

    Args:
        x, picked, out, norm: as there.
        gradient: by ``out``.
        passed: ``None``, or set to what ReLU lets through of ``gradient``, which is the gradient by ``add``.
        by_x: of ``x``'s shape; set.
        by_weight, by_bias: fp32 ``[C]``; set.
    """
    images, height, width, channels = x.shape
    count = images * height * width
    # Zero but at the elements that a pool kept, so that the sums run over those.
    kept = x if picked is None else picked
    plain, weighted = _gradient_sums(kept, out, gradient, passed, norm[1], norm[2])
    for c in range(channels):
        by_weight[c], by_bias[c] = np.float32(weighted[c]), np.float32(plain[c])
    offset, slope = norm[0] * plain / count, norm[0] * weighted * norm[2] / count
    if picked is None:
        _norm_relu_gradient(x, out, gradient, norm[0], norm[1], offset, slope, by_x)
    else:
        _norm_pool_relu_gradient(
            x, picked, out, gradient, norm[0].astype(np.float32), norm[1], offset, slope, by_x
        )


@_compiled
def _along_row(values: Any, length: int) -> Any:
    """One value of each channel, repeated over a row, in fp32."""
    channels = values.shape[0]
    row = np.empty(length, np.float32)
    for j in range(length):
        row[j] = values[j % channels]
    return row


@_compiled
def _over_row(row: Any, channels: int) -> Any:
    """The sum of a row's fp64 values by channel."""
    total = np.zeros(channels, np.float64)
    for j in range(row.shape[0]):
        total[j % channels] += row[j]
    return total


@_compiled
def _moments(maps: Any) -> Any:
    """Mean and sum of squared distances from it, by channel (fp64): image by image, joined as in Chan et al. 1979."""
    images, height, width, channels = maps.shape
    length = width * channels
    x = maps.reshape((images, height, length))
    mean, squares = np.zeros(length, np.float64), np.zeros(length, np.float64)
    here, spread = np.empty(length, np.float32), np.empty(length, np.float32)
    for n in range(images):
        here[:] = 0
        spread[:] = 0
        for h in range(height):
            for j in range(length):
                here[j] += load(x[n, h, j])
        for j in range(length):
            here[j] /= np.float32(height)
        for h in range(height):
            for j in range(length):
                away = load(x[n, h, j]) - here[j]
                spread[j] += away * away
        for j in range(length):
            apart = here[j] - mean[j]
            mean[j] += apart / (n + 1)
            squares[j] += spread[j] + apart * apart * (height * n / (n + 1))
    joined = _over_row(mean, channels) / width
    for j in range(length):
        apart = mean[j] - joined[j % channels]
        squares[j] += apart * apart * (images * height)
    return joined, _over_row(squares, channels)


@_compiled
def _norm_relu(maps: Any, added: Any, scale: Any, shift: Any, result: Any) -> None:
    """``relu(x * scale + shift + add)``."""
    images, height, width, channels = maps.shape
    length = width * channels
    x, out = maps.reshape((images, height, length)), result.reshape((images, height, length))
    add = x if added is None else added.reshape((images, height, length))
    scales, shifts, zero = _along_row(scale, length), _along_row(shift, length), np.float32(0)
    for n in range(images):
        for h in range(height):
            for j in range(length):
                y = load(x[n, h, j]) * scales[j] + shifts[j]
                if added is not None:
                    y += load(add[n, h, j])
                out[n, h, j] = store(zero if y <= zero else y, out)


@_compiled
def _norm_pool_relu(x: Any, scale: Any, shift: Any, picked: Any, out: Any) -> None:
    """``relu(max_pool2d(x * scale + shift, 2))``, normalising only what each window keeps."""
    images, height, width, channels = out.shape
    zero = np.float32(0)
    for n in range(images):
        for h in range(height):
            for w in range(width):
                for c in range(channels):
                    v0, v1 = load(x[n, 2 * h, 2 * w, c]), load(x[n, 2 * h, 2 * w + 1, c])
                    v2, v3 = load(x[n, 2 * h + 1, 2 * w, c]), load(x[n, 2 * h + 1, 2 * w + 1, c])
                    high, higher = (v0 if v0 > v1 else v1), (v2 if v2 > v3 else v3)
                    low, lower = (v0 if v0 < v1 else v1), (v2 if v2 < v3 else v3)
                    high, low = (high if high > higher else higher), (low if low < lower else lower)
                    # The largest of the scaled values is the scaled largest, or the smallest where the scale is negative.
                    v = low if scale[c] < zero else high
                    y = v * scale[c] + shift[c]
                    picked[n, h, w, c] = store(v, picked)
                    out[n, h, w, c] = store(zero if y <= zero else y, out)


@_compiled
def _gradient_sums(maps: Any, result: Any, come: Any, through: Any, mean: Any, inverse: Any) -> Any:
    """Sums by channel (fp64) of what ReLU lets through of the gradient, and of that times the normalised map."""
    images, height, width, channels = maps.shape
    length = width * channels
    x, out = maps.reshape((images, height, length)), result.reshape((images, height, length))
    gradient = come.reshape((images, height, length))
    passed = out if through is None else through.reshape((images, height, length))
    means, inverses, zero = _along_row(mean, length), _along_row(inverse, length), np.float32(0)
    plain, weighted = np.zeros(length, np.float64), np.zeros(length, np.float64)
    here, there = np.empty(length, np.float32), np.empty(length, np.float32)
    for n in range(images):
        here[:] = 0
        there[:] = 0
        for h in range(height):
            for j in range(length):
                g = load(gradient[n, h, j])
                g = zero if load(out[n, h, j]) <= zero else g
                here[j] += g
                there[j] += g * ((load(x[n, h, j]) - means[j]) * inverses[j])
                if through is not None:
                    passed[n, h, j] = store(g, passed)
        for j in range(length):
            plain[j] += here[j]
            weighted[j] += there[j]
    return _over_row(plain, channels), _over_row(weighted, channels)


@_compiled
def _norm_relu_gradient(
    maps: Any, result: Any, come: Any, scale: Any, mean: Any, offset: Any, slope: Any, by_maps: Any
) -> None:
    """``scale * g - offset - slope * (x - mean)``, where ``g`` is what ReLU lets through of the gradient."""
    images, height, width, channels = maps.shape
    length = width * channels
    x, out = maps.reshape((images, height, length)), result.reshape((images, height, length))
    gradient, by_x = (
        come.reshape((images, height, length)),
        by_maps.reshape((images, height, length)),
    )
    scales, means, zero = _along_row(scale, length), _along_row(mean, length), np.float32(0)
    offsets, slopes = _along_row(offset, length), _along_row(slope, length)
    for n in range(images):
        for h in range(height):
            for j in range(length):
                g = load(gradient[n, h, j])
                g = zero if load(out[n, h, j]) <= zero else g
                value = scales[j] * g - offsets[j] - slopes[j] * (load(x[n, h, j]) - means[j])
                by_x[n, h, j] = store(value, by_x)


@_compiled
def _norm_pool_relu_gradient(
    maps: Any,
    picked: Any,
    out: Any,
    gradient: Any,
    scale: Any,
    mean: Any,
    offset: Any,
    slope: Any,
    by_maps: Any,
) -> None:
    """:func:`_norm_relu_gradient` behind the pool: of a window's four, the first that equals what was kept gets the gradient.

    Two rows of windows at a time: first the gradients that the pool spreads, in cache, then two long rows.
    """
    images, height, width, channels = out.shape
    zero, rows, length = np.float32(0), maps.shape[1], maps.shape[2] * channels
    x, by_x = maps.reshape((images, rows, length)), by_maps.reshape((images, rows, length))
    means, offsets, slopes = (
        _along_row(mean, length),
        _along_row(offset, length),
        _along_row(slope, length),
    )
    # A last column that no window covers (odd width) stays zero here: the pool gives it nothing.
    top, bottom = (
        np.zeros((maps.shape[2], channels), np.float32),
        np.zeros((maps.shape[2], channels), np.float32),
    )
    above, below = top.reshape(length), bottom.reshape(length)
    for n in range(images):
        for h in range(height):
            for w in range(width):
                for c in range(channels):
                    v, g = load(picked[n, h, w, c]), scale[c] * load(gradient[n, h, w, c])
                    g = zero if load(out[n, h, w, c]) <= zero else g
                    v0, v1 = load(maps[n, 2 * h, 2 * w, c]), load(maps[n, 2 * h, 2 * w + 1, c])
                    v2 = load(maps[n, 2 * h + 1, 2 * w, c])
                    top[2 * w, c] = g if v0 == v else zero
                    g = zero if v0 == v else g
                    top[2 * w + 1, c] = g if v1 == v else zero
                    g = zero if v1 == v else g
                    bottom[2 * w, c] = g if v2 == v else zero
                    bottom[2 * w + 1, c] = zero if v2 == v else g
            for j in range(length):
                value = above[j] - offsets[j] - slopes[j] * (load(x[n, 2 * h, j]) - means[j])
                by_x[n, 2 * h, j] = store(value, by_x)
            for j in range(length):
                value = below[j] - offsets[j] - slopes[j] * (load(x[n, 2 * h + 1, j]) - means[j])
                by_x[n, 2 * h + 1, j] = store(value, by_x)
        for h in range(2 * height, rows):  # a last row that no window covers
            for j in range(length):
                by_x[n, h, j] = store(-offsets[j] - slopes[j] * (load(x[n, h, j]) - means[j]), by_x)
