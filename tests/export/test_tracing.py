"""The graph of a network computes what the network computes; what it lacks is named."""

import pytest
import torch
from tests.export.networks import SqueezeExcite, randomised
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.export.graph import INPUT, Activation, Conv, GlobalPool, Linear, Multiply, Pool
from understudy.export.module import GraphModule
from understudy.export.tracing import trace
from understudy.models import build_model

ONE_OF_EACH_FAMILY = (
    "founding_teacher",
    "founding_student",
    "fast_teacher",
    "tiny_wide",
    "tiny_res",
    "tiny_dw",
    "resnet8",
    "resnet18",
    "wrn_16_1",
)


def largest_difference(network: nn.Module, image: ImageSpec) -> float:
    """Between a network and its graph, relative to the largest logit."""
    torch.manual_seed(0)
    images = torch.randn(3, *image.shape)
    graph = GraphModule(trace(network, image))
    with torch.inference_mode():
        expected, found = network(images), graph(images)
    return float((expected - found).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_graph_computes_what_the_network_computes(name: str) -> None:
    torch.manual_seed(0)
    network = randomised(build_model(name, 10))
    assert largest_difference(network, ImageSpec()) < 1e-5


def test_every_operation_of_the_graph_is_read() -> None:
    torch.manual_seed(0)
    assert largest_difference(randomised(SqueezeExcite()), ImageSpec(3, 24, 16)) < 1e-5


def test_a_convolution_of_a_vector_is_a_linear_layer() -> None:
    graph = trace(randomised(SqueezeExcite()), ImageSpec(3, 24, 16))
    assert [layer.name for layer in graph.of(Linear)] == ["reduce", "expand", "fc"]
    shapes = [[graph[name].shape for name in layer.inputs] for layer in graph.of(Multiply)]
    assert shapes == [[(8, 12, 8), (8,)], [(8, 6, 4), (8, 6, 4)]]


def test_batch_norm_is_folded_and_dropout_is_gone() -> None:
    graph = trace(build_model("founding_student", 10), ImageSpec())
    kinds = [type(layer) for layer in graph.layers]
    assert kinds == [Conv, Pool, Activation] * 3 + [
        Conv,
        Activation,
        GlobalPool,
        Linear,
        Activation,
        Linear,
    ]
    assert [layer.name for layer in graph.of(Conv)] == [f"stage{i}.conv" for i in (1, 2, 3, 4)]
    assert graph.layers[0].inputs == (INPUT,)
    assert [layer.shape for layer in graph.of(Pool)] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]


def test_batch_norm_after_a_pool_is_a_depthwise_layer() -> None:
    """Maximum and a negative scale do not commute, so it cannot go into the convolution before."""
    graph = trace(randomised(build_model("fast_teacher", 10)), ImageSpec())
    depthwise = [layer for layer in graph.of(Conv) if layer.groups == layer.weight.shape[0] > 1]
    assert [layer.name for layer in depthwise] == ["stage1.bn1", "stage2.bn1", "stage3.bn1"]


def test_training_mode_is_restored() -> None:
    network = build_model("tiny_wide", 10).train()
    trace(network, ImageSpec())
    assert network.training


class Unusual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images)
        return logits


class Sine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(images.mean((2, 3)).sin())
        return logits


@pytest.mark.parametrize(
    ("network", "layer", "operation"),
    [(Unusual(), "head.0", "flatten"), (Sine(), "sin", "sin")],
    ids=["flatten of a map", "sine"],
)
def test_operation_without_a_layer_is_named(network: nn.Module, layer: str, operation: str) -> None:
    with pytest.raises(UnderstudyError, match=rf"layer {layer}.* uses the operation {operation}"):
        trace(network, ImageSpec(3, 8, 8))
