"""The range of each layer's output on training images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError
from understudy.export.calibration import RangeFinder, calibration_images
from understudy.export.deployable import DeployedModule
from understudy.export.graph import INPUT, Graph, Layer
from understudy.export.module import GraphModule
from understudy.export.settings import Calibration, QuantisationSettings
from understudy.models.normalisation import Normalisation

BATCH = 64


@dataclass(frozen=True)
class Range:
    """What a layer's output can be.

    Attributes:
        low, high: 0 lies between them.
    """

    low: float
    high: float


def calibrate(
    graph: Graph, normalisation: Normalisation, train: Split, settings: QuantisationSettings
) -> dict[str, Range]:
    """The range of every layer, and of the normalised image under ``graph.INPUT``.

    Args:
        graph: in fp32.
        normalisation: of its input.
        train: the images to choose from.
        settings: how many images, which, and the rule.

    Raises:
        UnderstudyError: if a layer's output is not finite.
    """
    observer = _Observer(graph, settings.calibration)
    first = DeployedModule(observer, normalisation)
    images = torch.from_numpy(calibration_images(train, settings))
    with torch.no_grad():
        for batch in images.split(BATCH):
            observer(first.normalise(batch))
    return {name: Range(*finder.range()) for name, finder in observer.finders.items()}


class _Observer(GraphModule):
    """A graph that looks at the output of each of its layers."""

    def __init__(self, graph: Graph, calibration: Calibration) -> None:
        super().__init__(graph)
        names = [INPUT, *(layer.name for layer in graph.layers)]
        self.finders = {name: RangeFinder(calibration) for name in names}

    def observe(self, layer: Layer | None, value: Tensor) -> Tensor:
        name = INPUT if layer is None else layer.name
        values = value.numpy()
        if not np.isfinite(values).all():
            raise UnderstudyError(f"layer {name} gives numbers that are not finite: train it again")
        self.finders[name].add(values)
        return value
