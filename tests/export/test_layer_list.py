"""A network as JSON and tensors: the same network comes back, and nothing else is accepted."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.networks import SqueezeExcite, randomised
from torch import nn

from understudy.data.spec import ImageSpec
from understudy.export.graph import ACTIVATIONS
from understudy.export.hub_student import OPERATIONS as IN_STUDENT
from understudy.export.layer_list import OPERATIONS, graph_of, layer_list
from understudy.export.module import GraphModule
from understudy.export.tracing import trace
from understudy.models import build_model

IMAGE = ImageSpec(3, 32, 32)
CONV = {
    "op": "conv",
    "name": "conv",
    "inputs": ["input"],
    "shape": [2, 8, 8],
    "stride": [1, 1],
    "padding": [0, 0],
    "dilation": [1, 1],
    "groups": 1,
}
TENSORS = {
    "conv.weight": np.zeros((2, 3, 1, 1), np.float32),
    "conv.bias": np.zeros(2, np.float32),
}


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_model("founding_student", 3),
        lambda: build_model("resnet8", 3),
        lambda: build_model("tiny_dw", 3),
        lambda: build_model("fast_teacher", 3, options={"widths": [8, 8, 8]}),
        SqueezeExcite,
    ],
    ids=["founding_student", "resnet8", "tiny_dw", "fast_teacher", "squeeze_excite"],
)
def test_list_that_went_through_json_computes_the_same(build: Any) -> None:
    network: nn.Module = randomised(build())
    graph = trace(network, IMAGE)
    layers, tensors = layer_list(graph)
    again = graph_of(graph.image, json.loads(json.dumps(layers)), tensors)
    images = torch.randn(3, *IMAGE.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (GraphModule(each).eval()(images) for each in (graph, again))
    assert torch.equal(found, expected)


def test_student_file_has_every_operation_of_the_list() -> None:
    named = {"pool": ("max", "avg"), "global_pool": ("max", "avg"), "activation": ACTIVATIONS}
    expected = {f"{op} {kind}".strip() for op in OPERATIONS for kind in named.get(op, ("",))}
    assert set(IN_STUDENT) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"op": "system"},
        {"inputs": ["later"]},
        {"inputs": []},
        {"name": "input"},
        {"name": "other"},
        {"stride": [1]},
        {"groups": "many"},
        {"kind": "max"},
        {"op": "activation", "kind": "__import__"},
        {"op": "pool", "kind": "median"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_what_is_no_layer_is_refused(changes: dict[str, Any]) -> None:
    graph_of(IMAGE.shape, [CONV], TENSORS)  # without a change it is one
    with pytest.raises((ValueError, KeyError, TypeError)):
        graph_of(IMAGE.shape, [CONV | changes], TENSORS)


def test_layers_of_one_name_and_tensors_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        graph_of(IMAGE.shape, [CONV, CONV], TENSORS)
    with pytest.raises(TypeError, match="float64"):
        graph_of(IMAGE.shape, [CONV], {n: t.astype(np.float64) for n, t in TENSORS.items()})
    with pytest.raises(ValueError, match="no layers"):
        graph_of(IMAGE.shape, [], TENSORS)
