"""The end of training: has the learning rate come down, and the accuracy stopped rising?"""

from understudy.diagnose.evidence import Curve, Evidence
from understudy.diagnose.findings.finding import Finding, Outcome, Rule
from understudy.diagnose.findings.format import percent, plain_points, points
from understudy.diagnose.findings.settings import closing_schedule

HIGH_TAIL = 0.05
"""Last learning rate over its peak from which a schedule has not ended: a cosine ends below 1 %,
two drops by ten end at 1 %."""
RISING = 0.001
"""Rise of the validation accuracy per epoch that still matters: one point in ten more epochs."""

LENGTH = Rule(
    key="length",
    question="Has the learning rate come down, and the validation accuracy stopped rising?",
    looks_at="the last learning rate over its peak; slope of the validation accuracy over the last "
    "third of the epochs",
    contributing="learning rate above 5 % of its peak",
    threshold="a cosine ends below 1 %, two drops by ten end at 1 %; on the founding recipe a "
    "schedule that ends near zero leaves the gain unchanged",
    outcomes={
        "early": Outcome(
            title="Training stopped early",
            severity="contributing",
            why="the last steps are still large, so that the saved weights hold their noise, and "
            "the accuracy still rises; distillation gains late in training, when soft targets "
            "still teach and labels no longer do (Beyer et al. 2022)",
        ),
        "high": Outcome(
            title="The learning rate ends high",
            severity="contributing",
            why="the last steps are still large, so that the saved weights hold their noise; "
            "distillation gains late in training, when soft targets still teach and labels no "
            "longer do (Beyer et al. 2022)",
        ),
        "fine": Outcome(
            title="Learning rate at the end",
            severity="fine",
            why="the schedule ends near zero",
        ),
    },
)


def check_length(evidence: Evidence) -> Finding | None:
    """Apply :data:`LENGTH`."""
    curve = evidence.recorded.curves.get("distilled")
    if curve is None:
        return None
    epochs = len(curve.lr)
    seen = (
        f"after {epochs} epochs the learning rate is {curve.lr[-1]:.2g}, {percent(curve.lr_tail)} "
        "of its peak; the distilled student's validation accuracy "
        f"{describe_slope(curve) or 'has too few epochs for a slope'}"
    )
    baseline = evidence.recorded.curves.get("baseline")
    if baseline is not None and baseline.slope is not None:
        seen += f", the baseline's {describe_slope(baseline)}"
    if curve.lr_tail <= HIGH_TAIL:
        return LENGTH.finding("fine", seen)
    rising = _is_rising(curve) or (baseline is not None and _is_rising(baseline))
    change = (*closing_schedule(evidence), f"train.epochs={2 * epochs}")
    return LENGTH.finding("early" if rising else "high", seen, *change)


def describe_slope(curve: Curve) -> str:
    """The slope of the validation accuracy as text, ``still rose by ...``; empty without one.

    A rise while the learning rate falls to zero is an effect of the schedule: ``changed by ...``.
    """
    if curve.slope is None or curve.slope_error is None:
        return ""
    verb = "still rose" if _is_rising(curve) and curve.lr_tail > HIGH_TAIL else "changed"
    return f"{verb} by {points(curve.slope)} ± {plain_points(curve.slope_error)} points per epoch"


def _is_rising(curve: Curve) -> bool:
    if curve.slope is None or curve.slope_error is None:
        return False
    return curve.slope > max(RISING, 2 * curve.slope_error)
