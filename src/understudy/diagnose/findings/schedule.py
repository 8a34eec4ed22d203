"""The training's end: did the learning rate come down, and the accuracy come to rest?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.findings.settings import onecycle
from understudy.diagnose.findings.wording import percent, plain_points, points

HIGH_TAIL = 0.05
"""Last learning rate over the peak: a cosine ends below 1 %, two drops by ten at 1 %; above 5 % a schedule has not closed."""
RISING = 0.001
"""Rise of the validation accuracy per epoch that still matters: a point in ten more epochs."""


def length(evidence: Evidence) -> Finding | None:
    """Did the learning rate come down, and the validation accuracy come to rest?"""
    curve = evidence.recorded.curves.get("distilled")
    if curve is None:
        return None
    epochs = len(curve.lr)
    seen = (
        f"after {epochs} epochs the learning rate is {curve.lr[-1]:.2g}, {percent(curve.lr_tail)} of its peak; the distilled "
        f"student's validation accuracy {rise(curve.slope, curve.slope_error, curve.lr_tail) or 'has too few epochs to tell'}"
    )
    plain = evidence.recorded.curves.get("baseline")
    if plain is not None and plain.slope is not None:
        seen += f", the plain one's {rise(plain.slope, plain.slope_error, plain.lr_tail)}"
    unfinished = any(
        c is not None
        and c.slope is not None
        and c.slope_error is not None
        and c.slope > max(RISING, 2 * c.slope_error)
        for c in (curve, plain)
    )
    if curve.lr_tail > HIGH_TAIL:
        return Finding(
            "length",
            "Training stopped early" if unfinished else "The learning rate never came down",
            "contributing",
            seen,
            "the last steps are still large, so that the kept weights hold their noise"
            + (" and the accuracy had not come to rest" if unfinished else "")
            + "; distillation pays late in training, where soft targets still teach and labels no longer do (Beyer et al. 2022)",
            (*onecycle(evidence), f"train.epochs={2 * epochs}"),
        )
    return Finding("length", "Learning-rate tail", "fine", seen, "the schedule has closed")


def rise(slope: float | None, error: float | None, tail: float) -> str:
    """How a slope of the validation accuracy with its error reads, under a learning rate that ended at ``tail`` of its peak."""
    if slope is None or error is None:
        return ""
    how = "still rose" if slope > max(RISING, 2 * error) and tail > HIGH_TAIL else "changed"
    return f"{how} by {points(slope)} ± {plain_points(error)} points per epoch"
