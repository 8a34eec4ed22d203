"""The range of each layer's output on training images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError
from understudy.export.deployable import DeployedModule
from understudy.export.graph import INPUT, Conv, Graph, Layer
from understudy.export.module import GraphModule
from understudy.export.settings import Calibration, QuantisationSettings
from understudy.models.normalisation import Normalisation

BATCH = 64
BINS = 2048
PERCENTILE = 99.99
"""Of the values of a layer, those outside of which are clipped on either side."""


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
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.randperm(len(train), generator=generator)[: settings.images]
    observer = _Extremes(graph)
    _observe(observer, normalisation, train, rows)
    for name, (low, high) in observer.found.items():
        if not np.isfinite([low, high]).all():
            raise UnderstudyError(f"layer {name} gives numbers that are not finite: train it again")
    extremes = {
        name: Range(min(low, 0.0), max(high, 0.0)) for name, (low, high) in observer.found.items()
    }
    if settings.calibration == "minmax":
        return extremes
    histograms = _Histograms(graph, extremes)
    _observe(histograms, normalisation, train, rows)
    return {
        name: clipped(extremes[name], counts, settings.calibration)
        for name, counts in histograms.counts.items()
    }


def clipped(extremes: Range, counts: np.ndarray, rule: Calibration) -> Range:
    """The part of a range that a rule keeps.

    Args:
        extremes: the whole range.
        counts: int64 ``[BINS]``, a histogram over it.
        rule: ``percentile`` or ``entropy``.
    """
    if extremes.low == extremes.high:
        return extremes
    edges = np.linspace(extremes.low, extremes.high, len(counts) + 1)
    if rule == "percentile":
        outside = (1 - PERCENTILE / 100) * counts.sum()
        first = int(np.searchsorted(np.cumsum(counts), outside, side="right"))
        last = int(np.searchsorted(np.cumsum(counts[::-1]), outside, side="right"))
        low, high = edges[first], edges[len(counts) - last]
        return Range(min(float(low), 0.0), max(float(high), 0.0))
    magnitude = max(-extremes.low, extremes.high)
    centres = np.abs((edges[:-1] + edges[1:]) / 2)
    folded = np.bincount(
        np.minimum((centres / magnitude * BINS).astype(int), BINS - 1), counts, BINS
    )
    levels = 255 if extremes.low == 0 or extremes.high == 0 else 128
    limit = magnitude * least_divergence(folded, levels) / BINS
    return Range(max(extremes.low, -limit), min(extremes.high, limit))


def least_divergence(counts: np.ndarray, levels: int) -> int:
    """Where to clip so that the quantised distribution differs least from the true one.

    The Kullback-Leibler divergence between the histogram up to the limit, with all that lies above
    in its last bin, and the same in ``levels`` steps.

    Args:
        counts: ``[B]``, a histogram of magnitudes.
        levels: steps up to the limit.

    Returns:
        the number of bins below the limit.
    """
    # The many exact zeros behind a ReLU are quantised exactly, and would hide all else.
    counts = np.concatenate([counts[1:2], counts[1:]])
    best, least = len(counts), np.inf
    for limit in range(levels, len(counts) + 1, 8):
        inside = counts[:limit]
        true = inside.astype(np.float64)
        true[-1] += counts[limit:].sum()
        step = np.arange(limit) * levels // limit
        filled = inside > 0
        share = np.bincount(step, inside, levels) / np.maximum(np.bincount(step, filled, levels), 1)
        coarse = np.where(filled, share[step], 0.0)
        both = (true > 0) & (coarse > 0)
        if not both.any():
            continue
        p, q = true / true.sum(), coarse / coarse.sum()
        # What the steps cannot show at all counts as if it had the smallest share.
        q = np.where(true > 0, np.maximum(q, 1e-9), q)
        positive = p > 0
        divergence = float((p[positive] * np.log(p[positive] / q[positive])).sum())
        if divergence < least:
            best, least = limit, divergence
    return best


class _Observer(GraphModule):
    """Passes the values on."""

    def observe(self, layer: Layer | None, value: Tensor) -> Tensor:
        self.see(INPUT if layer is None else layer.name, value)
        return value

    def apply_layer(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        if isinstance(layer, Conv) and inputs[0].dim() == 2:
            inputs = [inputs[0][:, :, None, None]]
        return super().apply_layer(layer, inputs)

    def see(self, name: str, value: Tensor) -> None:
        raise NotImplementedError


class _Extremes(_Observer):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.found: dict[str, tuple[float, float]] = {}

    def see(self, name: str, value: Tensor) -> None:
        low, high = value.aminmax()
        before = self.found.get(name, (float(low), float(high)))
        self.found[name] = min(before[0], float(low)), max(before[1], float(high))


class _Histograms(_Observer):
    def __init__(self, graph: Graph, extremes: Mapping[str, Range]) -> None:
        super().__init__(graph)
        self.extremes = extremes
        self.counts = {name: np.zeros(BINS, np.int64) for name in extremes}

    def see(self, name: str, value: Tensor) -> None:
        span = self.extremes[name]
        counts, _ = np.histogram(value.numpy(), BINS, (span.low, max(span.high, span.low + 1e-30)))
        self.counts[name] += counts


def _observe(observer: _Observer, normalisation: Normalisation, train: Split, rows: Tensor) -> None:
    first = DeployedModule(observer, normalisation)
    with torch.no_grad():
        for images in batches(train, rows):
            observer(first.normalise(images))


def batches(split: Split, rows: Tensor) -> Iterator[Tensor]:
    """The images at these positions, uint8 ``[B, C, H, W]``."""
    for part in rows.split(BATCH):
        yield split.gather(part).permute(0, 3, 1, 2)
