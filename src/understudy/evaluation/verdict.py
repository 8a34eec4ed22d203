"""One sentence on a gain: helped, hurt or no evidence; by how much, and over what."""

from understudy.evaluation.cross_validation import CrossValidatedGain
from understudy.evaluation.gain import Interval, PairedGain


def sentence(arm: str, gain: PairedGain, images: str = "test images") -> str:
    """A gain in accuracy in words: verdict, mean, interval, and what the interval covers.

    Args:
        arm: whose gain it is.
        gain: over its reference.
        images: what the images are called.
    """
    return _in_words(arm, gain, over(gain, images), _why(gain))


def fold_sentence(arm: str, gain: CrossValidatedGain, folds: int, repeats: int) -> str:
    """The same of a cross-validated gain: ``distillation helped by +1.9 points [0.4, 3.4] over 5
    folds × 3 seeds``.

    Args:
        arm: whose gain it is.
        gain: over its reference.
        folds: in a repeat.
        repeats: one for each seed.
    """
    over = f"over {folds} folds" + (f" × {repeats} seeds" if repeats > 1 else "")
    reason = _why_in_spite_of(gain)
    return _in_words(
        arm, gain, over, "and equal gains have no interval" if reason is None else reason
    )


def _in_words(arm: str, gain: PairedGain | CrossValidatedGain, over: str, reason: str) -> str:
    subject = "distillation" if arm == "distilled" else arm
    found = f"{with_interval(gain)} {over}"
    if gain.verdict != "no evidence":
        return f"{subject} {gain.verdict} by {found}"
    return f"no evidence that {subject} helped or hurt: {found}{reason and ', '}{reason}"


def with_interval(gain: PairedGain | CrossValidatedGain) -> str:
    """``+1.9 points [1.1, 2.6]``; without brackets if there is no interval."""
    text = f"{100 * gain.mean:+.1f} points"
    if gain.low is None or gain.high is None:
        return text
    return f"{text} {_brackets(Interval(gain.low, gain.high))}"


def over(gain: PairedGain, images: str = "test images") -> str:
    """``over 5 seeds and 360 test images``: what the interval covers."""
    seeds = f"over {gain.n} seed{'s' if gain.n > 1 else ''}"
    if gain.images is None:
        return f"{seeds} alone"
    return f"{seeds} and {gain.images:,} {images[:-1] if gain.images == 1 else images}"


def _why(gain: PairedGain) -> str:
    """Why there is no interval, or why an interval on one side of zero is no evidence."""
    reason = _why_in_spite_of(gain)
    if reason is not None:
        return reason
    crossed = gain.over_seeds_and_images
    alone = f"; {_brackets(crossed)} over the images alone" if crossed else ""
    if gain.n == 1:
        return f"and one seed has no interval{alone}"
    if gain.images == 1:
        return "and one image has no interval"
    return f"and seeds with equal gains have no interval{alone}"


def _why_in_spite_of(gain: PairedGain | CrossValidatedGain) -> str | None:
    """Why there is no evidence in spite of an interval: empty if zero is in it; ``None`` without an
    interval."""
    if gain.low is None or gain.high is None:
        return None
    if gain.low <= 0 <= gain.high:
        return ""
    return f"not enough for one of {gain.num_compared} comparisons (Holm)"


def _brackets(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
