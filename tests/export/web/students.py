"""Students that are exported in these tests: not trained, but none of their layers does nothing."""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from understudy.data.preprocess import Preprocessing, Resize
from understudy.data.spec import ImageSpec
from understudy.export.card import Measured, Origin
from understudy.export.deployable import Deployable
from understudy.export.graph import Graph
from understudy.export.web.headless import NodePage
from understudy.export.web.page import WEIGHTS, asset, dumped
from understudy.export.web.samples import Sample
from understudy.export.web.weights import layers_and_weights
from understudy.models import build_model
from understudy.models.normalisation import Normalisation

SCALE = 1 / 64
"""Of images for single layers, whose softmax must not be saturated."""
NORMALISATION = Normalisation((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


def deployable(
    network: nn.Module, classes: int = 10, size: int = 32, resize: Resize = "crop"
) -> Deployable:
    """A network with a card that is full of markup."""
    return Deployable(
        network=network.eval(),
        classes=(
            "</script><script>alert(1)</script>",
            "<!--<img src=x onerror=alert(2)>",
            *(f"class {number}" for number in range(2, classes)),
        ),
        preprocessing=Preprocessing(image=ImageSpec(3, size, size), resize=resize),
        normalisation=NORMALISATION,
        origin=Origin(
            run="<b>run</b>",
            arm="distilled",
            seed=3,
            model="student",
            parameters=1000,
            data="cifar10",
            teacher_parameters=44_000,
            understudy="1.0",
        ),
        measured=(Measured(split="test", accuracy=0.87, low=0.864, high=0.876, count=10_000),),
    )


@functools.cache
def student(name: str = "founding_student") -> Deployable:
    """A network of the zoo whose logits differ from image to image, for ten classes."""
    torch.manual_seed(0)
    network = build_model(name, 10).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    result = deployable(network)
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        probe = torch.from_numpy(pictures(64))
        logits = network(result.module().normalise(probe))
        factor = 2 / logits.std(0)
        head.weight.mul_(factor[:, None])
        head.bias.copy_((head.bias - logits.mean(0)) * factor)
    return result


def pictures(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colourful images, uint8 ``[N, 3, size, size]``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    frequencies = rng.uniform(1, 12, (count, 3, 2, 1, 1))
    phases = rng.uniform(0, 6, (count, 3, 1, 1))
    waves = np.sin(frequencies[:, :, 0] * x + frequencies[:, :, 1] * y + phases)
    return np.rint(127.5 + 127.5 * waves).astype(np.uint8)


def in_torch(exported: Deployable, images: np.ndarray) -> np.ndarray:
    """The probabilities that Python gives, fp32 ``[N, K]``."""
    with torch.no_grad():
        return exported.module()(torch.from_numpy(images)).numpy()


def samples(count: int = 3) -> tuple[Sample, ...]:
    chance = np.eye(10, dtype=np.float32) * 0.9 + 0.01
    return tuple(
        Sample.of(image, 1, chance[0], chance[1 + index % 2])
        for index, image in enumerate(pictures(count, seed=1))
    )


def run_graph(graph: Graph, images: np.ndarray, folder: Path, code: str) -> np.ndarray:
    """Probabilities of a graph in ``kernels.js``; its input is images times :data:`SCALE`.

    Args:
        code: WebAssembly in base64, empty for JavaScript alone.
    """
    layers, weights = layers_and_weights(graph)
    channels = graph.image[0]
    normalisation = {"scale": [SCALE] * channels, "shift": [0.0] * channels}
    model = {"image": graph.image, "layers": layers, "wasm": code, **normalisation}
    (folder / WEIGHTS).write_bytes(weights)
    card = deployable(nn.Identity()).card("web", "fp32")
    parts = {"model": dumped(model), "kernels": asset("kernels.js")}
    return NodePage(folder, card, parts, threads=1)(images)
