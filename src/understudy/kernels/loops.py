"""Loops over channels-last maps, compiled by Numba for this machine's vector units, cached on disk.

Maps have the shape ``[N, H, W, C]`` of their memory. NumPy has no bf16: such maps are passed as
their bits in ``uint16``. All arithmetic is fp32; sums are carried to fp64 after each image.

Written so that the compiler can use vectors: innermost loops run over neighbours in memory and
write one place, choices are selections and not branches, and what each channel needs is repeated
along a row beforehand. A NaN in the input is a NaN in the output.
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
    except RuntimeError:  # no place for the cache: a read-only installation and no home folder
        return njit(**_FLAGS)(function)


def load(value: Any) -> Any:
    """An element as fp32."""


def store(value: Any, array: Any) -> Any:
    """An fp32 as an element of ``array``, rounded to nearest, ties to even."""


# Without annotations: Numba compares the signatures of function and overload.
@overload(load, inline="always")
def _load(value):  # type: ignore[no-untyped-def]
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
    affine: Any,
    running: Any,
    norm: Any,
    pooled_x: Any,
    out: Any,
) -> None:
    """Batch norm with the batch's statistics, then the pool or the sum, then ReLU.

    Args:
        x: ``[N, H, W, C]``.
        add: of ``x``'s shape, or ``None``.
        affine: weight and bias of the batch norm, fp32 ``[C]``.
        running: its running mean and variance, fp32 ``[C]``, which are updated; momentum; eps.
        norm: fp64 ``[3, C]``, set to scale, mean and 1 / standard deviation.
        pooled_x: ``None``, or, to pool, ``[N, H // 2, W // 2, C]``; set to the element of ``x``
            that each window keeps.
        out: ``[N, H, W, C]``, or pooled ``[N, H // 2, W // 2, C]``; set.
    """
    images, height, width, channels = x.shape
    count = images * height * width
    weight, bias = affine
    running_mean, running_var, momentum, eps = running
    mean, squares = _moments(x)
    for c in range(channels):
        inverse = 1 / np.sqrt(squares[c] / count + eps)
        norm[0, c], norm[1, c], norm[2, c] = weight[c] * inverse, mean[c], inverse
        running_mean[c] += np.float32(momentum * (mean[c] - running_mean[c]))
        running_var[c] += np.float32(momentum * (squares[c] / (count - 1) - running_var[c]))
    shift = bias - norm[1] * norm[0]
    if pooled_x is None:
        _norm_relu(x, add, norm[0], shift, out)
    else:
        _norm_pool_relu(x, norm[0].astype(np.float32), shift.astype(np.float32), pooled_x, out)


@_compiled
def backward(
    x: Any,
    pooled_x: Any,
    out: Any,
    grad_out: Any,
    norm: Any,
    grad_add: Any,
    grad_x: Any,
    grad_affine: Any,
) -> None:
    """Gradients of :func:`forward` (batch norm's: Ioffe & Szegedy 2015, section 3).

    Args:
        x, pooled_x, out, norm: as for :func:`forward`.
        grad_out: gradient with respect to ``out``, of its shape.
        grad_add: ``None``, or set to the gradient with respect to ``add``: the part of ``grad_out``
            that passes ReLU.
        grad_x: of ``x``'s shape; set.
        grad_affine: fp32 ``[2, C]``, of weight and bias; set.
    """
    images, height, width, channels = x.shape
    count = images * height * width
    # After a pool the gradient is zero except at the pooled elements: the sums run over those.
    summed_x = x if pooled_x is None else pooled_x
    plain, weighted = _gradient_sums(summed_x, out, grad_out, grad_add, norm[1], norm[2])
    for c in range(channels):
        grad_affine[0, c], grad_affine[1, c] = np.float32(weighted[c]), np.float32(plain[c])
    offset, slope = norm[0] * plain / count, norm[0] * weighted * norm[2] / count
    if pooled_x is None:
        terms = norm[0], norm[1], offset, slope
        _norm_relu_gradient(x, out, grad_out, terms, grad_x)
    else:
        pool_terms = norm[0].astype(np.float32), norm[1], offset, slope
        _norm_pool_relu_gradient(x, pooled_x, out, grad_out, pool_terms, grad_x)


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
    """Mean and sum of squared distances from it, by channel (fp64): image by
    image, combined as in Chan et al. 1979."""
    images, height, width, channels = maps.shape
    length = width * channels
    x = maps.reshape((images, height, length))
    mean, squares = np.zeros(length, np.float64), np.zeros(length, np.float64)
    row_mean, row_squares = np.empty(length, np.float32), np.empty(length, np.float32)
    for n in range(images):
        row_mean[:] = 0
        row_squares[:] = 0
        for h in range(height):
            for j in range(length):
                row_mean[j] += load(x[n, h, j])
        for j in range(length):
            row_mean[j] /= np.float32(height)
        for h in range(height):
            for j in range(length):
                deviation = load(x[n, h, j]) - row_mean[j]
                row_squares[j] += deviation * deviation
        for j in range(length):
            delta = row_mean[j] - mean[j]
            mean[j] += delta / (n + 1)
            squares[j] += row_squares[j] + delta * delta * (height * n / (n + 1))
    overall = _over_row(mean, channels) / width
    for j in range(length):
        delta = mean[j] - overall[j % channels]
        squares[j] += delta * delta * (images * height)
    return overall, _over_row(squares, channels)


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
def _norm_pool_relu(x: Any, scale: Any, shift: Any, pooled_x: Any, out: Any) -> None:
    """``relu(max_pool2d(x * scale + shift, 2))``, normalising only one element per window."""
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
                    # The largest of the scaled values is the scaled largest, or the scaled
                    # smallest if the scale is negative.
                    v = low if scale[c] < zero else high
                    y = v * scale[c] + shift[c]
                    pooled_x[n, h, w, c] = store(v, pooled_x)
                    out[n, h, w, c] = store(zero if y <= zero else y, out)


@_compiled
def _gradient_sums(
    maps: Any, result: Any, grad_result: Any, grad_added: Any, mean: Any, inverse: Any
) -> Any:
    """By channel, in fp64: the gradient that passes ReLU, and that times the normalised map."""
    images, height, width, channels = maps.shape
    length = width * channels
    x, out = maps.reshape((images, height, length)), result.reshape((images, height, length))
    grad_out = grad_result.reshape((images, height, length))
    grad_add = out if grad_added is None else grad_added.reshape((images, height, length))
    means, inverses, zero = _along_row(mean, length), _along_row(inverse, length), np.float32(0)
    plain, weighted = np.zeros(length, np.float64), np.zeros(length, np.float64)
    row_sum, weighted_sum = np.empty(length, np.float32), np.empty(length, np.float32)
    for n in range(images):
        row_sum[:] = 0
        weighted_sum[:] = 0
        for h in range(height):
            for j in range(length):
                g = load(grad_out[n, h, j])
                g = zero if load(out[n, h, j]) <= zero else g
                row_sum[j] += g
                weighted_sum[j] += g * ((load(x[n, h, j]) - means[j]) * inverses[j])
                if grad_added is not None:
                    grad_add[n, h, j] = store(g, grad_add)
        for j in range(length):
            plain[j] += row_sum[j]
            weighted[j] += weighted_sum[j]
    return _over_row(plain, channels), _over_row(weighted, channels)


@_compiled
def _norm_relu_gradient(
    maps: Any, result: Any, grad_result: Any, terms: Any, grad_maps: Any
) -> None:
    """``scale * g - offset - slope * (x - mean)``, where ``g`` is the gradient that passes ReLU."""
    scale, mean, offset, slope = terms
    images, height, width, channels = maps.shape
    length = width * channels
    x, out = maps.reshape((images, height, length)), result.reshape((images, height, length))
    grad_out = grad_result.reshape((images, height, length))
    grad_x = grad_maps.reshape((images, height, length))
    scales, means, zero = _along_row(scale, length), _along_row(mean, length), np.float32(0)
    offsets, slopes = _along_row(offset, length), _along_row(slope, length)
    for n in range(images):
        for h in range(height):
            for j in range(length):
                g = load(grad_out[n, h, j])
                g = zero if load(out[n, h, j]) <= zero else g
                value = scales[j] * g - offsets[j] - slopes[j] * (load(x[n, h, j]) - means[j])
                grad_x[n, h, j] = store(value, grad_x)


@_compiled
def _norm_pool_relu_gradient(
    maps: Any, pooled_x: Any, out: Any, grad_out: Any, terms: Any, grad_maps: Any
) -> None:
    """:func:`_norm_relu_gradient` after the pool.

    Of a window's four elements the first that equals the pooled one gets the gradient. Two rows at
    a time: first the gradients that the pool spreads, in cache, then two long rows.
    """
    scale, mean, offset, slope = terms
    images, height, width, channels = out.shape
    zero, rows, length = np.float32(0), maps.shape[1], maps.shape[2] * channels
    x, grad_x = maps.reshape((images, rows, length)), grad_maps.reshape((images, rows, length))
    means, offsets, slopes = (
        _along_row(mean, length),
        _along_row(offset, length),
        _along_row(slope, length),
    )
    # A last column that no window covers (odd width) stays zero: its gradient is zero.
    top = np.zeros((maps.shape[2], channels), np.float32)
    bottom = np.zeros((maps.shape[2], channels), np.float32)
    above, below = top.reshape(length), bottom.reshape(length)
    for n in range(images):
        for h in range(height):
            for w in range(width):
                for c in range(channels):
                    v, g = load(pooled_x[n, h, w, c]), scale[c] * load(grad_out[n, h, w, c])
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
                grad_x[n, 2 * h, j] = store(value, grad_x)
            for j in range(length):
                value = below[j] - offsets[j] - slopes[j] * (load(x[n, 2 * h + 1, j]) - means[j])
                grad_x[n, 2 * h + 1, j] = store(value, grad_x)
        for h in range(2 * height, rows):  # a last row that no window covers
            for j in range(length):
                grad_x[n, h, j] = store(
                    -offsets[j] - slopes[j] * (load(x[n, h, j]) - means[j]), grad_x
                )
