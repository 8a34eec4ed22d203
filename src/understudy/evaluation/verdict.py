"""One sentence on a gain: helped, hurt or no evidence; by how much, and over what."""

from understudy.evaluation.gain import Interval, PairedGain


def sentence(arm: str, gain: PairedGain, images: str = "test images") -> str:
    """A gain in accuracy in words: verdict, mean, interval, and what the interval covers.

    Args:
        arm: whose gain it is.
        gain: over its reference.
        images: what the images are called.
    """
    subject = "distillation" if arm == "distilled" else arm
    if gain.verdict != "no evidence":
        return f"{subject} {gain.verdict} by {with_interval(gain)} {over(gain, images)}"
    found = f"{with_interval(gain)} {over(gain, images)}"
    reason = _why(gain)
    return f"no evidence that {subject} helped or hurt: {found}{reason and ', '}{reason}"


def with_interval(gain: PairedGain) -> str:
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
    if gain.low is not None and gain.high is not None:
        if gain.low <= 0 <= gain.high:
            return ""
        return f"not enough for one of {gain.num_compared} comparisons (Holm)"
    crossed = gain.over_seeds_and_images
    alone = f"; {_brackets(crossed)} over the images alone" if crossed else ""
    if gain.n == 1:
        return f"and one seed has no interval{alone}"
    if gain.images == 1:
        return "and one image has no interval"
    return f"and seeds with equal gains have no interval{alone}"


def _brackets(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
