"""Fidelity: can the student match its teacher, how fast, and did it?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding, Outcome, Rule, Severity
from understudy.diagnose.findings.format import percent
from understudy.diagnose.findings.settings import cooler, more_epochs
from understudy.report.run.table import significant

SLOWED = 0.02
"""Training accuracy of the baseline minus that of the distilled student from which the difference
matters: twice the difference between seeds in our runs."""
HELD_BACK = 0.05
"""The same from which better generalisation can hardly make up for it."""

SLOW_FIT = Rule(
    key="pace",  # as in the diagnosis.json of earlier versions
    question="Does the soft loss keep the distilled student from fitting the training images?",
    looks_at="training accuracy of the distilled student and of the baseline",
    contributing="2 points below the baseline",
    cause="5 points below the baseline",
    threshold="as for dropout; better generalisation must first make up for 5 points",
    without_weights="whether the distilled student fits unaugmented images less well",
    outcomes={
        "slow": Outcome(
            title="The soft loss slows down fitting",
            severity="contributing",
            why="in the same number of steps the student learns less from soft targets than from "
            "labels: soft targets take longer to match (Beyer et al. 2022), and their gradient "
            "leaves less for the labels",
        ),
        "fine": Outcome(
            title="Speed of fitting",
            severity="fine",
            why="the soft loss does not slow the student down",
        ),
    },
)


def check_slow_fit(evidence: Evidence) -> Finding | None:
    """Apply :data:`SLOW_FIT`."""
    found = _training_accuracies(evidence, "baseline", "distilled")
    if found is None:
        return None
    baseline, distilled, images = found
    seen = (
        f"on {images} the distilled student has {percent(distilled)}, the baseline "
        f"{percent(baseline)}, after {evidence.config.train.epochs} epochs each"
    )
    if baseline - distilled <= SLOWED:
        return SLOW_FIT.finding("fine", seen)
    change = (more_epochs(evidence), cooler(evidence), "method.alpha=0.5")
    severity: Severity = "cause" if baseline - distilled > HELD_BACK else "contributing"
    return SLOW_FIT.finding("slow", seen, *change, severity=severity)


CAPACITY_GAP = 0.1
"""Training accuracy of the teacher minus that of the baseline from which the student cannot match
its teacher (Cho & Hariharan 2019)."""

CAPACITY = Rule(
    key="capacity",
    question="Can a network of the student's size match this teacher on the training images?",
    looks_at="training accuracy of the teacher and of the baseline; parameters of both",
    contributing="10 points apart",
    threshold="Cho & Hariharan 2019; Mirzadeh et al. 2020",
    without_weights="how far the student is behind the teacher on the same images",
    outcomes={
        "behind": Outcome(
            title="The student cannot match its teacher",
            severity="contributing",
            why="even on its training images the student is far below the teacher: it is too small "
            "or is trained for too few steps; a teacher closer to it in size is easier to match "
            "(Mirzadeh et al. 2020)",
        ),
        "fine": Outcome(
            title="Capacity",
            severity="fine",
            why="on the training images the student comes close to the teacher",
        ),
    },
)


def check_capacity(evidence: Evidence) -> Finding | None:
    """Apply :data:`CAPACITY`."""
    found = _training_accuracies(evidence, "teacher", "baseline")
    if found is None:
        return None
    teacher, student, images = found
    seen = f"on {images} the teacher has {percent(teacher)}, the baseline {percent(student)}"
    arms = evidence.recorded.arms
    large, small = arms["teacher"].parameters, arms["baseline"].parameters
    if large and small:
        ratio = significant(large / small, 2)
        seen += f"; {large:,} against {small:,} parameters, {ratio} to 1"
    if teacher - student <= CAPACITY_GAP:
        return CAPACITY.finding("fine", seen)
    change = (
        "a wider student: student.model.name=tiny_wide",
        "a teacher of a size between the two",
        "train.epochs more",
    )
    return CAPACITY.finding("behind", seen, *change)


FOLLOWED = 0.1
"""Share of the baseline's divergence from the teacher that distillation has to remove."""
LOST_AGREEMENT = 0.01
"""Agreement below the baseline's, as a share of the images: more than seeds differ by."""

AGREEMENT = Rule(
    key="agreement",
    question="Is the distilled student closer to the teacher than the baseline is?",
    looks_at="agreement with the teacher and divergence from it on validation, of the distilled "
    "student and of the baseline",
    contributing="less than a tenth of the divergence removed; or agreement 1 point lower",
    threshold="a symptom: it shows that distillation had no effect, not why",
    outcomes={
        "lower": Outcome(
            title="Less agreement with the teacher than the baseline has",
            severity="contributing",
            why="its probabilities may be closer to the teacher's, but it predicts the teacher's "
            "class less often than the baseline does",
        ),
        "little": Outcome(
            title="The student is hardly closer to the teacher than the baseline",
            severity="contributing",
            why="on new images the distilled student is about as far from the teacher as the "
            "baseline, which was trained without it: a symptom, whose reason is among the other "
            "findings",
        ),
        "fine": Outcome(
            title="Agreement with the teacher",
            severity="fine",
            why="on new images the distilled student is closer to the teacher than the baseline",
        ),
    },
)


def check_agreement(evidence: Evidence) -> Finding | None:
    """Apply :data:`AGREEMENT`."""
    baseline, distilled = evidence.recorded.arms["baseline"], evidence.recorded.arms["distilled"]
    if baseline.teacher_kl is None or distilled.teacher_kl is None:
        return None
    if baseline.agreement is None or distilled.agreement is None:
        return None
    removed = 1 - distilled.teacher_kl / baseline.teacher_kl if baseline.teacher_kl else 0.0
    direction = "less" if removed >= 0 else "more"
    seen = (
        "on validation the distilled student agrees with the teacher on "
        f"{percent(distilled.agreement)} of the images, the baseline on "
        f"{percent(baseline.agreement)}; its KL divergence from the teacher is "
        f"{distilled.teacher_kl:.3f} against {baseline.teacher_kl:.3f} nats "
        f"({percent(abs(removed))} {direction})"
    )
    if distilled.agreement < baseline.agreement - LOST_AGREEMENT:
        return AGREEMENT.finding("lower", seen, "method.alpha=0.5", cooler(evidence))
    if removed < FOLLOWED:
        return AGREEMENT.finding("little", seen, "the settings of the other findings first")
    return AGREEMENT.finding("fine", seen)


def _training_accuracies(
    evidence: Evidence, one: str, other: str
) -> tuple[float, float, str] | None:
    """Training accuracies of two roles, and on which images; ``None`` if one is not recorded."""
    measured, curves = evidence.measured, evidence.recorded.curves
    if measured is not None:
        images = f"{measured.num_train:,} unaugmented training images"
        fits = measured.fits
        return fits[one].train_accuracy, fits[other].train_accuracy, images
    if one not in curves or other not in curves:
        return None
    last = curves[one].train_accuracy[-1], curves[other].train_accuracy[-1]
    return *last, "their last training batches"
