"""The soft loss: does it change the student, and do its targets add anything to the labels?"""

from understudy.diagnose.evidence import Evidence, Gradients
from understudy.diagnose.findings.finding import Finding, Outcome, Rule
from understudy.diagnose.findings.format import percent
from understudy.diagnose.findings.settings import setting
from understudy.diagnose.findings.teacher import WRONG_TARGETS

FAINT_SHARE = 0.05
"""Share of the gradient below which a term has no influence: a step is then within 3 degrees of the
other term's gradient."""
FAINT_ALPHA = 0.05
"""The same for the weight, if gradients cannot be measured."""
CROWDED_SHARE = 0.97
"""Share of the gradient above which the teacher alone decides: harmless with a perfect teacher,
copied errors with others."""

GRADIENT = Rule(
    key="gradient",
    question="Does the soft loss have a share of the gradient, and does it agree with the labels?",
    looks_at="norm of each weighted loss term's gradient on the distilled student's parameters "
    "(saved weights, train mode, 8 batches for each seed), and the cosine between the gradients of "
    "labels and teacher",
    contributing="cosine below 0; or the teacher above 97 % while more than 10 % of its targets "
    "are wrong",
    cause="the teacher's share below 5 %; without weights: no term but the cross-entropy, or alpha "
    "below 0.05",
    threshold="at 5 % a step is within 3 degrees of the labels' own gradient",
    without_weights="each loss term's share of the gradient",
    outcomes={
        "none": Outcome(
            title="The soft loss has no gradient",
            severity="cause",
            why="the distilled student is trained on the labels alone, so it is the baseline again",
        ),
        "faint": Outcome(
            title="The soft loss has under 5 % of the gradient",
            severity="cause",
            why="the labels decide almost every step, so the distilled student is nearly the "
            "baseline again",
        ),
        "low_alpha": Outcome(
            title="Alpha gives the soft loss under 5 % of the weight",
            severity="cause",
            why="the weight of the soft loss is too small to change the direction of a step",
        ),
        "conflict": Outcome(
            title="CE and KD gradients conflict",
            severity="contributing",
            why="at the end of training a step that reduces one loss increases the other: on these "
            "images the soft targets contradict the labels",
        ),
        "labels_faint": Outcome(
            title="The labels have under 3 % of the gradient",
            severity="contributing",
            why="almost nothing corrects the soft targets whose top class is wrong",
        ),
        "fine": Outcome(
            title="Gradient of the soft loss",
            severity="fine",
            why="the soft loss has its share of the gradient, and does not oppose the labels",
        ),
    },
)


def check_gradient(evidence: Evidence) -> Finding | None:
    """Apply :data:`GRADIENT`."""
    gradients = evidence.measured.gradients if evidence.measured else None
    # An unmeasured term may have a large gradient: a share is only small if all are measured.
    if gradients is None or (gradients.left_out and gradients.from_teacher < FAINT_SHARE):
        return _recorded_gradient(evidence)
    seen = _describe_gradients(gradients)
    if gradients.from_teacher < FAINT_SHARE:
        outcome = "none" if gradients.from_teacher == 0 else "faint"
        change = f"method.alpha=0.7 (it is {evidence.recorded.alpha:g})"
        return GRADIENT.finding(outcome, seen, change)
    if gradients.cosine is not None and gradients.cosine < 0:
        change = "a teacher that is right more often"
        return GRADIENT.finding("conflict", seen, change, "method.alpha=0.5")
    if gradients.from_teacher > CROWDED_SHARE and evidence.measured:
        accuracy = evidence.measured.targets.accuracy
        if accuracy < 1 - WRONG_TARGETS:
            seen += f"; {percent(1 - accuracy)} of the soft targets have a wrong top class"
            return GRADIENT.finding("labels_faint", seen, "method.alpha=0.7")
    return GRADIENT.finding("fine", seen)


def _recorded_gradient(evidence: Evidence) -> Finding | None:
    """What the recorded losses and alpha alone show."""
    alpha, curve = evidence.recorded.alpha, evidence.recorded.curves.get("distilled")
    if curve is not None:
        others = [value for name, value in curve.terms.items() if name != "ce"]
        if not any(others):
            seen = (
                "the recorded loss of the last epoch has no term but the cross-entropy "
                f"(alpha {alpha:g})"
            )
            return GRADIENT.finding("none", seen, "method.alpha=0.7")
    if evidence.config.method["name"] == "kd" and alpha < FAINT_ALPHA:
        return GRADIENT.finding("low_alpha", f"alpha is {alpha:g}", "method.alpha=0.7")
    return None


def _describe_gradients(gradients: Gradients) -> str:
    parts = ", ".join(f"{name} {percent(part)}" for name, part in gradients.shares.items())
    text = (
        "share of the gradient on the student's weights over "
        f"{gradients.num_batches} training batches: {parts}"
    )
    if gradients.cosine is not None:
        text += f"; cosine between the gradients of labels and teacher {gradients.cosine:.2f}"
    if gradients.left_out:
        text += f"; not measured: {gradients.left_out}"
    return text


ALMOST_ONE_HOT = 0.02
"""Probability off the top class at T below which soft targets are labels again: a fifth of what a
label smoothing of 0.1 spreads."""
ALMOST_UNIFORM = 0.97
"""Share of log K above which soft targets are uniform: of ten classes the top one then has at most
about twice the probability of the others."""

TARGETS = Rule(
    key="targets",
    question="Do the soft targets add information to the labels?",
    looks_at="the teacher's softened outputs: entropy, its share of log K, probability off the top "
    "class, information about the order of the other classes",
    cause="entropy above 97 % of log K; or probability off the top class below 2 %",
    threshold="at 97 % the top one of ten classes has little more than twice the probability of "
    "the others; 2 % is a fifth of what label smoothing of 0.1 spreads",
    without_weights="entropy of the soft targets and their information about other classes",
    outcomes={
        "uniform": Outcome(
            title="The soft targets are almost uniform",
            severity="cause",
            why="the temperature hides what the teacher knows: the soft loss becomes a squared "
            "difference of logits, in which impossible classes count as much as likely ones",
        ),
        "one_hot": Outcome(
            title="The soft targets are almost one-hot",
            severity="cause",
            why="they repeat the labels and add almost no information about the other classes",
        ),
        "fine": Outcome(
            title="Soft targets",
            severity="fine",
            why="they carry information about the other classes, and are not uniform",
        ),
    },
)


def check_targets(evidence: Evidence) -> Finding | None:
    """Apply :data:`TARGETS`."""
    if evidence.measured is None:
        return None
    found, temperature = evidence.measured.targets, evidence.recorded.temperature
    seen = (
        f"at T = {temperature:g} the soft targets have an entropy of {found.entropy:.2f} nats, "
        f"{percent(found.entropy_share)} of log K; {percent(found.off_top)} of the probability is "
        f"off the top class, with {found.ranking:.3f} nats about the order of the other classes"
    )
    if found.entropy_share > ALMOST_UNIFORM:
        lower = 4 if temperature > 4 else max(1, temperature / 2)
        return TARGETS.finding("uniform", seen, setting("temperature", lower))
    if found.off_top < ALMOST_ONE_HOT:
        seen += f"; at T = 1 the teacher's mean confidence is {percent(found.confidence)}"
        change = (
            setting("temperature", max(4, 2 * temperature)),
            "teacher.train.epochs fewer",
            "data.augment stronger",
        )
        return TARGETS.finding("one_hot", seen, *change)
    return TARGETS.finding("fine", seen)


LABEL_SMOOTHING = Rule(
    key="label_smoothing",
    question="Was the teacher or the student trained with label smoothing?",
    looks_at="the configuration",
    contributing="any",
    threshold="it hides the order of the wrong classes (Müller et al. 2019)",
    outcomes={
        "teacher": Outcome(
            title="The teacher was trained with label smoothing",
            severity="contributing",
            why="smoothing gives all wrong classes nearly the same logit and so hides their order "
            "(Müller et al. 2019)",
        ),
        "student": Outcome(
            title="The student is trained with label smoothing as well",
            severity="contributing",
            why="smoothed labels and soft targets both spread probability over other classes, and "
            "the smoothed part carries no information",
        ),
        "fine": Outcome(
            title="Label smoothing",
            severity="fine",
            why="nothing hides the order of the wrong classes",
        ),
    },
)


def check_label_smoothing(evidence: Evidence) -> Finding | None:
    """Apply :data:`LABEL_SMOOTHING`."""
    of_teacher = evidence.teacher.train.label_smoothing
    of_student = evidence.config.train.label_smoothing
    given = evidence.teacher.path is not None
    known = "unknown (given)" if given else f"{of_teacher:g}"
    seen = f"label smoothing: teacher {known}, student {of_student:g}"
    if of_teacher > 0 and not given:
        return LABEL_SMOOTHING.finding("teacher", seen, "teacher.train.label_smoothing=0")
    if of_student > 0:
        return LABEL_SMOOTHING.finding("student", seen, "train.label_smoothing=0")
    return LABEL_SMOOTHING.finding("fine", seen)


LOW_T, HIGH_T = 1.0, 20.0
"""Temperatures outside which no published recipe for image classification that we know works."""

OPTIONS = Rule(
    key="options",
    question="Are temperature and alpha within the usual range?",
    looks_at="temperature and alpha",
    contributing="T below 1 or above 20; alpha 1 with a teacher that is wrong on more than 10 %",
    threshold="outside what recipes for image classification use",
    outcomes={
        "temperature": Outcome(
            title="Extreme temperature",
            severity="contributing",
            why="below 1 the targets are harder than the teacher's own outputs; far above 1 all "
            "classes look alike",
        ),
        "no_labels": Outcome(
            title="No labels in the loss",
            severity="contributing",
            why="nothing corrects the teacher where it is wrong",
        ),
        "fine": Outcome(
            title="Temperature and alpha",
            severity="fine",
            why="both are within the usual range",
        ),
    },
)


def check_options(evidence: Evidence) -> Finding:
    """Apply :data:`OPTIONS`."""
    temperature, alpha = evidence.recorded.temperature, evidence.recorded.alpha
    name = evidence.config.method["name"]
    seen = f"method {name}, temperature {temperature:g}, alpha {alpha:g}"
    if not LOW_T <= temperature <= HIGH_T:
        return OPTIONS.finding("temperature", seen, setting("temperature", 4))
    if alpha == 1 and evidence.recorded.arms["teacher"].val_accuracy < 1 - WRONG_TARGETS:
        return OPTIONS.finding("no_labels", seen, "method.alpha=0.7")
    return OPTIONS.finding("fine", seen)
