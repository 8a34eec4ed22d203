"""ONNX in fp32: one file, with the card in its metadata."""

from pathlib import Path
from typing import Any

from understudy.export.capture import INPUT, OUTPUT, capture, layer_of, unsupported
from understudy.export.card import KEY, Card
from understudy.export.deployable import Deployable
from understudy.export.noise import quiet
from understudy.export.onnx_runtime import open_file as open_file
from understudy.files import write_bytes

OPSET = 20
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
"""Nodes that are layers."""


def write(deployable: Deployable, out: Path) -> None:
    """Write the file ``out``.

    Raises:
        UnderstudyError: naming operation and layer if ONNX lacks one.
    """
    write_bytes(out, to_bytes(onnx_graph(deployable), deployable.card("onnx", "fp32")))


def onnx_graph(deployable: Deployable) -> Any:
    """The network as an ``onnx.ModelProto``, without a card.

    Batch norm is folded; a convolution or linear layer is named after its module in the network.

    Raises:
        UnderstudyError: naming operation and layer if ONNX lacks one.
    """
    import torch

    captured = capture(deployable)
    try:
        with quiet():
            program = torch.onnx.export(
                captured,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise unsupported(captured, error, "ONNX") from error
    assert program is not None
    model = program.model_proto
    _name_layers(model.graph)
    _strip(model)
    return model


def to_bytes(model: Any, card: Card) -> bytes:
    """The file of a model, with the card; the same bytes for the same model."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=card.to_text())
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def _name_layers(graph: Any) -> None:
    """Name each node with weights after its layer; twice the same weights are numbered."""
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    used: set[str] = set()
    for node in graph.node:
        own = [name for name in node.input if name in weights]
        if node.op_type in WITH_WEIGHTS and own:
            base = name = layer_of(own[0])
            number = 2
            while name in used:
                name, number = f"{base}#{number}", number + 1
            node.name = name
            used.add(name)


def _strip(model: Any) -> None:
    """Drop what only the exporter's developers need: stack traces, shapes of every tensor."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.input, *graph.output, *graph.node, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
