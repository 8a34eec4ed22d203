"""From a graph in fp32 to a network in integers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.errors import UnderstudyError
from understudy.export.graph import (
    INPUT,
    Activation,
    Add,
    Conv,
    GlobalPool,
    Graph,
    Layer,
    Linear,
    Multiply,
    Pool,
)
from understudy.export.int8.calibration import Range
from understudy.export.int8.fixed import fixed_point, fixed_points
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
    Shape,
    Sum,
)
from understudy.models.normalisation import Normalisation

LARGEST = 2**31 - 1
LOGIT_STEPS = 2**16
"""Steps between zero and the largest logit that calibration saw."""
MOST_PIXELS = 2**23
"""Of a window of which the mean is taken: the sum of so many fits into int32."""


@dataclass(frozen=True)
class Steps:
    """``scale * (q - zero_point)``."""

    scale: float
    zero_point: int

    @classmethod
    def of(cls, span: Range) -> "Steps":
        """255 steps over a range; 0 is one of them."""
        scale = (span.high - span.low) / 255
        if scale == 0 or not math.isfinite(1 / scale):
            return cls(1.0, -128)
        return cls(scale, max(-128, min(127, -128 - round(span.low / scale))))

    def quantise(self, values: np.ndarray) -> np.ndarray:
        """int8 of real values, clipped to the range."""
        steps = np.rint(values / self.scale) + self.zero_point
        return steps.clip(-128, 127).astype(np.int8)


def quantise(
    graph: Graph, normalisation: Normalisation, ranges: Mapping[str, Range]
) -> IntegerNetwork:
    """The network in integers.

    A ReLU takes no time where the layer before it, or before the max-pools before it, has no other
    reader: that layer's range begins at 0, so that clipping to int8 is the ReLU.

    Args:
        graph: in fp32.
        normalisation: of its input; part of the first convolutions afterwards.
        ranges: see :func:`~understudy.export.int8.calibration.calibrate`.

    Raises:
        UnderstudyError: naming the layer, if its sums do not fit into 32 bits.
    """
    return _Quantiser(graph, normalisation, ranges).run()


class _Quantiser:
    """``self.names`` maps each layer to the operation that has its value."""

    def __init__(
        self, graph: Graph, normalisation: Normalisation, ranges: Mapping[str, Range]
    ) -> None:
        self.graph, self.normalisation, self.ranges = graph, normalisation, ranges
        self.operations: dict[str, Operation] = {}
        self.names: dict[str, str] = {}
        self.absorbed: set[str] = set()
        self.folds = all(isinstance(layer, Conv) for layer in graph.readers(INPUT))

    def run(self) -> IntegerNetwork:
        self._read_image()
        for layer in self.graph.layers:
            if layer.name in self.absorbed:
                self.names[layer.name] = self.names[layer.inputs[0]]
                continue
            # A layer may have any name, so an operation's is that with its number in front.
            name = f"{len(self.operations)} {layer.name}"
            sources = [self._source(name) for name in layer.inputs]
            self.operations[name] = self._operation(layer, name, sources)
            self.names[layer.name] = name
        output = self.operations[self.names[self.graph.output.name]]
        return IntegerNetwork(self.graph.image, tuple(self.operations.values()), output.scale)

    def _source(self, name: str) -> Operation:
        return self.operations[self.names[name]]

    def _read_image(self) -> None:
        name = f"0 {INPUT}"
        steps, table = Steps(1 / 255, -128), None
        if not self.folds:
            mean, std = (np.array(part)[:, None] for part in self._mean_and_std())
            steps = Steps.of(self.ranges[INPUT])
            table = steps.quantise((np.arange(256)[None] / 255 - mean) / std)
        self.operations[name] = Input(
            name=name,
            inputs=(IMAGE,),
            shape=self.graph.image,
            scale=steps.scale,
            zero_point=steps.zero_point,
            table=table,
        )
        self.names[INPUT] = name

    def _mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.normalisation.mean, self.normalisation.std

    # -- ranges --------------------------------------------------------------------------------

    def _steps(self, layer: Layer) -> Steps:
        """Of the output of a layer that chooses its own; absorbs the ReLUs behind it."""
        last = layer
        while True:
            readers = self.graph.readers(last.name)
            if len(readers) != 1 or not (_is_relu(readers[0]) or _is_maximum(readers[0])):
                break
            last = readers[0]
            if _is_relu(last):
                self.absorbed.add(last.name)
        return Steps.of(self.ranges[last.name])

    # -- layers --------------------------------------------------------------------------------

    def _operation(self, layer: Layer, name: str, sources: list[Operation]) -> Operation:
        shape = _shape(layer)
        source = sources[0]
        inputs = tuple(one.name for one in sources)
        match layer:
            case Conv() | Linear():
                return self._convolution(layer, name, source)
            case Pool(kind="max") | GlobalPool(kind="max"):
                kernel, stride, padding = _window(layer, source.shape)
                return MaxPool(
                    name=name,
                    inputs=inputs,
                    shape=shape,
                    scale=source.scale,
                    zero_point=source.zero_point,
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                )
        steps = self._steps(layer)
        common: dict[str, Any] = {
            "name": name,
            "inputs": inputs,
            "shape": shape,
            "scale": steps.scale,
            "zero_point": steps.zero_point,
        }
        match layer:
            case Pool() | GlobalPool():
                kernel, stride, padding = _window(layer, source.shape)
                if kernel[0] * kernel[1] > MOST_PIXELS:
                    raise UnderstudyError(f"layer {layer.name} averages too many pixels for C")
                multiplier, shift = fixed_point(source.scale / steps.scale)
                return MeanPool(
                    **common,
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                    counts_padding=isinstance(layer, GlobalPool) or layer.counts_padding,
                    multiplier=multiplier,
                    shift=shift,
                )
            case Activation():
                return Lookup(**common, table=_table(layer.kind, source, steps))
            case Add():
                first, second = (one.scale / steps.scale for one in sources)
                multipliers, shift = common_shift(first, second)
                return Sum(**common, multipliers=multipliers, shift=shift)
            case Multiply():
                factor = sources[0].scale * sources[1].scale / steps.scale
                multiplier, shift = fixed_point(factor)
                return Product(**common, multiplier=multiplier, shift=shift)
        raise AssertionError(layer)

    def _convolution(self, layer: Conv | Linear, name: str, source: Operation) -> Convolution:
        is_output = layer is self.graph.output
        steps = self._logit_steps(layer) if is_output else self._steps(layer)
        weight = layer.weight.astype(np.float64).reshape(*layer.weight.shape[:2], *_kernel(layer))
        groups = layer.groups if isinstance(layer, Conv) else 1
        # Where zero is in each input channel, in integers that need not be whole for the image.
        zero = np.full(source.shape[0], float(source.zero_point))
        if isinstance(self.operations[source.name], Input) and self.folds:
            mean, std = (np.array(part) for part in self._mean_and_std())
            weight = weight / _per_group(std, weight.shape[0], groups)[:, :, None, None]
            zero = 255 * mean - 128
        integers, scale = quantise_weight(weight, layer.bias, source.scale)
        offset = integers.sum((2, 3), dtype=np.int64) * _per_group(zero, len(integers), groups)
        bias = np.rint(layer.bias.astype(np.float64) / (scale * source.scale) - offset.sum(1))
        reach = np.abs(bias) + 128 * np.abs(integers.astype(np.int64)).sum((1, 2, 3))
        if reach.max() > LARGEST:
            raise UnderstudyError(f"layer {layer.name} needs sums of more than 32 bits")
        multiplier, shift = fixed_points(scale * source.scale / steps.scale)
        geometry: dict[str, Any] = {}
        if isinstance(layer, Conv):
            geometry = {
                "stride": layer.stride,
                "padding": layer.padding,
                "dilation": layer.dilation,
                "groups": groups,
            }
        return Convolution(
            name=name,
            inputs=(source.name,),
            shape=_shape(layer),
            scale=steps.scale,
            zero_point=steps.zero_point,
            weight=integers,
            bias=bias.astype(np.int32),
            multiplier=multiplier,
            shift=shift,
            border=np.rint(zero).clip(-128, 127).astype(np.int8),
            wide=is_output,
            **geometry,
        )

    def _logit_steps(self, layer: Layer) -> Steps:
        """32 bits for the logits: two classes in one step of eight bits would be a draw."""
        span = self.ranges[layer.name]
        return Steps(max(span.high, -span.low, 1e-6) / LOGIT_STEPS, 0)


def quantise_weight(
    weight: np.ndarray, bias: np.ndarray, input_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights ``[O, I, kh, kw]`` in [-127, 127] and the scale ``[O]`` of each channel.

    The scale of a channel that hardly depends on its input is so large that its bias fits.
    """
    largest = np.abs(weight).max((1, 2, 3))
    for_bias = np.abs(bias.astype(np.float64)) / (input_scale * 2**30)
    scale = np.maximum(np.maximum(largest / 127, for_bias), 1e-30)
    return np.rint(weight / scale[:, None, None, None]).astype(np.int8), scale


def common_shift(first: float, second: float, bits: int = 20) -> tuple[tuple[int, int], int]:
    """Multipliers of two factors under one shift: sums of two int8 times them fit into int32."""
    _, shift = fixed_point(max(first, second), bits)
    shift = min(shift, 30)
    return (round(first * 2.0**shift), round(second * 2.0**shift)), shift


def _table(kind: str, source: Operation, steps: Steps) -> np.ndarray:
    x = source.scale * (np.arange(-128, 128) - source.zero_point)
    return steps.quantise(_function(kind, x))


def _function(kind: str, x: np.ndarray) -> np.ndarray:
    hard = np.clip(x + 3, 0, 6) / 6
    soft = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    functions = {
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "hardsigmoid": hard,
        "hardswish": x * hard,
        "sigmoid": soft,
        "silu": x * soft,
    }
    return functions[kind]


def _is_relu(layer: Layer) -> bool:
    return isinstance(layer, Activation) and layer.kind in ("relu", "relu6")


def _is_maximum(layer: Layer) -> bool:
    return isinstance(layer, Pool | GlobalPool) and layer.kind == "max"


def _shape(layer: Layer) -> Shape:
    channels, height, width = (*layer.shape, 1, 1)[:3]
    return channels, height, width


def _kernel(layer: Conv | Linear) -> tuple[int, int]:
    return layer.weight.shape[2:] if isinstance(layer, Conv) else (1, 1)


def _window(
    layer: Pool | GlobalPool, shape: Shape
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding."""
    if isinstance(layer, GlobalPool):
        return shape[1:], (1, 1), (0, 0)
    return layer.kernel, layer.stride, layer.padding


def _per_group(values: np.ndarray, outputs: int, groups: int) -> np.ndarray:
    """A value of each input channel as that of every weight: ``[I]`` to ``[O, I / groups]``."""
    return np.repeat(values.reshape(groups, -1), outputs // groups, axis=0)
