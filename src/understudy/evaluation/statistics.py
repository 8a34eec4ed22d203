"""Paired gains over seeds, with intervals, and what they allow one to say."""

import math
from collections.abc import Sequence
from typing import Any


def summarise(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean, sample standard deviation (``None`` for one value) and count; ``None`` if any value is missing."""
    if not values or any(v is None for v in values):
        return None
    numbers = [float(v) for v in values if v is not None]
    n = len(numbers)
    mean = math.fsum(numbers) / n
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / (n - 1)) if n > 1 else None
    return {"mean": mean, "std": std, "n": n}


def paired_gain(
    values: Sequence[float], reference: Sequence[float], confidence: float = 0.95
) -> dict[str, Any]:
    """The mean of seed-by-seed differences with its t interval and two-sided p value.

    Args:
        values, reference: one figure for each seed, in the same order.
        confidence: of the interval.

    Returns:
        ``gains``, ``mean``, ``low``, ``high``, ``p``, ``n``; interval and p are ``None`` for one seed.
    """
    from scipy import stats

    gains = [a - b for a, b in zip(values, reference, strict=True)]
    n = len(gains)
    summary = summarise(gains)
    assert summary is not None
    mean, std = summary["mean"], summary["std"]
    low = high = p = None
    if std is not None:
        half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * std / math.sqrt(n)
        low, high = mean - half, mean + half
        p = (
            float(2 * stats.t.sf(abs(mean) / (std / math.sqrt(n)), n - 1))
            if std > 0
            else float(mean == 0)
        )
    return {"gains": gains, "mean": mean, "low": low, "high": high, "p": p, "n": n}


def verdict(arm: str, gain: dict[str, Any]) -> str:
    """One plain sentence on a paired gain in accuracy: it helped, it hurt, or there is no evidence either way."""
    subject = "distillation" if arm == "distilled" else arm
    points = f"{100 * gain['mean']:+.1f} points"
    seeds = f"over {gain['n']} seed{'s' if gain['n'] > 1 else ''}"
    if gain["low"] is None:
        return f"no evidence that {subject} helped or hurt: {points} {seeds}, and one seed has no interval"
    interval = f"[{100 * gain['low']:.1f}, {100 * gain['high']:.1f}]"
    if gain["low"] > 0:
        return f"{subject} helped by {points} {interval} {seeds}"
    if gain["high"] < 0:
        return f"{subject} hurt by {points} {interval} {seeds}"
    return f"no evidence that {subject} helped or hurt: {points} {interval} {seeds}"
