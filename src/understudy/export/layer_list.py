"""A graph of layers as plain JSON and tensors, and back: what the hub's folder stores."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from understudy.export.graph import (
    ACTIVATIONS,
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

OPERATIONS: Mapping[str, type[Layer]] = {
    "conv": Conv,
    "linear": Linear,
    "pool": Pool,
    "global_pool": GlobalPool,
    "activation": Activation,
    "add": Add,
    "multiply": Multiply,
}
"""Name in the list -> layer."""

_TENSORS = ("weight", "bias")
_PAIRS = ("kernel", "stride", "padding", "dilation")
_KINDS = {"pool": ("max", "avg"), "global_pool": ("max", "avg"), "activation": ACTIVATIONS}


def layer_list(graph: Graph) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The layers without their weights, and the weights.

    Returns:
        Layers in the order in which they run, each with ``op``, ``name``, ``inputs``, ``shape`` and
        its options; ``<name>.weight`` and ``<name>.bias``, fp32.
    """
    names = {kind: name for name, kind in OPERATIONS.items()}
    layers, tensors = [], {}
    for layer in graph.layers:
        options = {}
        for field in dataclasses.fields(layer):
            value = getattr(layer, field.name)
            if field.name in _TENSORS:
                tensors[f"{layer.name}.{field.name}"] = np.ascontiguousarray(value, np.float32)
            else:
                options[field.name] = list(value) if isinstance(value, tuple) else value
        layers.append({"op": names[type(layer)], **options})
    return layers, tensors


def graph_of(
    image: tuple[int, int, int],
    layers: Sequence[Mapping[str, Any]],
    tensors: Mapping[str, np.ndarray],
) -> Graph:
    """The graph that :func:`layer_list` described; nothing is run.

    Args:
        image: ``(C, H, W)`` of the input.
        layers, tensors: as :func:`layer_list` returns them.

    Raises:
        ValueError, KeyError, TypeError: for anything that is no such list.
    """
    known = {INPUT}
    found = []
    for entry in layers:
        layer = _layer(entry, tensors)
        if layer.name in known or not set(layer.inputs) <= known or not layer.inputs:
            raise ValueError(f"layer {layer.name!r} is listed twice, or reads what follows it")
        known.add(layer.name)
        found.append(layer)
    if not found:
        raise ValueError("there are no layers")
    return Graph(image, tuple(found))


def _layer(entry: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Layer:
    operation, name = entry["op"], str(entry["name"])
    kind = OPERATIONS[operation]
    if entry.get("kind") not in _KINDS.get(operation, (None,)):
        raise ValueError(f"layer {name!r} has the unknown kind {entry.get('kind')!r}")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in _TENSORS:
            values[field.name] = _floats(tensors[f"{name}.{field.name}"])
        else:
            values[field.name] = _option(field.name, entry[field.name])
    return kind(**values)


def _floats(tensor: np.ndarray) -> np.ndarray:
    if tensor.dtype != np.float32:
        raise TypeError(f"a tensor is {tensor.dtype}, not float32")
    return tensor


def _option(name: str, value: Any) -> Any:
    if name == "inputs":
        return tuple(map(str, value))
    if name == "shape":
        return tuple(map(int, value))
    if name in _PAIRS:
        first, second = value
        return int(first), int(second)
    if name == "groups":
        return int(value)
    return bool(value) if name == "counts_padding" else str(value)
