"""The parity gate: no file gets its name before it has run on the validation images.

It compares decisions, not tensors of random numbers: the bytes of the images go through the file's
own runtime, and every class that differs from the network in fp32 is counted and listed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError
from understudy.evaluation.deployment import Parity, Verdict, compare
from understudy.events import SILENT, Observer, Progress
from understudy.export.runtime import Runtime

BOUND = 1e-3
"""An fp32 file gives the network's class to every image whose two largest probabilities differ by
more than this. Rounding moves a probability by 1e-6 or so; a wrong pixel, by far more."""
MAX_DROP = 0.005
"""Accuracy that an int8 file may lose by default: half a point."""
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the gate accepts.

    Attributes:
        max_drop: accuracy that an int8 file may lose, in [0, 1].
        accept_unproven: accept one whose interval cannot exclude a larger loss.
        bound: of the margin for fp32 files, in [0, 1].
    """

    max_drop: float = MAX_DROP
    accept_unproven: bool = False
    bound: float = BOUND


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the gate decided.

    Attributes:
        verdict: ``accepted``, ``refused`` or ``unproven``.
        reason: one sentence.
    """

    verdict: Verdict
    reason: str


def probabilities(
    runtime: Callable[[np.ndarray], np.ndarray],
    split: Split,
    observer: Observer = SILENT,
    detail: str = "",
) -> np.ndarray:
    """What a runtime computes for a split, fp32 ``[N, K]``; the labels are not read.

    Raises:
        UnderstudyError: if it does not return one row of finite numbers for each image.
    """
    parts = []
    for start in range(0, len(split), _BATCH):
        rows = torch.arange(start, min(start + _BATCH, len(split)))
        images = split.gather(rows).permute(0, 3, 1, 2).contiguous().numpy()
        found = runtime(images)
        if found.ndim != 2 or len(found) != len(rows) or not np.isfinite(found).all():
            raise UnderstudyError(
                f"{detail or 'the file'} returned {list(found.shape)} for {len(rows)} images, "
                "or numbers that are not finite: it is not usable"
            )
        parts.append(found)
        observer.progress(Progress("measure", int(rows[-1]) + 1, len(split), detail=detail))
    return np.concatenate(parts)


def measure(
    runtime: Runtime,
    expected: np.ndarray,
    split: Split,
    observer: Observer = SILENT,
    detail: str = "",
) -> Parity:
    """A file next to the network in fp32.

    Args:
        runtime: the file.
        expected: the network's probabilities of the split's images, fp32 ``[N, K]``.
        split: images and labels.
        observer: follows the images.
        detail: what to call the file.
    """
    found = probabilities(runtime, split, observer, detail)
    if found.shape != expected.shape:
        raise UnderstudyError(
            f"{detail or 'the file'} has {found.shape[1]} classes, the network {expected.shape[1]}"
        )
    return compare(expected, found, split.labels.numpy(), runtime.card.classes)


def judge(parity: Parity, dtype: str, limits: Limits = DEFAULT_LIMITS) -> Judgement:
    """Whether a file may take the network's place.

    Args:
        parity: what was measured.
        dtype: of the file: ``fp32`` must decide as the network does, ``int8`` may lose a little.
        limits: how much.
    """
    if dtype == "fp32":
        return _judge_float(parity, limits)
    return _judge_int8(parity, limits)


def _judge_float(parity: Parity, limits: Limits) -> Judgement:
    if parity.largest_margin > limits.bound:
        return Judgement(
            verdict="refused",
            reason=f"gives another class than the network to {parity.num_disagreements} of "
            f"{parity.count} images, one with a margin of {parity.largest_margin:.2g} "
            f"(at most {limits.bound:g})",
        )
    return Judgement(
        verdict="accepted",
        reason=f"the class of the network on every image with a margin above {limits.bound:g}",
    )


def _judge_int8(parity: Parity, limits: Limits) -> Judgement:
    change, allowed = parity.change, 100 * limits.max_drop
    found = (
        f"{100 * change.mean:+.2f} points [{100 * change.low:.2f}, {100 * change.high:.2f}] "
        f"on {change.count} images"
    )
    if change.mean < -limits.max_drop:
        return Judgement(
            verdict="refused", reason=f"{found}: it loses more than {allowed:g} points"
        )
    if change.low < -limits.max_drop:
        reason = f"{found}: a loss of more than {allowed:g} points is not excluded"
        if limits.accept_unproven:
            return Judgement(verdict="accepted", reason=f"{reason}, accepted by --accept-unproven")
        return Judgement(verdict="unproven", reason=reason)
    return Judgement(verdict="accepted", reason=found)
