import numpy as np
import torch
from torch import nn

from understudy.data.spec import ImageSpec
from understudy.export.tracing import trace
from understudy.export.web.weights import (
    deflated,
    from_planes,
    inflated,
    layers_and_weights,
    planes,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def test_every_weight_is_found_at_its_position() -> None:
    graph = trace(network(), ImageSpec(3, 8, 8))
    layers, content = layers_and_weights(graph)
    numbers = np.frombuffer(content, "<f4")
    for layer, entry in zip(graph.layers, layers, strict=True):
        for part in ("weight", "bias"):
            if part in entry:
                values = getattr(layer, part).ravel()
                assert np.array_equal(numbers[entry[part] :][: values.size], values)
    assert numbers.size == 3 * 4 * 9 + 4 + 4 * 2 + 2


def test_layers_know_whom_they_read() -> None:
    layers, _ = layers_and_weights(trace(network(), ImageSpec(3, 8, 8)))
    assert [layer["op"] for layer in layers] == ["conv", "activation", "global_pool", "linear"]
    assert [layer["inputs"] for layer in layers] == [[0], [1], [2], [3]]
    assert layers[0]["shape"] == [4, 4, 4]
    assert (layers[0]["stride"], layers[0]["padding"]) == ((2, 2), (1, 1))


def test_packing_changes_no_bit() -> None:
    content = np.random.default_rng(0).normal(size=999).astype("<f4").tobytes()
    assert inflated(deflated(content)) == content
    assert from_planes(planes(content)) == content


def test_planes_make_weights_smaller_than_their_bytes() -> None:
    """The limit of 600 kB depends on it: base64 alone would make them a third larger."""
    content = (np.random.default_rng(0).normal(size=50_000) / 20).astype("<f4").tobytes()
    assert len(deflated(planes(content))) < 1.16 * len(content)
    assert len(deflated(planes(content))) < len(deflated(content))
