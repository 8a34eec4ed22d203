"""The C files of a network in integers."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from understudy.export.c.arena import Arena, Buffer, plan
from understudy.export.c.names import c_comment
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
from understudy.export.int8.reference import is_wide

_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}


@dataclass(frozen=True)
class Call:
    """A line of ``student_classify``: C text, and what it is."""

    text: str
    comment: str


@dataclass(frozen=True, eq=False)
class Program:
    """What the templates need.

    Attributes:
        calls: in order.
        weights: text of ``student_weights.c``, with all constants.
        declarations: text of ``student_weights.h``.
        arena: the plan of the memory.
        constants: bytes of weights and tables.
        macs: multiply-accumulates of one image.
    """

    calls: tuple[Call, ...]
    weights: str
    declarations: str
    arena: Arena
    constants: int
    macs: int


def emit(network: IntegerNetwork) -> Program:
    """The C text of a network."""
    arena = plan(list(_buffers(network)))
    writer = _Writer(network, arena)
    for number, operation in enumerate(network.operations):
        writer.write(number, operation)
    return Program(
        calls=tuple(writer.calls),
        weights="\n".join(['#include "student_weights.h"\n', *writer.definitions]),
        declarations="\n".join(
            [
                "#ifndef STUDENT_WEIGHTS_H\n#define STUDENT_WEIGHTS_H\n",
                '#include "student_kernels.h"\n',
                *writer.declarations,
                "\n#endif\n",
            ]
        ),
        arena=arena,
        constants=writer.constants,
        macs=sum(
            one.weight[0].size * math.prod(one.shape)
            for one in network.operations
            if isinstance(one, Convolution)
        ),
    )


def _buffers(network: IntegerNetwork) -> Iterator[Buffer]:
    """The outputs, each until its last reader, and the windows of the convolutions."""
    last = {one.name: number for number, one in enumerate(network.operations)}
    for number, operation in enumerate(network.operations):
        for name in operation.inputs:
            last[name] = number
    for number, operation in enumerate(network.operations):
        if not is_wide(operation):
            size = math.prod(operation.shape)
            yield Buffer(operation.name, size, number, last[operation.name])
        if isinstance(operation, Convolution) and needs_window(operation):
            depthwise = is_depthwise(operation)
            channels = len(operation.border) if depthwise else operation.weight.shape[1]
            size = math.prod(operation.weight.shape[2:]) * channels
            yield Buffer(_window(operation), size, number, number)


def is_depthwise(operation: Convolution) -> bool:
    """Whether each group has one input channel: the weights are in another order then."""
    return operation.groups > 1 and operation.weight.shape[1] == 1


def needs_window(operation: Convolution) -> bool:
    """Whether a window's pixels do not already follow each other in memory."""
    return operation.weight.shape[2:] != (1, 1) or operation.padding != (0, 0)


def _window(operation: Operation) -> str:
    return f"{operation.name} window"


class _Writer:
    def __init__(self, network: IntegerNetwork, arena: Arena) -> None:
        self.network, self.arena = network, arena
        self.calls: list[Call] = []
        self.definitions: list[str] = []
        self.declarations: list[str] = []
        self.constants = 0

    def write(self, number: int, operation: Operation) -> None:
        layer, out = f"student_layer_{number}", self._at(operation.name)
        sources = self.network.sources(operation)
        inputs = [self._at(name) for name in operation.inputs]
        match operation:
            case Input():
                text = self._image(operation, layer, out)
            case Convolution():
                self._convolution(operation, number, sources[0])
                if operation.wide:
                    text = f"student_linear_wide(&{layer}, {inputs[0]}, logits)"
                else:
                    scratch = self._at(_window(operation)) if needs_window(operation) else "NULL"
                    text = f"student_convolve(&{layer}, {inputs[0]}, {scratch}, {out})"
            case MaxPool() | MeanPool():
                kind = "max" if isinstance(operation, MaxPool) else "mean"
                self._pooling(operation, layer, sources[0])
                text = f"student_{kind}_pool(&{layer}, {inputs[0]}, {out})"
            case Lookup():
                self._array(layer, operation.table, public=True)
                count = math.prod(operation.shape)
                text = f"student_lookup({layer}, {count}, {inputs[0]}, {out})"
            case Sum() | Product():
                kind = "add" if isinstance(operation, Sum) else "multiply"
                self._pair(operation, layer, sources)
                text = f"student_{kind}(&{layer}, {inputs[0]}, {inputs[1]}, {out})"
            case _:
                raise AssertionError(operation)
        self.calls.append(Call(text, c_comment(operation.name.partition(" ")[2])))
        if operation is self.network.output and not is_wide(operation):
            count, zero = math.prod(operation.shape), operation.zero_point
            text = f"student_widen({zero}, {count}, {out}, logits)"
            self.calls.append(Call(text, "logits"))

    def _at(self, name: str) -> str:
        if name == IMAGE:
            return "rgb"
        return f"arena + {self.arena.offsets[name]}" if name in self.arena.offsets else "logits"

    # -- constants -----------------------------------------------------------------------------

    def _array(self, name: str, values: np.ndarray, public: bool = False) -> None:
        flat = values.ravel()
        kind = f"const {_TYPES[flat.dtype.name]} {name}[{flat.size}]"
        rows = [", ".join(map(str, flat[at : at + 16])) for at in range(0, flat.size, 16)]
        body = ",\n    ".join(rows)
        self.definitions.append(f"{'' if public else 'static '}{kind} = {{\n    {body}\n}};\n")
        if public:
            self.declarations.append(f"extern {kind};")
        self.constants += flat.nbytes

    def _struct(self, kind: str, name: str, values: Iterable[tuple[str, object]]) -> None:
        body = "".join(f"    .{key} = {value},\n" for key, value in values)
        self.definitions.append(f"const {kind} {name} = {{\n{body}}};\n")
        self.declarations.append(f"extern const {kind} {name};")

    def _image(self, operation: Input, layer: str, out: str) -> str:
        channels, height, width = operation.shape
        if operation.table is None:
            return f"student_centre({channels * height * width}, rgb, {out})"
        self._array(layer, operation.table, public=True)
        return f"student_lookup_image({layer}, {height * width}, {channels}, rgb, {out})"

    def _convolution(self, operation: Convolution, number: int, source: Operation) -> None:
        order = (2, 3, 0, 1) if is_depthwise(operation) else (0, 2, 3, 1)
        arrays = {
            "weight": operation.weight.transpose(order),
            "bias": operation.bias,
            "multiplier": operation.multiplier,
            "shift": operation.shift,
        }
        if operation.padding != (0, 0):
            arrays["border"] = operation.border
        for key, values in arrays.items():
            self._array(f"{key}_{number}", values)
        self._struct(
            "student_convolution",
            f"student_layer_{number}",
            [
                *_sizes("in", source.shape, "in_channels"),
                *_sizes("out", operation.shape, "out_channels"),
                *_both("kernel_height", "kernel_width", operation.weight.shape[2:]),
                *_both("stride_y", "stride_x", operation.stride),
                *_both("padding_y", "padding_x", operation.padding),
                *_both("dilation_y", "dilation_x", operation.dilation),
                ("groups", operation.groups),
                ("zero_point", operation.zero_point),
                *((key, f"{key}_{number}") for key in arrays),
            ],
        )

    def _pooling(self, operation: MaxPool | MeanPool, layer: str, source: Operation) -> None:
        values: list[tuple[str, object]] = [
            *_sizes("in", source.shape, "channels"),
            *_sizes("out", operation.shape, "")[:2],
            *_both("kernel_height", "kernel_width", operation.kernel),
            *_both("stride_y", "stride_x", operation.stride),
            *_both("padding_y", "padding_x", operation.padding),
        ]
        if isinstance(operation, MeanPool):
            values += [
                ("counts_padding", int(operation.counts_padding)),
                ("in_zero_point", source.zero_point),
                ("zero_point", operation.zero_point),
                ("multiplier", operation.multiplier),
                ("shift", operation.shift),
            ]
        self._struct("student_pooling", layer, values)

    def _pair(self, operation: Sum | Product, layer: str, sources: list[Operation]) -> None:
        pair = operation.multipliers if isinstance(operation, Sum) else (operation.multiplier, 0)
        values = [
            ("pixels", math.prod(operation.shape[1:])),
            ("channels", operation.shape[0]),
            ("right_pixels", math.prod(sources[1].shape[1:])),
            ("left_zero_point", sources[0].zero_point),
            ("right_zero_point", sources[1].zero_point),
            ("zero_point", operation.zero_point),
            *_both("left_multiplier", "right_multiplier", pair),
            ("shift", operation.shift),
        ]
        self._struct("student_pair", layer, values)


def _sizes(side: str, shape: tuple[int, int, int], channels: str) -> list[tuple[str, object]]:
    return [(f"{side}_height", shape[1]), (f"{side}_width", shape[2]), (channels, shape[0])]


def _both(first: str, second: str, values: tuple[int, ...]) -> list[tuple[str, object]]:
    return [(first, values[0]), (second, values[1])]
