"""The student and its teacher: can it follow, at what pace, and did it?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.findings.settings import cooler
from understudy.diagnose.findings.wording import percent
from understudy.report.format import significant

SLOWED = 0.02
"""Training accuracy by which the distilled student falls behind the plain one: twice what seeds differ by here."""
HELD_BACK = 0.05
"""The same that a better generalisation would first have to make up for."""


def pace(evidence: Evidence) -> Finding | None:
    """Does the soft term keep the distilled student from fitting what the plain one fits?"""
    measured, curves = evidence.measured, evidence.recorded.curves
    if measured is not None:
        plain, taught = (
            measured.fits["baseline"].train_accuracy,
            measured.fits["distilled"].train_accuracy,
        )
        how = f"{measured.num_train:,} training images as they are"
    elif {"baseline", "distilled"} <= curves.keys():
        plain, taught = (
            curves["baseline"].train_accuracy[-1],
            curves["distilled"].train_accuracy[-1],
        )
        how = "their last training batches"
    else:
        return None
    epochs = evidence.config.train.epochs
    seen = f"on {how} the distilled student has {percent(taught)}, the plain one {percent(plain)}, after {epochs} epochs each"
    if plain - taught > SLOWED:
        return Finding(
            "pace",
            "The soft term holds the student back",
            "cause" if plain - taught > HELD_BACK else "contributing",
            seen,
            "in the same number of steps it learns less from the teacher than from the labels: soft targets take longer to "
            "match (Beyer et al. 2022), and their pull leaves less for the labels",
            (f"train.epochs={2 * epochs}", cooler(evidence), "method.alpha=0.5"),
        )
    return Finding("pace", "Pace", "fine", seen, "the soft term does not slow the student down")


CAPACITY_GAP = 0.1
"""Training accuracy of the teacher above the plain student's from which the student cannot follow (Cho & Hariharan 2019)."""


def capacity(evidence: Evidence) -> Finding | None:
    """Can a network of the student's size follow this teacher on the training images?"""
    arms, measured = evidence.recorded.arms, evidence.measured
    if measured is not None:
        student, teacher = (
            measured.fits["baseline"].train_accuracy,
            measured.fits["teacher"].train_accuracy,
        )
        how = "training images as they are"
    elif {"teacher", "baseline"} <= evidence.recorded.curves.keys():
        curves = evidence.recorded.curves
        student, teacher = (
            curves["baseline"].train_accuracy[-1],
            curves["teacher"].train_accuracy[-1],
        )
        how = "their last training batches"
    else:
        return None
    large, small = arms["teacher"].parameters, arms["baseline"].parameters
    sizes = (
        f"; {large:,} against {small:,} parameters, {significant(large / small, 2)} to 1"
        if large and small
        else ""
    )
    seen = (
        f"on {how} the teacher has {percent(teacher)}, the plain student {percent(student)}{sizes}"
    )
    if teacher - student > CAPACITY_GAP:
        return Finding(
            "capacity",
            "The student cannot follow its teacher",
            "contributing",
            seen,
            "the student does not reach the teacher's function even where it is shown it, be it for size or for too few steps; a "
            "teacher nearer to it is easier to follow (Mirzadeh et al. 2020)",
            (
                "a wider student: student.model.name=tiny_wide",
                "a teacher of a size between the two",
                "train.epochs more",
            ),
        )
    return Finding(
        "capacity",
        "Capacity",
        "fine",
        seen,
        "the student reaches the teacher's level on the training images",
    )


FOLLOWED = 0.1
"""Part of the plain student's divergence from the teacher that distillation has to remove to have had an effect."""
LOST_AGREEMENT = 0.01
"""Agreement below the plain student's, as a share of the images: more than seeds differ by."""


def agreement(evidence: Evidence) -> Finding | None:
    """Is the distilled student nearer to the teacher than the plain one?"""
    plain, taught = evidence.recorded.arms["baseline"], evidence.recorded.arms["distilled"]
    if (
        plain.teacher_kl is None
        or taught.teacher_kl is None
        or plain.agreement is None
        or taught.agreement is None
    ):
        return None
    removed = 1 - taught.teacher_kl / plain.teacher_kl if plain.teacher_kl else 0.0
    seen = (
        f"on validation the distilled student agrees with the teacher on {percent(taught.agreement)} of the images, the plain "
        f"one on {percent(plain.agreement)}; its divergence from the teacher is {taught.teacher_kl:.3f} against "
        f"{plain.teacher_kl:.3f} nats ({percent(abs(removed))} {'less' if removed >= 0 else 'more'})"
    )
    if taught.agreement < plain.agreement - LOST_AGREEMENT:
        return Finding(
            "agreement",
            "The student copies the teacher's doubts, not its answers",
            "contributing",
            seen,
            "its probabilities may be nearer to the teacher's, but it picks the teacher's class less often than the plain one",
            ("method.alpha=0.5", cooler(evidence)),
        )
    if removed < FOLLOWED:
        return Finding(
            "agreement",
            "Little of the teaching got through",
            "contributing",
            seen,
            "the student is hardly nearer to the teacher on new images, if at all, than one that never heard it: a symptom, "
            "whose reason is among the other findings",
            ("the settings of the other findings first",),
        )
    return Finding(
        "agreement",
        "Agreement with the teacher",
        "fine",
        seen,
        "the student took over part of what the teacher says",
    )
