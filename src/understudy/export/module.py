"""A graph of layers as a torch module: the reference of what the page and the C code compute."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
}


class GraphModule(nn.Module):
    """Normalised images fp32 ``[N, C, H, W]`` to logits ``[N, K]``, layer by layer.

    Its parameters are named ``<layer>_weight`` and ``<layer>_bias``, dots replaced by underscores.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        for layer in (*graph.of(Conv), *graph.of(Linear)):
            for part in ("weight", "bias"):
                value = torch.from_numpy(getattr(layer, part).copy())
                self.register_parameter(self.key(layer, part), nn.Parameter(value))

    @staticmethod
    def key(layer: Layer, part: str) -> str:
        """Name of the parameter ``part`` (weight or bias) of a layer."""
        return f"{layer.name}_{part}".replace(".", "_")

    def weight(self, layer: Layer) -> Tensor:
        """The weight that ``layer`` uses now."""
        return self.get_parameter(self.key(layer, "weight"))

    def bias(self, layer: Layer) -> Tensor:
        """The bias that ``layer`` uses now."""
        return self.get_parameter(self.key(layer, "bias"))

    def observe(self, layer: Layer | None, value: Tensor) -> Tensor:
        """What takes the place of a layer's output (``None``: the image); here the output."""
        return value

    def forward(self, images: Tensor) -> Tensor:
        values = {INPUT: self.observe(None, images)}
        for layer in self.graph.layers:
            inputs = [values[name] for name in layer.inputs]
            values[layer.name] = self.observe(layer, self.apply_layer(layer, inputs))
        return values[self.graph.output.name]

    def apply_layer(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """The output of one layer."""
        x = inputs[0]
        match layer:
            case Conv():
                return F.conv2d(
                    x,
                    self.weight(layer),
                    self.bias(layer),
                    layer.stride,
                    layer.padding,
                    layer.dilation,
                    layer.groups,
                )
            case Linear():
                return F.linear(x, self.weight(layer), self.bias(layer))
            case Pool(kind="max"):
                return F.max_pool2d(x, layer.kernel, layer.stride, layer.padding)
            case Pool():
                return F.avg_pool2d(
                    x,
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    count_include_pad=layer.counts_padding,
                )
            case GlobalPool():
                return x.amax((2, 3)) if layer.kind == "max" else x.mean((2, 3))
            case Activation():
                return FUNCTIONS[layer.kind](x)
            case Add():
                return x + inputs[1]
            case Multiply():
                factor = inputs[1]
                return x * (factor if factor.dim() == x.dim() else factor[:, :, None, None])
        raise AssertionError(layer)
