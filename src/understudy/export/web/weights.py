"""A graph as the page reads it: a list of layers in JSON, and the weights as bytes."""

import base64
import zlib
from typing import Any

import numpy as np

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

_OPERATIONS = {
    Conv: "conv",
    Linear: "linear",
    Pool: "pool",
    GlobalPool: "global_pool",
    Activation: "activation",
    Add: "add",
    Multiply: "multiply",
}
_FIELDS = ("stride", "padding", "dilation", "groups", "kind", "kernel", "counts_padding")


def layers_and_weights(graph: Graph) -> tuple[list[dict[str, Any]], bytes]:
    """What ``kernels.js`` runs.

    Returns:
        One object per layer, whose ``inputs`` are 0 for the image and i + 1 for layer i, and whose
        ``weight`` and ``bias`` are positions in the second value: fp32, little endian.
    """
    numbers = {INPUT: 0} | {layer.name: i + 1 for i, layer in enumerate(graph.layers)}
    blocks: list[np.ndarray] = []
    described = []
    position = 0
    for layer in graph.layers:
        entry = _described(layer, numbers)
        if isinstance(layer, Conv | Linear):
            for part in ("weight", "bias"):
                values = np.ascontiguousarray(getattr(layer, part), "<f4").ravel()
                entry[part] = position
                position += values.size
                blocks.append(values)
        described.append(entry)
    return described, np.concatenate(blocks).tobytes() if blocks else b""


def _described(layer: Layer, numbers: dict[str, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "op": _OPERATIONS[type(layer)],
        "name": layer.name,
        "inputs": [numbers[name] for name in layer.inputs],
        "shape": list(layer.shape),
    }
    entry |= {field: getattr(layer, field) for field in _FIELDS if hasattr(layer, field)}
    if isinstance(layer, Conv):
        entry["kernel"] = layer.weight.shape[2:]
    return entry


def planes(content: bytes) -> bytes:
    """fp32 numbers with all their first bytes first, then all second ones, and so on.

    Exponents lie together in the last plane, so it can be compressed to half its size.
    """
    return np.frombuffer(content, np.uint8).reshape(-1, 4).T.tobytes()


def from_planes(content: bytes) -> bytes:
    """The reverse of :func:`planes`."""
    return np.frombuffer(content, np.uint8).reshape(4, -1).T.tobytes()


def deflated(content: bytes) -> str:
    """Compressed, as text."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def inflated(text: str) -> bytes:
    """The reverse of :func:`deflated`."""
    return zlib.decompress(base64.b64decode(text))
