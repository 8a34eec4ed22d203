"""The teacher: is it better than the student, right about the training images, and as sure as it is right?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.chance import difference_error
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.findings.schedule import rise
from understudy.diagnose.findings.settings import longer_teacher, setting
from understudy.diagnose.findings.wording import percent, plain_points, points

SMALL_LEAD = 0.01
"""Lead over the plain student, in accuracy, below which there is next to nothing to hand on: gains are a part of the lead."""


def teacher_lead(evidence: Evidence) -> Finding:
    """Is the teacher better than the student without it?"""
    arms, n = evidence.recorded.arms, evidence.recorded.num_val
    teacher, plain = arms["teacher"].val_accuracy, arms["baseline"].val_accuracy
    lead, error = teacher - plain, difference_error(teacher, plain, n)
    seen = (
        f"on {n:,} validation images the teacher has {percent(teacher)}, the plain student {percent(plain)}: "
        f"{points(lead)} points (standard error at most {plain_points(error)})"
    )
    if lead <= 0:
        return Finding(
            "teacher_lead",
            "The teacher is no better than the student",
            "cause",
            seen,
            "a student that follows a worse classifier learns its mistakes",
            (
                longer_teacher(evidence),
                "another teacher.model.name",
                "teacher.path=FILE of a trained one",
            ),
        )
    if lead < max(SMALL_LEAD, 2 * error):
        return Finding(
            "teacher_lead",
            "The teacher is hardly better than the student",
            "contributing",
            seen,
            "a gain is a part of the teacher's lead, and this one is within a point, or within the noise of the images",
            (
                "a stronger teacher: teacher.model.name, teacher.train.epochs",
                "a smaller student: student.model.name",
            ),
        )
    return Finding("teacher_lead", "Teacher's lead", "fine", seen, "there is something to hand on")


WRONG_TARGETS = 0.1
"""Share of training targets with a wrong top class from which distillation was seen to fail: in the founding experiment 13.5 %
cost a gain that the same recipe has with a teacher that is wrong on 6 % (results/founding-causes)."""


def teacher_quality(evidence: Evidence) -> Finding | None:
    """How often does the teacher tell the student a wrong class?"""
    curve = evidence.recorded.curves.get("teacher")
    rising = "" if curve is None else rise(curve.slope, curve.slope_error, curve.lr_tail)
    if evidence.measured is not None:
        targets, fit = evidence.measured.targets, evidence.measured.fits["teacher"]
        wrong = 1 - targets.accuracy
        seen = (
            f"the top class of {percent(wrong)} of the training targets is wrong ({targets.num_images:,} augmented views); "
            f"the teacher knows {percent(fit.train_accuracy)} of the training images as they are, "
            f"{percent(fit.val_accuracy)} of the validation images"
        )
    elif curve is not None and not evidence.mixed:
        wrong = 1 - curve.train_accuracy[-1]
        seen = f"in its last epoch the teacher was wrong on {percent(wrong)} of its training batches, as they came"
    else:
        return None
    seen += f"; its validation accuracy {rising}" if rising else ""
    if wrong >= WRONG_TARGETS:
        return Finding(
            "teacher_quality",
            "The teacher is often wrong on the training images",
            "cause",
            seen,
            "each of these targets pulls the student from a label that it has for free; the plain student is not misled so",
            (longer_teacher(evidence), "another teacher.model.name", "method.alpha=0.5"),
        )
    return Finding(
        "teacher_quality",
        "Teacher's targets",
        "fine",
        seen,
        "the targets rarely contradict the labels",
    )


UNSURE = 0.1
"""Validation accuracy above confidence: trained networks are off by less, and rather the other way (Guo et al. 2017)."""
VERY_UNSURE = 0.25
"""The same from which the teacher is as soft at T = 1 as others are at their distillation temperature."""
OVERFITTED = 0.1
"""Training accuracy above validation accuracy: so many targets show what was learnt by heart, not what the teacher knows."""


def teacher_confidence(evidence: Evidence) -> Finding | None:
    """Is the teacher as sure as it is right, and on training images as on others?"""
    if evidence.measured is None:
        return None
    fit = evidence.measured.fits["teacher"]
    gap = fit.train_accuracy - fit.val_accuracy
    seen = (
        f"the teacher is {percent(fit.train_confidence)} sure and {percent(fit.train_accuracy)} right on training images, "
        f"{percent(fit.val_confidence)} sure and {percent(fit.val_accuracy)} right on validation images"
    )
    doubt = fit.val_accuracy - fit.val_confidence
    if doubt > UNSURE:
        return Finding(
            "teacher_confidence",
            "The teacher is less sure than it is right",
            "cause" if doubt > VERY_UNSURE else "contributing",
            seen,
            "its answers are soft before any temperature: they hold the student back from what the labels would teach it",
            (
                setting("temperature", max(1, evidence.recorded.temperature / 4)),
                "teacher.train.epochs more",
            ),
        )
    if gap > OVERFITTED:
        return Finding(
            "teacher_confidence",
            "The teacher has learnt its training images by heart",
            "contributing",
            seen,
            "on the images that the student sees it is surer, and more often right, than what it knows about images like them",
            (
                "teacher.train.epochs fewer",
                "teacher.train.weight_decay=5e-4",
                "data.augment stronger",
            ),
        )
    return Finding(
        "teacher_confidence",
        "Teacher's confidence",
        "fine",
        seen,
        "its training targets are those of new images",
    )
