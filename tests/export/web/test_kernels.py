"""Each layer of the page's kernels computes what torch computes, in WebAssembly and in JavaScript
alone."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.web.students import SCALE, in_torch, pictures, run_graph, student

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
from understudy.export.module import GraphModule
from understudy.export.web import folder, headless
from understudy.export.web.wasm import dots_module

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
]
CODES = {"wasm": base64.b64encode(dots_module()).decode(), "plain": ""}
IMAGE = (4, 11, 9)
rng = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def conv(
    source: str,
    inputs: tuple[int, int, int],
    filters: int,
    kernel: tuple[int, int] = (3, 3),
    name: str = "conv",
    **options: object,
) -> Conv:
    """A convolution with random weights; its shape is torch's."""
    groups = int(options.get("groups", 1))  # type: ignore[call-overload]
    weight = weights(filters, inputs[0] // groups, *kernel)
    bias = weights(filters)
    output = torch.conv2d(
        torch.zeros(1, *inputs), torch.from_numpy(weight), torch.from_numpy(bias), **options
    )
    return Conv(
        name=name,
        inputs=(source,),
        shape=tuple(output.shape[1:]),
        weight=weight,
        bias=bias,
        **options,  # type: ignore[arg-type]
    )


def pool(kind: str, shape: tuple[int, int, int], **options: object) -> Pool:
    return Pool(name="pool", inputs=(INPUT,), shape=shape, kind=kind, **options)  # type: ignore[arg-type]


def whole(source: Layer) -> Conv:
    """A window over the whole map: five logits to which every number of the map contributes."""
    return conv(source.name, source.shape, 5, source.shape[1:], name="logits")  # type: ignore[arg-type]


CONVOLUTIONS = {
    "padded": {"filters": 6, "padding": (1, 1)},
    "not padded": {"filters": 8},
    "wider than a tile": {"filters": 3, "padding": (1, 2), "kernel": (3, 5)},
    "stride": {"filters": 5, "padding": (1, 0), "stride": (2, 3)},
    "dilated": {"filters": 4, "padding": (2, 2), "dilation": (2, 1)},
    "pointwise": {"filters": 7, "kernel": (1, 1)},
    "groups": {"filters": 6, "groups": 2, "padding": (1, 1)},
    "groups, one position": {"filters": 6, "groups": 2, "kernel": (11, 9)},
    "depthwise": {"filters": 4, "groups": 4, "padding": (1, 1), "stride": (2, 1)},
    "two filters a channel": {"filters": 8, "groups": 4, "dilation": (1, 2)},
    "batch norm alone": {"filters": 4, "groups": 4, "kernel": (1, 1)},
    "a line": {"filters": 4, "kernel": (11, 1)},
}


def graphs() -> Iterator[tuple[str, Graph]]:
    for name, options in CONVOLUTIONS.items():
        layer = conv(INPUT, IMAGE, **options)  # type: ignore[arg-type]
        yield name, Graph(IMAGE, (layer, whole(layer)))
    for kind in ("max", "avg"):
        layers = {
            "pairs": pool(kind, (4, 5, 4), kernel=(2, 2), stride=(2, 2)),
            "overlapping": pool(kind, (4, 6, 9), kernel=(3, 3), stride=(2, 1), padding=(1, 1)),
            "real pixels only": pool(
                kind, (4, 6, 5), kernel=(3, 3), stride=(2, 2), padding=(1, 1), counts_padding=False
            ),
        }
        for name, layer in layers.items():
            yield f"{kind}-pool, {name}", Graph(IMAGE, (layer, whole(layer)))
        mean = GlobalPool(name="pool", inputs=(INPUT,), shape=(4,), kind=kind)
        head = Linear(
            name="fc", inputs=("pool",), shape=(5,), weight=weights(5, 4), bias=weights(5)
        )
        yield f"global {kind}", Graph(IMAGE, (mean, head))
    first = conv(INPUT, IMAGE, 4, padding=(1, 1), name="first")
    for kind in ACTIVATIONS:
        active = Activation(name="active", inputs=("first",), shape=IMAGE, kind=kind)
        yield kind, Graph(IMAGE, (first, active, whole(active)))
    again = conv("first", IMAGE, 4, padding=(1, 1), name="again")
    for join in (Add, Multiply):
        joined = join(name="joined", inputs=("first", "again"), shape=IMAGE)
        yield join.__name__, Graph(IMAGE, (first, again, joined, whole(joined)))
    mean = GlobalPool(name="mean", inputs=("first",), shape=(4,), kind="avg")
    squeezed = conv("mean", (4, 1, 1), 4, (1, 1), name="squeezed")
    excited = Activation(name="excited", inputs=("squeezed",), shape=(4, 1, 1), kind="sigmoid")
    scaled = Multiply(name="scaled", inputs=("first", "excited"), shape=IMAGE)
    layers = (first, mean, squeezed, excited, scaled, whole(scaled))
    yield "squeeze and excite", Graph(IMAGE, layers)


GRAPHS = dict(graphs())


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *IMAGE)).astype(np.uint8)


def expected(graph: Graph) -> np.ndarray:
    inputs = torch.from_numpy(images(3)).float() * SCALE
    with torch.no_grad():
        module = _with_maps(graph)
        return module(inputs).flatten(1).softmax(1).numpy()


def _with_maps(graph: Graph) -> GraphModule:
    """The reference; a factor for each channel may be a map of one pixel there."""

    class Reference(GraphModule):
        def apply_layer(self, layer: Layer, inputs: list[torch.Tensor]) -> torch.Tensor:
            if isinstance(layer, Conv) and inputs[0].dim() == 2:
                inputs = [inputs[0][:, :, None, None]]
            return super().apply_layer(layer, inputs)

    return Reference(graph)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", GRAPHS)
def test_layer_computes_what_torch_computes(name: str, code: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]
    found = run_graph(graph, images(3), tmp_path, CODES[code])
    reference = expected(graph)
    assert np.abs(found - reference).max() < 1e-5
    assert np.ptp(reference, axis=0).max() > 1e-3, "the images must not all give the same"


@pytest.mark.parametrize("name", ["founding_student", "tiny_dw", "resnet8", "wrn_16_1"])
def test_network_of_the_zoo_gives_the_same_classes(name: str, tmp_path: Path) -> None:
    exported = student(name)
    folder.write(exported, tmp_path / "page")
    found = headless.open_file(tmp_path / "page")(pictures(20))
    reference = in_torch(exported, pictures(20))
    assert len(np.unique(reference.argmax(1))) > 3
    assert np.array_equal(found.argmax(1), reference.argmax(1))
    assert np.abs(found - reference).max() < 1e-4


def test_an_image_leaves_no_trace_in_the_next(tmp_path: Path) -> None:
    folder.write(student("tiny_dw"), tmp_path / "page")
    page = headless.open_file(tmp_path / "page")
    one, both = pictures(2)[1:], pictures(2)
    assert np.array_equal(page(one)[0], page(both)[1])
    assert np.array_equal(page(both[::-1])[0], page(both)[1])
