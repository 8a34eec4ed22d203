"""The soft term: does it pull at the student, and do its targets say more than the labels?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.findings.settings import setting
from understudy.diagnose.findings.teacher import WRONG_TARGETS
from understudy.diagnose.findings.wording import percent
from understudy.runs.plan import resolve_plan

FAINT_SHARE = 0.05
"""Share of the gradient below which a term does not steer: a step then points within 3 degrees of the other term's."""
FAINT_ALPHA = 0.05
"""The same of the weight, where gradients cannot be measured."""
CROWDED_SHARE = 0.97
"""Share of the gradient above which the teacher alone decides: harmless under a perfect one, copied errors under others."""


def gradient(evidence: Evidence) -> Finding | None:
    """Does the teacher's term pull at the student, and in a direction of its own?"""
    pulls = evidence.measured.gradients if evidence.measured else None
    alpha, method = evidence.recorded.alpha, evidence.config.method["name"]
    # What was left out may pull as well: only what is measured in full may be called faint.
    if pulls is None or (pulls.left_out and pulls.from_teacher < FAINT_SHARE):
        curve = evidence.recorded.curves.get("distilled")
        terms = {
            name: value for name, value in (curve.terms if curve else {}).items() if name != "ce"
        }
        if curve is not None and not any(terms.values()):
            return Finding(
                "gradient",
                "No gradient from the teacher",
                "cause",
                f"the recorded loss of the last epoch has no term but the cross-entropy (alpha {alpha:g})",
                "the distilled student is trained on the labels alone, so it is the plain student again",
                ("method.alpha=0.7",),
            )
        if method == "kd" and alpha < FAINT_ALPHA:
            return Finding(
                "gradient",
                "The teacher is hardly heard",
                "cause",
                f"alpha is {alpha:g}",
                "the soft term's weight is too small to change where a step goes",
                ("method.alpha=0.7",),
            )
        return None
    share = pulls.from_teacher
    parts = ", ".join(f"{name} {percent(part)}" for name, part in pulls.shares.items())
    angle = "" if pulls.cosine is None else f"; cosine between label and teacher {pulls.cosine:.2f}"
    seen = f"share of the gradient on the student's weights over {pulls.num_batches} training batches: {parts}{angle}"
    if pulls.left_out:
        seen += f"; not measured: {pulls.left_out}"
    if share < FAINT_SHARE:
        return Finding(
            "gradient",
            "No gradient from the teacher" if share == 0 else "The teacher is hardly heard",
            "cause",
            seen,
            "the distilled student follows the labels alone, so it is the plain student again",
            (f"method.alpha=0.7 (it is {alpha:g})",),
        )
    if pulls.cosine is not None and pulls.cosine < 0:
        return Finding(
            "gradient",
            "Labels and teacher pull apart",
            "contributing",
            seen,
            "at the end of training a step that serves one term undoes the other: on these images the teacher wants something "
            "else than the labels",
            ("a teacher that is right more often", "method.alpha=0.5"),
        )
    if (
        share > CROWDED_SHARE
        and evidence.measured
        and evidence.measured.targets.accuracy < 1 - WRONG_TARGETS
    ):
        return Finding(
            "gradient",
            "The labels are hardly heard",
            "contributing",
            seen,
            f"nearly nothing corrects the {percent(1 - evidence.measured.targets.accuracy)} of targets that name a wrong class",
            ("method.alpha=0.7",),
        )
    return Finding(
        "gradient",
        "Gradient of the soft term",
        "fine",
        seen,
        "the teacher's term pulls at the student, and not against the labels",
    )


ALMOST_ONE_HOT = 0.02
"""Mass off the top class at T below which targets are labels again: a fifth of what a label smoothing of 0.1 spreads."""
ALMOST_UNIFORM = 0.97
"""Share of log K: among ten classes the top one then stands at about twice the others' probability or less."""


def targets(evidence: Evidence) -> Finding | None:
    """Do the softened targets say more than the labels, and still something?"""
    if evidence.measured is None:
        return None
    found, temperature = evidence.measured.targets, evidence.recorded.temperature
    seen = (
        f"at T = {temperature:g} the targets have {found.entropy:.2f} nats, {percent(found.entropy_share)} of log K; "
        f"{percent(found.off_top)} of their mass lies off the top class, and {found.ranking:.3f} nats of it rank the others"
    )
    if found.entropy_share > ALMOST_UNIFORM:
        return Finding(
            "targets",
            "The targets are almost uniform",
            "cause",
            seen,
            "the temperature has washed out what the teacher knows: the soft term becomes a squared difference of logits, in "
            "which every class counts alike, the impossible ones too",
            (setting("temperature", 4 if temperature > 4 else max(1, temperature / 2)),),
        )
    if found.off_top < ALMOST_ONE_HOT:
        return Finding(
            "targets",
            "The targets are almost one-hot",
            "cause",
            seen,
            f"the teacher is {percent(found.confidence)} sure of its training targets at T = 1, so that they repeat the labels",
            (
                setting("temperature", max(4, 2 * temperature)),
                "teacher.train.epochs fewer",
                "data.augment stronger",
            ),
        )
    return Finding(
        "targets",
        "Softened targets",
        "fine",
        seen,
        "the targets rank the wrong classes, and are not washed out",
    )


def label_smoothing(evidence: Evidence) -> Finding | None:
    """Was the teacher, or the student, trained on smoothed labels?"""
    of_teacher, of_student = (
        resolve_plan(evidence.config).arm("teacher").train.label_smoothing,
        evidence.config.train.label_smoothing,
    )
    given = evidence.config.teacher.path is not None
    seen = f"label smoothing: teacher {'unknown (given)' if given else f'{of_teacher:g}'}, student {of_student:g}"
    if of_teacher > 0 and not given:
        return Finding(
            "label_smoothing",
            "The teacher was trained with label smoothing",
            "contributing",
            seen,
            "smoothing pulls all wrong classes to one value and so hides how they rank (Müller et al. 2019)",
            ("teacher.train.label_smoothing=0",),
        )
    if of_student > 0:
        return Finding(
            "label_smoothing",
            "The student's labels are smoothed as well",
            "contributing",
            seen,
            "the smoothed labels and the soft targets both spread mass, and the smoothed part of it says nothing",
            ("train.label_smoothing=0",),
        )
    return Finding(
        "label_smoothing",
        "Label smoothing",
        "fine",
        seen,
        "nothing hides how the wrong classes rank",
    )


LOW_T, HIGH_T = 1.0, 20.0
"""Temperatures outside which no published recipe for image classification that we know of works."""


def options(evidence: Evidence) -> Finding:
    """Are temperature and alpha within what is known to work?"""
    temperature, alpha = evidence.recorded.temperature, evidence.recorded.alpha
    seen = f"method {evidence.config.method['name']}, temperature {temperature:g}, alpha {alpha:g}"
    if not LOW_T <= temperature <= HIGH_T:
        return Finding(
            "options",
            "Extreme temperature",
            "contributing",
            seen,
            "below 1 the targets are harder than the teacher's own answers, far above it all classes look alike",
            (setting("temperature", 4),),
        )
    if alpha == 1 and evidence.recorded.arms["teacher"].val_accuracy < 1 - WRONG_TARGETS:
        return Finding(
            "options",
            "No labels",
            "contributing",
            seen,
            "nothing corrects the teacher where it is wrong",
            ("method.alpha=0.7",),
        )
    return Finding(
        "options", "Temperature and alpha", "fine", seen, "both lie within what is used elsewhere"
    )
