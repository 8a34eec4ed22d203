"""A network in integers: the layers that the C code runs, and the file that they are stored in.

A value is ``scale * (q - zero_point)`` for an int8 ``q``. Every layer's output is a map
``(C, H, W)``; vectors are maps of one pixel.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from understudy.errors import UnderstudyError
from understudy.export.graph import Pair

IMAGE = "image"
"""Name of the raw image, uint8 ``[H, W, C]``."""

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """One layer.

    Attributes:
        name: unique.
        inputs: names of the operations it reads, or :data:`IMAGE`.
        shape: ``(C, H, W)`` of its output.
        scale, zero_point: of its output.
    """

    name: str
    inputs: tuple[str, ...]
    shape: Shape
    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Operation):
    """The image as int8.

    Attributes:
        table: int8 ``[C, 256]``, the value of every byte in every channel; ``None`` for
            ``byte - 128``, where the convolutions that read it apply the normalisation.
    """

    table: np.ndarray | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Operation):
    """A convolution, or a linear layer as one of a single pixel.

    The accumulator of output channel o is ``bias[o] + sum(q * weight[o])``; the zero point of the
    input is part of the bias.

    Attributes:
        weight: int8 ``[O, I / groups, kh, kw]``.
        bias: int32 ``[O]``.
        multiplier, shift: int32 and uint8 ``[O]``, from the accumulator to the output.
        border: int8 ``[I]``, what stands for zero outside of the map.
        wide: whether the output is int32 (the logits), which is neither shifted by
            ``zero_point`` nor clipped to eight bits.
    """

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    border: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    wide: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Window(Operation):
    """Something about the pixels of a window, channel by channel; padding is left out of it."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Window):
    """The largest value; scale and zero point are those of the input."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MeanPool(Window):
    """The mean.

    Attributes:
        counts_padding: whether the divisor is that of a window without padding everywhere.
        multiplier, shift: from a mean of the input to the output.
    """

    counts_padding: bool
    multiplier: int
    shift: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Operation):
    """An elementwise function.

    Attributes:
        table: int8 ``[256]``; entry ``q + 128`` is the output of ``q``.
    """

    table: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Operation):
    """The sum of two maps.

    Attributes:
        multipliers: of the two inputs.
        shift: of the sum of products.
    """

    multipliers: Pair
    shift: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Operation):
    """The product of two maps; the second may have one pixel, a factor for each channel.

    Attributes:
        multiplier, shift: from the product of integers to the output.
    """

    multiplier: int
    shift: int


OPERATIONS: Mapping[str, type[Operation]] = {
    kind.__name__: kind for kind in (Input, Convolution, MaxPool, MeanPool, Lookup, Sum, Product)
}


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Operations in the order in which they run; the first reads the image, the last one gives the
    logits.

    Attributes:
        image: ``(C, H, W)``.
        operations: each reads only operations before it.
        logit_scale: a logit is this times the int32 output.
    """

    image: Shape
    operations: tuple[Operation, ...]
    logit_scale: float

    @property
    def output(self) -> Operation:
        """The operation of the logits."""
        return self.operations[-1]

    def __getitem__(self, name: str) -> Operation:
        return next(one for one in self.operations if one.name == name)

    def sources(self, operation: Operation) -> list[Operation]:
        """The operations that one reads."""
        return [self[name] for name in operation.inputs if name != IMAGE]

    def to_bytes(self) -> bytes:
        """A safetensors file: the arrays, and everything else as one entry of JSON."""
        from safetensors.numpy import save

        arrays: dict[str, np.ndarray] = {}
        described = []
        for number, operation in enumerate(self.operations):
            values: dict[str, Any] = {"kind": type(operation).__name__}
            for field in fields(operation):
                value = getattr(operation, field.name)
                if isinstance(value, np.ndarray):
                    arrays[f"{number}.{field.name}"] = np.ascontiguousarray(value)
                else:
                    values[field.name] = value
            described.append(values)
        content = {
            "image": self.image,
            "logit_scale": self.logit_scale,
            "operations": described,
        }
        # One entry, because safetensors writes several in no fixed order.
        return save(arrays, {"understudy": json.dumps(content, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "IntegerNetwork":
        """The network in a safetensors file.

        Raises:
            UnderstudyError: if it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            content = json.loads(header["__metadata__"]["understudy"])
            operations = tuple(
                _operation(number, values, arrays)
                for number, values in enumerate(content["operations"])
            )
            network = cls(tuple(content["image"]), operations, float(content["logit_scale"]))
            check_order(network)
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise UnderstudyError(
                f"{where} is damaged: export it again with understudy export"
            ) from None
        return network


def _operation(number: int, values: Mapping[str, Any], arrays: Mapping[str, Any]) -> Operation:
    from pydantic import TypeAdapter

    kind = OPERATIONS[values["kind"]]
    own = {key: value for key, value in values.items() if key != "kind"}
    prefix = f"{number}."
    own |= {
        key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)
    }
    # The tuple is there because pydantic takes no settings next to a dataclass itself.
    adapter = TypeAdapter(tuple[kind], config={"arbitrary_types_allowed": True})  # type: ignore[valid-type]
    operation: Operation = adapter.validate_python((own,))[0]
    return operation


def check_order(network: IntegerNetwork) -> None:
    """Check that every operation reads only what is computed before it.

    Raises:
        ValueError: if one does not, or there is none.
    """
    known: Sequence[str] = [IMAGE]
    for operation in network.operations:
        if not set(operation.inputs) <= set(known) or operation.name in known:
            raise ValueError(operation.name)
        known = [*known, operation.name]
    if len(known) == 1:
        raise ValueError("no operations")
