"""From a torch network to a :class:`~understudy.export.graph.Graph`."""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from understudy.data.spec import ImageSpec
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
    pair,
)
from understudy.models.modes import evaluating

_aten = torch.ops.aten
_ACTIVATIONS = {
    _aten.relu.default: "relu",
    _aten.relu_.default: "relu",
    _aten.relu6.default: "relu6",
    _aten.hardswish.default: "hardswish",
    _aten.hardswish_.default: "hardswish",
    _aten.hardsigmoid.default: "hardsigmoid",
    _aten.sigmoid.default: "sigmoid",
    _aten.silu.default: "silu",
    _aten.silu_.default: "silu",
}


def trace(network: nn.Module, image: ImageSpec) -> Graph:
    """The layers of a network that maps normalised images ``[N, C, H, W]`` to logits ``[N, K]``.

    Raises:
        UnderstudyError: naming the layer, for an operation that no layer of the graph has.
    """
    with evaluating(network), torch.no_grad():
        batch = torch.export.Dim("batch", min=1, max=2**16)
        program = torch.export.export(
            _Plain(network),
            (torch.zeros(2, *image.shape),),
            dynamic_shapes=({0: batch},),
            strict=False,
        )
        return _Reader(program, image).read()


class _Plain(nn.Module):
    """The network without the class around it, whose ``forward`` may be anything."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        result = self.network(images)
        logits: Tensor = getattr(result, "logits", result)
        return logits


class _Reader:
    """Reads the nodes in order; ``self.names`` maps each node to the layer that has its value."""

    def __init__(self, program: torch.export.ExportedProgram, image: ImageSpec) -> None:
        self.program, self.image = program, image
        self.layers: dict[str, Layer] = {}
        self.names: dict[Node, str] = {}
        signature = program.graph_signature
        tensors = {**program.state_dict, **program.constants}
        targets = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.tensors = {name: tensors[target] for name, target in targets.items()}

    def read(self) -> Graph:
        output = ""
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name not in self.tensors:
                self.names[node] = INPUT
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                output = self.names[node.args[0][0]]
        used = _reaching(self.layers, output)
        layers = tuple(layer for layer in self.layers.values() if layer.name in used)
        if not layers or layers[-1].name != output or len(layers[-1].shape) != 1:
            raise UnderstudyError("the network does not end in logits [N, K]")
        return Graph(self.image.shape, layers)

    def _call(self, node: Node) -> None:
        target: Any = node.target
        if target in _ACTIVATIONS:
            self._add(node, Activation, kind=_ACTIVATIONS[target])
        elif target in _READERS:
            _READERS[target](self, node)
        elif target not in (_aten.sym_size.int, operator.getitem, operator.mul):
            raise self._unknown(node)

    # -- reading arguments ---------------------------------------------------------------------

    def argument(self, node: Node, name: str, default: Any = None) -> Any:
        """The value of an argument, given by position or by name."""
        names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
        position = names.index(name)
        if position < len(node.args):
            return node.args[position]
        return node.kwargs.get(name, default)

    def array(self, node: Any) -> np.ndarray:
        """A parameter, buffer or constant as fp32."""
        tensor: Tensor = self.tensors[node.name]
        return tensor.detach().to("cpu", torch.float32).contiguous().numpy()

    def is_constant(self, node: Any) -> bool:
        return isinstance(node, Node) and node.name in self.tensors

    # -- adding layers -------------------------------------------------------------------------

    def _add(
        self, node: Node, layer: type[Layer], inputs: tuple[Any, ...] = (), **values: Any
    ) -> None:
        sources = inputs or (node.args[0],)
        name = self._name(node)
        shape = tuple(int(size) for size in node.meta["val"].shape[1:])
        if all(len(self._shape_of(source)) == 1 for source in sources):
            shape = shape[:1]  # pooled to one pixel: a vector, whatever PyTorch calls it
        self.layers[name] = layer(
            name=name,
            inputs=tuple(self.names[source] for source in sources),
            shape=shape,
            **values,
        )
        self.names[node] = name

    def _same(self, node: Node) -> None:
        """The node's value is that of its input, perhaps of another shape."""
        self.names[node] = self.names[node.args[0]]  # type: ignore[index]

    def _shape_of(self, node: Any) -> tuple[int, ...]:
        """Of the layer that has the node's value."""
        name = self.names[node]
        return self.image.shape if name == INPUT else self.layers[name].shape

    def _name(self, node: Node) -> str:
        """The path of the module, and the operation if the module has several."""
        stack = node.meta.get("nn_module_stack") or {}
        path = next(reversed([value[0] for value in stack.values()]), "") if stack else ""
        path = path.removeprefix("network").removeprefix(".")
        base = path or node.name
        kinds = (_aten.conv2d.default, _aten.linear.default, _aten.batch_norm.default)
        if node.target not in kinds:
            base = f"{path}.{node.name}" if path else node.name
        name, number = base, 2
        while name in self.layers:
            name, number = f"{base}.{number}", number + 1
        return name

    def _unknown(self, node: Node) -> UnderstudyError:
        operation = str(node.target).removeprefix("aten.").rpartition(".")[0] or str(node.target)
        return UnderstudyError(
            f"layer {self._name(node)} uses the operation {operation}, which the formats "
            "c and hub do not have: export to onnx, openvino or executorch instead"
        )

    # -- one method per operation --------------------------------------------------------------

    def conv(self, node: Node) -> None:
        weight = self.array(node.args[1])
        bias = self.argument(node, "bias")
        bias = np.zeros(len(weight), np.float32) if bias is None else self.array(bias)
        padding = self.argument(node, "padding", (0, 0))
        if isinstance(padding, str):
            raise self._unknown(node)
        if len(self._shape_of(node.args[0])) == 1:
            self._pointwise(node, weight, bias)
            return
        self._add(
            node,
            Conv,
            weight=weight,
            bias=bias,
            stride=pair(self.argument(node, "stride", (1, 1))),
            padding=pair(padding),
            dilation=pair(self.argument(node, "dilation", (1, 1))),
            groups=self.argument(node, "groups", 1),
        )

    def _pointwise(self, node: Node, weight: np.ndarray, bias: np.ndarray) -> None:
        """A 1x1 convolution of a vector (squeeze-excite) is a linear layer."""
        count, inputs, *kernel = weight.shape
        if kernel != [1, 1] or self.argument(node, "groups", 1) != 1:
            raise self._unknown(node)
        self._add(node, Linear, weight=weight.reshape(count, inputs), bias=bias)

    def linear(self, node: Node) -> None:
        weight = self.array(node.args[1])
        bias = self.argument(node, "bias")
        bias = np.zeros(len(weight), np.float32) if bias is None else self.array(bias)
        self._add(node, Linear, weight=weight, bias=bias)

    def batch_norm(self, node: Node) -> None:
        """Fold into the convolution before it, or make a 1x1 depthwise one."""
        mean = self.array(self.argument(node, "running_mean")).astype(np.float64)
        variance = self.array(self.argument(node, "running_var")).astype(np.float64)
        weight, bias = self.argument(node, "weight"), self.argument(node, "bias")
        scale = 1 / np.sqrt(variance + self.argument(node, "eps"))
        if weight is not None:
            scale = scale * self.array(weight)
        shift = -mean * scale
        if bias is not None:
            shift = shift + self.array(bias)
        source: Any = node.args[0]
        if self._folds(source):
            self._scale(source, scale, shift)
            self._same(node)
            return
        count = len(scale)
        self._add(
            node,
            Conv,
            weight=scale.astype(np.float32).reshape(count, 1, 1, 1),
            bias=shift.astype(np.float32),
            groups=count,
        )

    def _folds(self, source: Node) -> bool:
        layer = self.layers.get(self.names[source])
        return isinstance(layer, Conv | Linear) and len(source.users) == 1

    def _scale(self, source: Node, scale: np.ndarray, shift: np.ndarray | float) -> None:
        """Multiply and shift the output of a convolution or linear layer, channel by channel."""
        layer = self.layers[self.names[source]]
        assert isinstance(layer, Conv | Linear)
        factors = scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        self.layers[layer.name] = replace(
            layer,
            weight=(layer.weight * factors).astype(np.float32),
            bias=(layer.bias * scale + shift).astype(np.float32),
        )

    def pool(self, node: Node, kind: str) -> None:
        kernel = pair(self.argument(node, "kernel_size"))
        stride = self.argument(node, "stride", ()) or kernel
        if self.argument(node, "ceil_mode", False) or pair(self._optional(node, "dilation")) != (
            1,
            1,
        ):
            raise self._unknown(node)
        self._add(
            node,
            Pool,
            kind=kind,
            kernel=kernel,
            stride=pair(stride),
            padding=pair(self.argument(node, "padding", (0, 0))),
            counts_padding=kind == "max" or bool(self.argument(node, "count_include_pad", True)),
        )

    def _optional(self, node: Node, name: str) -> Any:
        names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
        return self.argument(node, name, (1, 1)) if name in names else (1, 1)

    def adaptive(self, node: Node) -> None:
        if pair(self.argument(node, "output_size")) != (1, 1):
            raise self._unknown(node)
        self._global(node, "avg")

    def reduce(self, node: Node, kind: str) -> None:
        axes = self.argument(node, "dim")
        axes = [axes] if isinstance(axes, int) else list(axes)
        rank = node.args[0].meta["val"].ndim  # type: ignore[union-attr]
        if rank != 4 or sorted(axis % rank for axis in axes) != [2, 3]:
            raise self._unknown(node)
        self._global(node, kind)

    def _global(self, node: Node, kind: str) -> None:
        channels = int(node.args[0].meta["val"].shape[1])  # type: ignore[union-attr]
        name = self._name(node)
        source = self.names[node.args[0]]  # type: ignore[index]
        self.layers[name] = GlobalPool(name=name, inputs=(source,), shape=(channels,), kind=kind)
        self.names[node] = name

    def flatten(self, node: Node) -> None:
        """Only of ``[N, C, 1, 1]``: a linear layer on a map would depend on the order in memory."""
        if len(self._shape_of(node.args[0])) != 1:
            raise self._unknown(node)
        self._same(node)

    def add(self, node: Node) -> None:
        left, right = node.args[:2]
        if node.kwargs.get("alpha", 1) != 1 or not self._are_layers(left, right):
            raise self._unknown(node)
        self._add(node, Add, (left, right))

    def multiply(self, node: Node) -> None:
        left, right = node.args[:2]
        if isinstance(right, int | float):
            source: Any = left
            if not self._folds(source):
                raise self._unknown(node)
            layer = self.layers[self.names[source]]
            self._scale(source, np.full(layer.shape[0], float(right)), 0.0)
            self._same(node)
            return
        if not self._are_layers(left, right):
            raise self._unknown(node)
        if len(self._shape_of(left)) == 1:
            left, right = right, left
        self._add(node, Multiply, (left, right))

    def _are_layers(self, *nodes: Any) -> bool:
        return all(isinstance(node, Node) and node in self.names for node in nodes)


def _reaching(layers: dict[str, Layer], output: str) -> set[str]:
    """The layers that the output depends on."""
    found: set[str] = set()
    pending = [output]
    while pending:
        name = pending.pop()
        if name in layers and name not in found:
            found.add(name)
            pending.extend(layers[name].inputs)
    return found


_READERS: dict[Any, Callable[[_Reader, Node], None]] = {
    _aten.conv2d.default: _Reader.conv,
    _aten.conv2d.padding: _Reader.conv,
    _aten.linear.default: _Reader.linear,
    _aten.batch_norm.default: _Reader.batch_norm,
    _aten.max_pool2d.default: lambda reader, node: reader.pool(node, "max"),
    _aten.avg_pool2d.default: lambda reader, node: reader.pool(node, "avg"),
    _aten.adaptive_avg_pool2d.default: _Reader.adaptive,
    _aten.mean.dim: lambda reader, node: reader.reduce(node, "avg"),
    _aten.amax.default: lambda reader, node: reader.reduce(node, "max"),
    _aten.flatten.using_ints: _Reader.flatten,
    _aten.add.Tensor: _Reader.add,
    _aten.add_.Tensor: _Reader.add,
    _aten.mul.Tensor: _Reader.multiply,
    _aten.dropout.default: _Reader._same,
    _aten.dropout_.default: _Reader._same,
}
