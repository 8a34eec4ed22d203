"""What the C code computes, bit for bit: integer arithmetic on many images at once.

Sums of products run as float64, which is exact: none comes near ``2**53``.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.export.int8.network import (
    IMAGE,
    Convolution,
    Input,
    IntegerNetwork,
    Lookup,
    MaxPool,
    MeanPool,
    Operation,
    Product,
    Sum,
)

LOWEST, HIGHEST = -128, 127


def run(network: IntegerNetwork, images: np.ndarray) -> np.ndarray:
    """The logits in integers.

    Args:
        network: the operations.
        images: uint8 ``[N, C, H, W]``.

    Returns:
        int32 ``[N, K]``.
    """
    values = {IMAGE: torch.from_numpy(np.ascontiguousarray(images)).to(torch.int64)}
    with torch.no_grad():
        for operation in network.operations:
            inputs = [values[name] for name in operation.inputs]
            values[operation.name] = apply(operation, inputs, network.sources(operation))
    output = values[network.output.name].flatten(1)
    if not is_wide(network.output):
        output = output - network.output.zero_point
    return output.to(torch.int32).numpy()


def is_wide(operation: Operation) -> bool:
    """Whether the output is int32."""
    return isinstance(operation, Convolution) and operation.wide


def apply(operation: Operation, inputs: list[Tensor], sources: list[Operation]) -> Tensor:
    """The output of one operation, int64 ``[N, C, H, W]`` with values of int8."""
    x = inputs[0]
    match operation:
        case Input(table=None):
            return x - 128
        case Input():
            table = torch.from_numpy(operation.table).to(torch.int64)
            channels = torch.arange(x.shape[1]).view(1, -1, 1, 1)
            return table[channels, x]
        case Convolution():
            return _convolve(operation, x)
        case MaxPool():
            pooled = F.max_pool2d(x.double(), operation.kernel, operation.stride, operation.padding)
            return pooled.to(torch.int64)
        case MeanPool():
            return _average(operation, x - sources[0].zero_point)
        case Lookup():
            return torch.from_numpy(operation.table).to(torch.int64)[x + 128]
        case Sum():
            left, right = (x - s.zero_point for x, s in zip(inputs, sources, strict=True))
            total = left * operation.multipliers[0] + right * operation.multipliers[1]
            return _clip(_shift(total, operation.shift), operation.zero_point)
        case Product():
            left, right = (x - s.zero_point for x, s in zip(inputs, sources, strict=True))
            total = left * right * operation.multiplier
            return _clip(_shift(total, operation.shift), operation.zero_point)
    raise AssertionError(operation)


def _convolve(operation: Convolution, x: Tensor) -> Tensor:
    vertical, horizontal = operation.padding
    if vertical or horizontal:
        border = torch.from_numpy(operation.border).to(torch.int64).view(1, -1, 1, 1)
        x = F.pad(x - border, (horizontal, horizontal, vertical, vertical)) + border
    weight = torch.from_numpy(operation.weight).double()
    sums = F.conv2d(
        x.double(), weight, None, operation.stride, 0, operation.dilation, operation.groups
    ).to(torch.int64)
    bias, multiplier, shift = (
        torch.from_numpy(part).to(torch.int64).view(1, -1, 1, 1)
        for part in (operation.bias, operation.multiplier, operation.shift)
    )
    result = _shift((sums + bias) * multiplier, shift)
    if operation.wide:
        return result.clamp(-(2**31), 2**31 - 1)
    return _clip(result, operation.zero_point)


def _average(operation: MeanPool, x: Tensor) -> Tensor:
    """``sum * multiplier / (count << shift)``, rounded once."""
    area = operation.kernel[0] * operation.kernel[1]
    arguments = (operation.kernel, operation.stride, operation.padding)
    sums = F.avg_pool2d(x.double(), *arguments, divisor_override=1).round().to(torch.int64)
    count = torch.full_like(sums[:1, :1], area)
    if not operation.counts_padding:
        inside = torch.ones_like(x[:1, :1]).double()
        count = F.avg_pool2d(inside, *arguments, divisor_override=1).round().to(torch.int64)
    product, divisor = sums * operation.multiplier, count << operation.shift
    magnitude = (product.abs() + (divisor >> 1)) // divisor
    return _clip(magnitude * product.sign(), operation.zero_point)


def _shift(value: Tensor, shift: Tensor | int) -> Tensor:
    """``value / 2**shift``, rounded to the nearest, halves away from zero."""
    shift = torch.as_tensor(shift)
    half = torch.ones((), dtype=torch.int64) << (shift - 1)
    return ((value.abs() + half) >> shift) * value.sign()


def _clip(value: Tensor, zero_point: int) -> Tensor:
    return (value + zero_point).clamp(LOWEST, HIGHEST)
