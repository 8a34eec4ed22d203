"""The teacher: better than the student, right on the training images, well calibrated?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding, Outcome, Rule, Severity
from understudy.diagnose.findings.format import percent, plain_points, points
from understudy.diagnose.findings.noise import difference_error
from understudy.diagnose.findings.schedule import describe_slope
from understudy.diagnose.findings.settings import longer_teacher, setting

SMALL_LEAD = 0.01
"""Lead over the baseline, in accuracy, below which there is almost nothing to transfer: a gain is a
part of the lead."""

TEACHER_LEAD = Rule(
    key="teacher_lead",
    question="Is the teacher better than the baseline?",
    looks_at="accuracy of the teacher minus that of the baseline, on validation",
    contributing="lead below 1 point, or below two standard errors",
    cause="no lead",
    threshold="a gain is a part of the lead",
    outcomes={
        "none": Outcome(
            title="The teacher is no better than the baseline",
            severity="cause",
            why="a student that matches a worse classifier learns its mistakes",
        ),
        "small": Outcome(
            title="The teacher is hardly better than the baseline",
            severity="contributing",
            why="a gain is a part of the teacher's lead, and this lead is below one point or "
            "within the noise of the validation images",
        ),
        "fine": Outcome(
            title="Teacher's lead",
            severity="fine",
            why="the teacher knows more than the baseline, so there is something to transfer",
        ),
    },
)


def check_teacher_lead(evidence: Evidence) -> Finding:
    """Apply :data:`TEACHER_LEAD`."""
    arms, n = evidence.recorded.arms, evidence.recorded.num_val
    teacher, baseline = arms["teacher"].val_accuracy, arms["baseline"].val_accuracy
    change: tuple[str, ...]
    lead, error = teacher - baseline, difference_error(teacher, baseline, n)
    seen = (
        f"on {n:,} validation images the teacher has {percent(teacher)}, the baseline "
        f"{percent(baseline)}: {points(lead)} points (standard error at most {plain_points(error)})"
    )
    if lead <= 0:
        change = (
            longer_teacher(evidence),
            "another teacher.model.name",
            "teacher.path=FILE of a trained one",
        )
        return TEACHER_LEAD.finding("none", seen, *change)
    if lead < max(SMALL_LEAD, 2 * error):
        change = (
            "a stronger teacher: teacher.model.name, teacher.train.epochs",
            "a smaller student: student.model.name",
        )
        return TEACHER_LEAD.finding("small", seen, *change)
    return TEACHER_LEAD.finding("fine", seen)


WRONG_TARGETS = 0.1
"""Share of training targets with a wrong top class from which distillation was seen to fail: in the
founding experiment 13.5 % cost a gain that the same recipe has with a teacher that is wrong on 6 %
(results/founding-causes)."""

TEACHER_QUALITY = Rule(
    key="teacher_quality",
    question="How often is the top class of a soft target wrong?",
    looks_at="share of the training targets whose top class is not the label",
    cause="10 %",
    threshold="each of them pulls the student away from a label that it has anyway; at 13.5 % the "
    "founding recipe loses, at 6 % it gains",
    without_weights="how many training targets are wrong",
    outcomes={
        "wrong": Outcome(
            title="The teacher is often wrong on the training images",
            severity="cause",
            why="each of these targets pulls the student away from a label that it has anyway; the "
            "baseline is trained on the labels alone",
        ),
        "fine": Outcome(
            title="Accuracy of the soft targets",
            severity="fine",
            why="the targets rarely contradict the labels",
        ),
    },
)


def check_teacher_quality(evidence: Evidence) -> Finding | None:
    """Apply :data:`TEACHER_QUALITY`."""
    curve = evidence.recorded.curves.get("teacher")
    if evidence.measured is not None:
        targets, stats = evidence.measured.targets, evidence.measured.fits["teacher"]
        wrong = 1 - targets.accuracy
        seen = (
            f"the top class of {percent(wrong)} of the training targets is wrong "
            f"({targets.num_images:,} augmented images); the teacher has "
            f"{percent(stats.train_accuracy)} on unaugmented training images, "
            f"{percent(stats.val_accuracy)} on validation"
        )
    elif curve is not None and not evidence.mixed:
        wrong = 1 - curve.train_accuracy[-1]
        seen = (
            f"in its last epoch the teacher was wrong on {percent(wrong)} of its augmented "
            "training images"
        )
    else:
        return None
    slope = "" if curve is None else describe_slope(curve)
    if slope:
        seen += f"; its validation accuracy {slope}"
    if wrong < WRONG_TARGETS:
        return TEACHER_QUALITY.finding("fine", seen)
    change = (longer_teacher(evidence), "another teacher.model.name", "method.alpha=0.5")
    return TEACHER_QUALITY.finding("wrong", seen, *change)


UNSURE = 0.1
"""Validation accuracy minus confidence from which a teacher is under-confident: trained networks
are off by less, and usually over-confident (Guo et al. 2017)."""
VERY_UNSURE = 0.25
"""The same from which its outputs at T = 1 are as soft as those of others at their temperature."""
OVERFITTED = 0.1
"""Training accuracy minus validation accuracy: the share of targets that are memorised labels."""

TEACHER_CONFIDENCE = Rule(
    key="teacher_confidence",
    question="Is the teacher as confident as it is accurate, on training images as on new ones?",
    looks_at="confidence and accuracy of the teacher on training and validation images",
    contributing="confidence 10 points below accuracy; or training accuracy 10 points above "
    "validation accuracy",
    cause="confidence 25 points below accuracy",
    threshold="trained networks are off by less, and usually over-confident (Guo et al. 2017)",
    without_weights="the teacher's confidence on training images",
    outcomes={
        "unsure": Outcome(
            title="The teacher is under-confident",
            severity="contributing",
            why="its outputs are soft before any temperature: they keep the student from what the "
            "labels would teach it",
        ),
        "memorised": Outcome(
            title="The teacher has memorised its training images",
            severity="contributing",
            why="on the images that the student is trained on it is more confident, and more often "
            "right, than on new images",
        ),
        "fine": Outcome(
            title="Teacher's confidence",
            severity="fine",
            why="its training targets are like those of new images",
        ),
    },
)


def check_teacher_confidence(evidence: Evidence) -> Finding | None:
    """Apply :data:`TEACHER_CONFIDENCE`."""
    if evidence.measured is None:
        return None
    stats = evidence.measured.fits["teacher"]
    seen = (
        f"on training images the teacher has a confidence of {percent(stats.train_confidence)} and "
        f"an accuracy of {percent(stats.train_accuracy)}, on validation images "
        f"{percent(stats.val_confidence)} and {percent(stats.val_accuracy)}"
    )
    change: tuple[str, ...]
    doubt = stats.val_accuracy - stats.val_confidence
    if doubt > UNSURE:
        change = (
            setting("temperature", max(1, evidence.recorded.temperature / 4)),
            "teacher.train.epochs more",
        )
        severity: Severity = "cause" if doubt > VERY_UNSURE else "contributing"
        return TEACHER_CONFIDENCE.finding("unsure", seen, *change, severity=severity)
    if stats.train_accuracy - stats.val_accuracy > OVERFITTED:
        change = (
            "teacher.train.epochs fewer",
            "teacher.train.weight_decay=5e-4",
            "data.augment stronger",
        )
        return TEACHER_CONFIDENCE.finding("memorised", seen, *change)
    return TEACHER_CONFIDENCE.finding("fine", seen)
