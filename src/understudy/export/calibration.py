"""Which images an int8 file is calibrated with, and which range of values its tensors cover.

One implementation for every runtime: what ``percentile`` and ``entropy`` mean does not depend on
the tool that writes the file.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from understudy.data.dataset import Split
from understudy.data.views import generator_for
from understudy.errors import UnderstudyError, suggest
from understudy.export.settings import Calibration, QuantisationSettings

LEVELS = 256
"""Of an int8 number."""
CUT = 1e-4
"""Share of the values that ``percentile`` leaves outside, half of it on each side."""
_BINS = 4096
_SHRINK = np.linspace(1.0, 0.3, 71)
"""The ranges that ``entropy`` chooses from, as shares of the full one."""


def calibration_images(train: Split, settings: QuantisationSettings) -> np.ndarray:
    """Training images without augmentation, which is what the device gets; classes are balanced.

    Crops and flips would add no value to the input's range, which is 0 to 255.

    Args:
        train: the training images.
        settings: how many, and the seed of the choice.

    Returns:
        uint8 ``[N, C, H, W]``; fewer than ``settings.images`` if there are no more.
    """
    order = torch.randperm(len(train), generator=generator_for("calibration", settings.seed))
    labels = train.labels[order]
    turn = torch.empty_like(labels)
    for label in labels.unique():
        of_class = labels == label
        turn[of_class] = torch.arange(int(of_class.sum()))
    rows = order[turn.argsort(stable=True)][: settings.images]
    return train.gather(rows).permute(0, 3, 1, 2).contiguous().numpy()


class RangeFinder:
    """Chooses the range of one tensor from its values: exact minimum and maximum, counts in bins.

    The bins cover ``[-limit, limit)``, and ``limit`` is a power of two, so that counts of a
    narrower range can be added exactly: the order of the values does not matter.

    Args:
        calibration: ``minmax`` covers every value; ``percentile`` all but the share :data:`CUT`;
            ``entropy`` what changes the distribution least (Kullback-Leibler divergence, as
            TensorRT chooses it: Migacz 2017).
    """

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self.low, self.high = 0.0, 0.0
        self.limit = 2.0**-20
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Take in fp32 values of any shape."""
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        if self.calibration == "minmax":
            return
        while max(-self.low, self.high) >= self.limit:
            self._widen()
        bins = np.floor(values.ravel() * np.float32(_BINS / 2 / self.limit)).astype(np.int64)
        self.counts += np.bincount(bins + _BINS // 2, minlength=_BINS)

    def _widen(self) -> None:
        """Twice the range, the counts of two neighbours in one bin."""
        pairs = self.counts.reshape(-1, 2).sum(1)
        self.counts = np.pad(pairs, _BINS // 4)
        self.limit *= 2

    def range(self) -> tuple[float, float]:
        """(low, high) that the int8 levels cover; low <= 0 <= high."""
        if self.calibration == "percentile":
            return self._percentile()
        if self.calibration == "entropy":
            return self._entropy()
        return self.low, self.high

    def _edge(self, index: int) -> float:
        return (index - _BINS // 2) * 2 * self.limit / _BINS

    def _percentile(self) -> tuple[float, float]:
        below = np.cumsum(self.counts)
        outside = CUT / 2 * below[-1]
        low = self._edge(int(np.searchsorted(below, outside, side="right")))
        high = self._edge(int(np.searchsorted(below, below[-1] - outside)) + 1)
        return max(self.low, min(low, 0.0)), min(self.high, max(high, 0.0))

    def _entropy(self) -> tuple[float, float]:
        ranges = [(float(self.low * share), float(self.high * share)) for share in _SHRINK]
        counts = self.counts.astype(np.float64)
        # What a ReLU cut off is exactly zero, which int8 has exactly. Left in, it would look like
        # a peak that int8 blurs, and decide alone.
        zero = _BINS // 2
        counts[zero] = min(counts[zero], counts[zero + 1])
        losses = [self._divergence(counts, *limits) for limits in ranges]
        return ranges[int(np.argmin(losses))]

    def _divergence(self, counts: np.ndarray, low: float, high: float) -> float:
        """Kullback-Leibler divergence of the counts from themselves in int8."""
        scale = _BINS / 2 / self.limit
        first = int(np.floor(low * scale)) + _BINS // 2
        last = max(int(np.ceil(high * scale)) + _BINS // 2, first + 1)
        inside = counts[first:last]
        clipped = inside.copy()
        clipped[0] += counts[:first].sum()
        clipped[-1] += counts[last:].sum()
        level = np.arange(len(inside)) * LEVELS // len(inside)
        used = inside > 0
        shares = np.bincount(level, used, LEVELS)[level]
        rounded = np.bincount(level, inside, LEVELS)[level] / np.maximum(shares, 1) * used
        present = clipped > 0
        wanted = clipped[present] / max(clipped.sum(), 1.0)
        found = np.maximum(rounded[present] / max(rounded.sum(), 1.0), 1e-12)
        return float((wanted * np.log(wanted / found)).sum())


def check_layers(float_layers: Sequence[str], names: Sequence[str]) -> None:
    """Refuse the name of a layer that the network does not have.

    Raises:
        UnderstudyError: with the names that it has.
    """
    for name in float_layers:
        if name not in names:
            raise UnderstudyError(f"the network has no layer {name!r}: {suggest(name, names)}")


def worst_first(
    names: Sequence[str],
    expected: np.ndarray,
    with_float: Callable[[str], np.ndarray],
) -> list[str]:
    """Layers in the order of what the output gains when each alone stays in floating point.

    Args:
        names: the layers.
        expected: probabilities of the network in fp32, ``[N, K]``.
        with_float: the int8 network's probabilities with one more layer in floating point.

    Returns:
        The names, the layer whose return brings the output nearest to ``expected`` first.
    """
    loss = {name: divergence(expected, with_float(name)) for name in names}
    return sorted(names, key=lambda name: loss[name])


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of probabilities ``[N, K]``, in nats."""
    tiny = np.float32(1e-9)
    terms = expected * (np.log(expected + tiny) - np.log(found + tiny))
    return float(terms.sum(1).mean())
