"""A network as a short list of layers: what the page and the C code run, and what is fine-tuned.

The list is read from ``torch.export``, so it holds for any network made of the layers below, not
only for those of the zoo. Batch norm is folded into the layer before it, dropout is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

INPUT = "input"
"""Name of the normalised image, fp32 ``[N, C, H, W]``."""

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One operation.

    Attributes:
        name: unique in the graph: the module's path in the network, such as ``stage1.conv``.
        inputs: names of the layers it reads; :data:`INPUT` is the image.
        shape: of its output for one image: ``(C, H, W)``, or ``(K,)``.
    """

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(Layer):
    """Cross-correlation, zero padded; a batch norm after a max-pool is one of size 1x1.

    Attributes:
        weight: fp32 ``[O, I / groups, kh, kw]``.
        bias: fp32 ``[O]``.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Layer):
    """``x @ weight.T + bias`` of ``[N, I]``.

    Attributes:
        weight: fp32 ``[O, I]``.
        bias: fp32 ``[O]``.
    """

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Layer):
    """Maximum or mean of windows; padding never counts towards a maximum.

    Attributes:
        kind: ``max`` or ``avg``.
        counts_padding: whether a mean divides by the whole window at the border.
    """

    kind: str
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    counts_padding: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class GlobalPool(Layer):
    """Maximum or mean of each channel: ``(C, H, W)`` to ``(C,)``.

    Attributes:
        kind: ``max`` or ``avg``.
    """

    kind: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Activation(Layer):
    """An elementwise function.

    Attributes:
        kind: one of :data:`ACTIVATIONS`, as PyTorch defines them.
    """

    kind: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Layer):
    """The sum of two layers of one shape."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply(Layer):
    """The product of two layers: of one shape, or a map ``(C, H, W)`` and a factor ``(C,)`` for
    each channel (squeeze-excite), in this order."""


ACTIVATIONS = ("relu", "relu6", "hardswish", "hardsigmoid", "sigmoid", "silu")

_Layer = TypeVar("_Layer", bound=Layer)


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in the order in which they run; the last one gives the logits ``[N, K]``.

    Attributes:
        image: ``(C, H, W)`` of the input.
        layers: each reads only layers before it.
    """

    image: tuple[int, int, int]
    layers: tuple[Layer, ...] = field(default_factory=tuple)

    def __getitem__(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def output(self) -> Layer:
        """The layer of the logits."""
        return self.layers[-1]

    def of(self, kind: type[_Layer]) -> list[_Layer]:
        """All layers of one kind."""
        return [layer for layer in self.layers if isinstance(layer, kind)]

    def readers(self, name: str) -> list[Layer]:
        """The layers that read a layer."""
        return [layer for layer in self.layers if name in layer.inputs]

    def with_weights(self, weights: "dict[str, tuple[np.ndarray, np.ndarray]]") -> "Graph":
        """The same graph with other (weight, bias) of the named layers."""
        layers = [
            replace(layer, weight=weights[layer.name][0], bias=weights[layer.name][1])
            if isinstance(layer, Conv | Linear) and layer.name in weights
            else layer
            for layer in self.layers
        ]
        return Graph(self.image, tuple(layers))


def pair(value: int | Sequence[int]) -> Pair:
    """(vertical, horizontal) from a number or one or two numbers."""
    if isinstance(value, int):
        return value, value
    values = list(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])
