"""From evidence to findings: one pure function per question, each with its thresholds and their reasons above it.

A finding is a ``cause`` (enough to explain that distillation did not help), ``contributing`` (it takes part), or ``fine``
(looked at, in order). docs/diagnosis.md explains every one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from understudy.diagnose.evidence import Evidence

Severity = Literal["cause", "contributing", "fine"]
ORDER: tuple[Severity, ...] = ("cause", "contributing", "fine")


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        key: its name in docs/diagnosis.md and in the JSON.
        title: a few words.
        severity: ``cause``, ``contributing`` or ``fine``.
        evidence: a sentence with the numbers.
        cause: why that keeps distillation from helping, or why it does not.
        change: settings to try, as overrides of ``understudy run``; or a few words where it is not one.
    """

    key: str
    title: str
    severity: Severity
    evidence: str
    cause: str
    change: tuple[str, ...] = ()


# -- is there a teacher term at all? ---------------------------------------------------------------------------------------

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
    if pulls is None or (pulls.left_out and not pulls.from_teacher):
        curve = evidence.recorded.curves.get("distilled")
        terms = {name: value for name, value in (curve.terms if curve else {}).items() if name != "ce"}
        if curve is not None and not any(terms.values()):
            return Finding(
                "gradient", "No gradient from the teacher", "cause",
                f"the recorded loss of the last epoch has no term but the cross-entropy (alpha {alpha:g})",
                "the distilled student is trained on the labels alone, so it is the plain student again",
                ("method.alpha=0.7",),
            )  # fmt: skip
        if method == "kd" and alpha < FAINT_ALPHA:
            return Finding(
                "gradient", "The teacher is hardly heard", "cause", f"alpha is {alpha:g}",
                "the soft term's weight is too small to change where a step goes", ("method.alpha=0.7",),
            )  # fmt: skip
        return None
    share = pulls.from_teacher
    parts = ", ".join(f"{name} {_percent(part)}" for name, part in pulls.shares.items())
    angle = "" if pulls.cosine is None else f"; cosine between label and teacher {pulls.cosine:.2f}"
    seen = f"share of the gradient on the student's weights over {pulls.num_batches} training batches: {parts}{angle}"
    if share < FAINT_SHARE:
        return Finding(
            "gradient", "No gradient from the teacher" if share == 0 else "The teacher is hardly heard", "cause", seen,
            "the distilled student follows the labels alone, so it is the plain student again",
            (f"method.alpha=0.7 (it is {alpha:g})",),
        )  # fmt: skip
    if pulls.cosine is not None and pulls.cosine < 0:
        return Finding(
            "gradient", "Labels and teacher pull apart", "contributing", seen,
            "at the end of training a step that serves one term undoes the other: on these images the teacher wants something "
            "else than the labels",
            ("a teacher that is right more often", "method.alpha=0.5"),
        )  # fmt: skip
    if share > CROWDED_SHARE and evidence.measured and evidence.measured.targets.accuracy < 1 - WRONG_TARGETS:
        return Finding(
            "gradient", "The labels are hardly heard", "contributing", seen,
            f"nearly nothing corrects the {_percent(1 - evidence.measured.targets.accuracy)} of targets that name a wrong class",
            ("method.alpha=0.7",),
        )  # fmt: skip
    return Finding(
        "gradient",
        "Gradient of the soft term",
        "fine",
        seen,
        "the teacher's term pulls at the student, and not against the labels",
    )


# -- the teacher -----------------------------------------------------------------------------------------------------------

SMALL_LEAD = 0.01
"""Lead over the plain student, in accuracy, below which there is next to nothing to hand on: gains are a part of the lead."""


def teacher_lead(evidence: Evidence) -> Finding:
    """Is the teacher better than the student without it?"""
    arms, n = evidence.recorded.arms, evidence.recorded.num_val
    teacher, plain = arms["teacher"].val_accuracy, arms["baseline"].val_accuracy
    lead, error = teacher - plain, _difference_error(teacher, plain, n)
    seen = (
        f"on {n:,} validation images the teacher has {_percent(teacher)}, the plain student {_percent(plain)}: "
        f"{_points(lead)} points (standard error at most {_plain_points(error)})"
    )
    if lead <= 0:
        return Finding(
            "teacher_lead", "The teacher is no better than the student", "cause", seen,
            "a student that follows a worse classifier learns its mistakes",
            (_longer_teacher(evidence), "another teacher.model.name", "teacher.path=FILE of a trained one"),
        )  # fmt: skip
    if lead < max(SMALL_LEAD, 2 * error):
        return Finding(
            "teacher_lead", "The teacher is hardly better than the student", "contributing", seen,
            "a gain is a part of the teacher's lead, and this one is within a point, or within the noise of the images",
            ("a stronger teacher: teacher.model.name, teacher.train.epochs", "a smaller student: student.model.name"),
        )  # fmt: skip
    return Finding("teacher_lead", "Teacher's lead", "fine", seen, "there is something to hand on")


WRONG_TARGETS = 0.1
"""Share of training targets with a wrong top class that costs: about the lead that distillation usually gains."""
MOSTLY_WRONG = 0.4
"""Share above which the targets contradict the labels nearly as often as they support them."""


def teacher_quality(evidence: Evidence) -> Finding | None:
    """How often does the teacher tell the student a wrong class?"""
    curve = evidence.recorded.curves.get("teacher")
    rising = "" if curve is None else _rise(curve.slope, curve.slope_error, curve.lr_tail)
    if evidence.measured is not None:
        targets, fit = evidence.measured.targets, evidence.measured.fits["teacher"]
        wrong = 1 - targets.accuracy
        seen = (
            f"the top class of {_percent(wrong)} of the training targets is wrong ({targets.num_images:,} augmented views); "
            f"the teacher knows {_percent(fit.train_accuracy)} of the training images as they are, "
            f"{_percent(fit.val_accuracy)} of the validation images"
        )
    elif curve is not None:
        wrong = 1 - curve.train_accuracy[-1]
        seen = f"in its last epoch the teacher was wrong on {_percent(wrong)} of its training batches, as they came"
    else:
        return None
    seen += f"; its validation accuracy {rising}" if rising else ""
    if wrong >= WRONG_TARGETS:
        return Finding(
            "teacher_quality", "The teacher is often wrong on the training images",
            "cause" if wrong >= MOSTLY_WRONG else "contributing", seen,
            "each of these targets pulls the student from a label that it has for free; the plain student is not misled so",
            (_longer_teacher(evidence), "another teacher.model.name", "method.alpha=0.5"),
        )  # fmt: skip
    return Finding("teacher_quality", "Teacher's targets", "fine", seen, "the targets rarely contradict the labels")


UNSURE = 0.1
"""Validation accuracy above confidence: trained networks are off by less, and rather the other way (Guo et al. 2017)."""
VERY_UNSURE = 0.25
"""The same from which the teacher is as soft at T = 1 as others are at their distillation temperature."""
OVERFITTED = 0.1
"""Training accuracy above validation accuracy: so many targets show what was learnt by heart, not what the teacher knows."""
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
        f"at T = {temperature:g} the targets have {found.entropy:.2f} nats, {_percent(found.entropy_share)} of log K; "
        f"{_percent(found.off_top)} of their mass lies off the top class, and {found.ranking:.3f} nats of it rank the others"
    )
    if found.entropy_share > ALMOST_UNIFORM:
        return Finding(
            "targets", "The targets are almost uniform", "cause", seen,
            "the temperature has washed out what the teacher knows: the soft term becomes a squared difference of logits, in "
            "which every class counts alike, the impossible ones too",
            (_setting("temperature", 4 if temperature > 4 else max(1, temperature / 2)),),
        )  # fmt: skip
    if found.off_top < ALMOST_ONE_HOT:
        return Finding(
            "targets", "The targets are almost one-hot", "cause", seen,
            f"the teacher is {_percent(found.confidence)} sure of its training targets at T = 1, so that they repeat the labels",
            (_setting("temperature", max(4, 2 * temperature)), "teacher.train.epochs fewer", "data.augment stronger"),
        )  # fmt: skip
    return Finding("targets", "Softened targets", "fine", seen, "the targets rank the wrong classes, and are not washed out")


def teacher_confidence(evidence: Evidence) -> Finding | None:
    """Is the teacher as sure as it is right, and on training images as on others?"""
    if evidence.measured is None:
        return None
    fit = evidence.measured.fits["teacher"]
    gap = fit.train_accuracy - fit.val_accuracy
    seen = (
        f"the teacher is {_percent(fit.train_confidence)} sure and {_percent(fit.train_accuracy)} right on training images, "
        f"{_percent(fit.val_confidence)} sure and {_percent(fit.val_accuracy)} right on validation images"
    )
    doubt = fit.val_accuracy - fit.val_confidence
    if doubt > UNSURE:
        return Finding(
            "teacher_confidence", "The teacher is less sure than it is right", "cause" if doubt > VERY_UNSURE else "contributing",
            seen, "its answers are soft before any temperature: they hold the student back from what the labels would teach it",
            (_setting("temperature", max(1, evidence.recorded.temperature / 4)), "teacher.train.epochs more"),
        )  # fmt: skip
    if gap > OVERFITTED:
        return Finding(
            "teacher_confidence", "The teacher has learnt its training images by heart", "contributing", seen,
            "on the images that the student sees it is surer, and more often right, than what it knows about images like them",
            ("teacher.train.epochs fewer", "teacher.train.weight_decay=5e-4", "data.augment stronger"),
        )  # fmt: skip
    return Finding("teacher_confidence", "Teacher's confidence", "fine", seen, "its training targets are those of new images")


def label_smoothing(evidence: Evidence) -> Finding | None:
    """Was the teacher, or the student, trained on smoothed labels?"""
    of_teacher, of_student = evidence.config.teacher_train.label_smoothing, evidence.config.train.label_smoothing
    given = evidence.config.teacher.path is not None
    seen = f"label smoothing: teacher {'unknown (given)' if given else f'{of_teacher:g}'}, student {of_student:g}"
    if of_teacher > 0 and not given:
        return Finding(
            "label_smoothing", "The teacher was trained with label smoothing", "contributing", seen,
            "smoothing pulls all wrong classes to one value and so hides how they rank (Müller et al. 2019)",
            ("teacher.train.label_smoothing=0",),
        )  # fmt: skip
    if of_student > 0:
        return Finding(
            "label_smoothing", "The student's labels are smoothed as well", "contributing", seen,
            "the smoothed labels and the soft targets both spread mass, and the smoothed part of it says nothing",
            ("train.label_smoothing=0",),
        )  # fmt: skip
    return Finding("label_smoothing", "Label smoothing", "fine", seen, "nothing hides how the wrong classes rank")


# -- the student -----------------------------------------------------------------------------------------------------------

DROPOUT_COSTS = 0.02
"""Training accuracy, in eval mode minus with dropout on, from which the noise counts: twice what seeds differ by here."""
UNDERFITS = 0.25
"""Generalisation's share of the validation error (train - val over 1 - val) below which fitting is what limits the student."""
ONLY_UNDERFITS = 0.10
"""The same below which practically the whole error is there on the training images already."""
LOW_ERROR = 0.03
"""Validation error below which the shares of it are noise."""


def dropout(evidence: Evidence) -> Finding:
    """Does dropout keep a student from fitting that fits too little anyway?"""
    recorded, measured = evidence.recorded, evidence.measured
    if not recorded.dropout:
        return Finding("dropout", "Dropout", "fine", "the student has no active dropout", "nothing blurs what it is told")
    rates = ", ".join(f"{name} {p:g}" for name, p in recorded.dropout.items())
    change = tuple(f"student.model.options.{name}=0" for name in recorded.dropout_options)
    change = change or ("train the student without dropout",)
    why = (
        "dropout fights over-fitting, but this student under-fits; it also blurs each answer that is compared to the teacher's, "
        "so that the soft term asks for what the student cannot show while it trains"
    )
    share = _generalisation_share(evidence)
    if measured is not None:
        fit = measured.fits["distilled"]
        cost = fit.train_accuracy - fit.dropout_accuracy
        seen = (
            f"on the same {measured.num_train:,} training images the distilled student has {_percent(fit.train_accuracy)} "
            f"without and {_percent(fit.dropout_accuracy)} with its dropout ({rates}): {_plain_points(cost)} points less"
        )
        underfits = share is not None and share < UNDERFITS
        if cost >= DROPOUT_COSTS and underfits:
            return Finding("dropout", "Dropout on a student that under-fits", "cause", seen, why, change)
        if cost >= DROPOUT_COSTS:
            return Finding(
                "dropout", "Dropout blurs what the student is taught", "contributing", seen,
                "soft targets are a regulariser themselves, and the student cannot match them through this noise", change,
            )  # fmt: skip
        return Finding("dropout", "Dropout", "fine", seen, "its noise costs the student next to nothing")
    curve = recorded.curves.get("distilled")
    if curve is None:
        return Finding("dropout", "Dropout", "contributing", f"the student has dropout: {rates}", why, change)
    behind = curve.val_accuracy[-1] - curve.train_accuracy[-1]
    seen = (
        f"the student has dropout ({rates}); in the last epoch it had {_percent(curve.train_accuracy[-1])} on its training "
        f"batches, with dropout and augmentation, and {_percent(curve.val_accuracy[-1])} on validation, without"
    )
    if behind > 0:
        return Finding("dropout", "Dropout on a student that under-fits", "cause", seen, why, change)
    return Finding("dropout", "Dropout", "contributing", seen, "it may blur what the student is taught", change)


def fit(evidence: Evidence) -> Finding | None:
    """Does the plain student under-fit or over-fit?"""
    share, measured, arms = _generalisation_share(evidence), evidence.measured, evidence.recorded.arms
    epochs = evidence.config.train.epochs
    curve = evidence.recorded.curves.get("baseline")
    if measured is not None:
        found = measured.fits["baseline"]
        train, val = found.train_accuracy, found.val_accuracy
        how = f"{measured.num_train:,} training images as they are"
    elif curve is not None:
        train, val, how = curve.train_accuracy[-1], arms["baseline"].val_accuracy, "its last training batches, as they came"
    else:
        return None
    seen = f"the plain student has {_percent(train)} on {how}, and {_percent(val)} on validation: a gap of {_points(train - val)}"
    if share is None:
        return Finding("fit", "Fit of the student", "fine", seen, "its validation error is too small to be divided")
    seen += f" points, {_percent(max(share, 0))} of its validation error"
    if share < UNDERFITS:
        # Training batches are harder than the images as they are, so without weights the share is only a lower bound.
        return Finding(
            "fit", "The student under-fits", "cause" if share < ONLY_UNDERFITS and measured is not None else "contributing", seen,
            "its error is there on the images it was trained on: it lacks steps or capacity, not the better generalisation "
            "that soft targets give",
            (f"train.epochs={2 * epochs}", *_onecycle(evidence), "a wider student: student.model.name=tiny_wide"),
        )  # fmt: skip
    if train - val > OVERFITTED:
        return Finding(
            "fit", "The student over-fits", "contributing", seen,
            "soft targets help against this, but only on views they are asked about: with few views they are learnt by heart too",
            ("data.augment.padding=4", "data.augment.mix=cutmix", "method.alpha=0.9"),
        )  # fmt: skip
    return Finding("fit", "Fit of the student", "fine", seen, "part of its error is generalisation, which soft targets can mend")


SLOWED = 0.02
"""Training accuracy by which the distilled student falls behind the plain one: twice what seeds differ by here."""
HELD_BACK = 0.05
"""The same that a better generalisation would first have to make up for."""


def pace(evidence: Evidence) -> Finding | None:
    """Does the soft term keep the distilled student from fitting what the plain one fits?"""
    measured, curves = evidence.measured, evidence.recorded.curves
    if measured is not None:
        plain, taught = measured.fits["baseline"].train_accuracy, measured.fits["distilled"].train_accuracy
        how = f"{measured.num_train:,} training images as they are"
    elif {"baseline", "distilled"} <= curves.keys():
        plain, taught = curves["baseline"].train_accuracy[-1], curves["distilled"].train_accuracy[-1]
        how = "their last training batches"
    else:
        return None
    epochs = evidence.config.train.epochs
    seen = f"on {how} the distilled student has {_percent(taught)}, the plain one {_percent(plain)}, after {epochs} epochs each"
    if plain - taught > SLOWED:
        return Finding(
            "pace", "The soft term holds the student back", "cause" if plain - taught > HELD_BACK else "contributing", seen,
            "in the same number of steps it learns less from the teacher than from the labels: soft targets take longer to "
            "match (Beyer et al. 2022), and their pull leaves less for the labels",
            (f"train.epochs={2 * epochs}", _cooler(evidence), "method.alpha=0.5"),
        )  # fmt: skip
    return Finding("pace", "Pace", "fine", seen, "the soft term does not slow the student down")


CAPACITY_GAP = 0.1
"""Training accuracy of the teacher above the plain student's from which the student cannot follow (Cho & Hariharan 2019)."""


def capacity(evidence: Evidence) -> Finding | None:
    """Can a network of the student's size follow this teacher on the training images?"""
    arms, measured = evidence.recorded.arms, evidence.measured
    if measured is not None:
        student, teacher = measured.fits["baseline"].train_accuracy, measured.fits["teacher"].train_accuracy
        how = "training images as they are"
    elif {"teacher", "baseline"} <= evidence.recorded.curves.keys():
        curves = evidence.recorded.curves
        student, teacher = curves["baseline"].train_accuracy[-1], curves["teacher"].train_accuracy[-1]
        how = "their last training batches"
    else:
        return None
    large, small = arms["teacher"].parameters, arms["baseline"].parameters
    sizes = f"; {large:,} against {small:,} parameters, {large / small:.0f} to 1" if large and small else ""
    seen = f"on {how} the teacher has {_percent(teacher)}, the plain student {_percent(student)}{sizes}"
    if teacher - student > CAPACITY_GAP:
        return Finding(
            "capacity", "The student cannot follow its teacher", "contributing", seen,
            "the student does not reach the teacher's function even where it is shown it, be it for size or for too few steps; a "
            "teacher nearer to it is easier to follow (Mirzadeh et al. 2020)",
            ("a wider student: student.model.name=tiny_wide", "a teacher of a size between the two", "train.epochs more"),
        )  # fmt: skip
    return Finding("capacity", "Capacity", "fine", seen, "the student reaches the teacher's level on the training images")


FOLLOWED = 0.1
"""Part of the plain student's divergence from the teacher that distillation has to remove to have had an effect."""

LOST_AGREEMENT = 0.01
"""Agreement below the plain student's, as a share of the images: more than seeds differ by."""


def agreement(evidence: Evidence) -> Finding | None:
    """Is the distilled student nearer to the teacher than the plain one?"""
    plain, taught = evidence.recorded.arms["baseline"], evidence.recorded.arms["distilled"]
    if plain.teacher_kl is None or taught.teacher_kl is None or plain.agreement is None or taught.agreement is None:
        return None
    removed = 1 - taught.teacher_kl / plain.teacher_kl if plain.teacher_kl else 0.0
    seen = (
        f"on validation the distilled student agrees with the teacher on {_percent(taught.agreement)} of the images, the plain "
        f"one on {_percent(plain.agreement)}; its divergence from the teacher is {taught.teacher_kl:.3f} against "
        f"{plain.teacher_kl:.3f} nats ({_percent(abs(removed))} {'less' if removed >= 0 else 'more'})"
    )
    if taught.agreement < plain.agreement - LOST_AGREEMENT:
        return Finding(
            "agreement", "The student copies the teacher's doubts, not its answers", "contributing", seen,
            "its probabilities may be nearer to the teacher's, but it picks the teacher's class less often than the plain one",
            ("method.alpha=0.5", _cooler(evidence)),
        )  # fmt: skip
    if removed < FOLLOWED:
        return Finding(
            "agreement", "The teaching did not get through", "contributing", seen,
            "the student is no nearer to the teacher on new images than one that never heard it, so that no teacher could have "
            "helped: look at dropout, fit, length and gradient first",
            ("the settings of the other findings first",),
        )  # fmt: skip
    return Finding("agreement", "Agreement with the teacher", "fine", seen, "the student took over part of what the teacher says")


# -- the training -----------------------------------------------------------------------------------------------------------

HIGH_TAIL = 0.05
"""Last learning rate over the peak: a cosine ends below 1 %, two drops by ten at 1 %; above 5 % a schedule has not closed."""
OPEN_TAIL = 0.2
"""The same above which the last steps are nearly as large as the first, and their noise is in the kept weights."""
RISING = 0.001
"""Rise of the validation accuracy per epoch that still matters: a point in ten more epochs."""


def length(evidence: Evidence) -> Finding | None:
    """Did the learning rate come down, and the validation accuracy come to rest?"""
    curve = evidence.recorded.curves.get("distilled")
    if curve is None:
        return None
    epochs = len(curve.lr)
    seen = (
        f"after {epochs} epochs the learning rate is {curve.lr[-1]:.2g}, {_percent(curve.lr_tail)} of its peak; the distilled "
        f"student's validation accuracy {_rise(curve.slope, curve.slope_error, curve.lr_tail) or 'has too few epochs to tell'}"
    )
    plain = evidence.recorded.curves.get("baseline")
    if plain is not None and plain.slope is not None:
        seen += f", the plain one's {_rise(plain.slope, plain.slope_error, plain.lr_tail)}"
    unfinished = any(
        c is not None and c.slope is not None and c.slope_error is not None and c.slope > max(RISING, 2 * c.slope_error)
        for c in (curve, plain)
    )
    if curve.lr_tail > HIGH_TAIL:
        return Finding(
            "length", "Training stopped early" if unfinished else "The learning rate never came down",
            "cause" if curve.lr_tail >= OPEN_TAIL else "contributing", seen,
            "the last steps are still large, so that the kept weights hold their noise"
            + (" and the accuracy had not come to rest" if unfinished else "")
            + "; distillation pays late in training, where soft targets still teach and labels no longer do (Beyer et al. 2022)",
            (*_onecycle(evidence), f"train.epochs={2 * epochs}"),
        )  # fmt: skip
    return Finding("length", "Learning-rate tail", "fine", seen, "the schedule has closed")


# -- the images -------------------------------------------------------------------------------------------------------------

FAR_MEAN, FAR_STD = 0.75, 2.5
"""Mean and spread (or its inverse) of normalised pixels beyond which data.mean and data.std are not those of the images:
those of natural images differ by less than 0.2 and 1.3 between data sets."""
BETTER_VIEW = 0.02
"""Accuracy by which another normalisation must beat the configured one of a given teacher: twice its error on 1,000 images."""


def normalisation(evidence: Evidence) -> Finding | None:
    """Do the networks see the images as they should?"""
    if evidence.measured is None:
        return None
    measured, data = evidence.measured, evidence.config.data
    mean = max(measured.input_mean, key=abs)
    std = max(measured.input_std, key=lambda s: max(s, 1 / max(s, 1e-9)))
    seen = f"normalised training pixels: mean up to {mean:+.2f} and standard deviation up to {std:.2f} from 0 and 1 in a channel"
    views = dict(measured.normalisations)
    own = views.pop("as configured", None)
    if own is not None and views:
        best = max(views, key=lambda name: views[name])
        seen += f"; the given teacher has {_percent(own)} as configured, {_percent(views[best])} with {best}'s mean and std"
        if views[best] - own > BETTER_VIEW:
            return Finding(
                "normalisation", "The teacher sees wrongly normalised images", "cause", seen,
                "it was trained on images of another normalisation, and is a worse teacher on these",
                (f"teacher.mean and teacher.std of {best}",),
            )  # fmt: skip
    if abs(mean) > FAR_MEAN or not 1 / FAR_STD < std < FAR_STD:
        return Finding(
            "normalisation", "The images are not normalised", "contributing", seen,
            f"data.mean {list(data.mean)} and data.std {list(data.std)} are not those of these images; small networks "
            "learn slower so",
            ("data.mean and data.std of the training images",),
        )  # fmt: skip
    return Finding("normalisation", "Normalisation", "fine", seen, "the inputs are centred and scaled")


LOST_TO_VIEWS = 0.1
"""Teacher's accuracy on training images as they are above that on their views: so many targets are spoilt by the views."""


def augmentation(evidence: Evidence) -> Finding | None:
    """Do the views give the teacher something new to say, that it can still read?"""
    augment = evidence.config.data.augment
    names = [f"crop {augment.padding}" if augment.padding else "", "mirror" if augment.flip else ""]
    names += [augment.mix if augment.mix != "none" else "", f"{augment.randaugment} random" if augment.randaugment else ""]
    used = ", ".join(name for name in names if name) or "none"
    if used == "none":
        return Finding(
            "augmentation", "No augmentation", "contributing", "views: 1 of each image, the same in every epoch",
            "the teacher says the same about it in every epoch: its knowledge between the images is never asked for",
            ("data.augment.padding=4", "data.augment.flip=true where mirrored images are valid"),
        )  # fmt: skip
    if evidence.measured is None or augment.mix != "none":  # a mixed image has no one right class
        return Finding("augmentation", "Augmentation", "fine", f"views: {used}", "the teacher is asked about many views")
    plain, views = evidence.measured.fits["teacher"].train_accuracy, evidence.measured.targets.accuracy
    seen = f"views: {used}; the teacher has {_percent(plain)} on training images as they are and {_percent(views)} on their views"
    if plain - views > LOST_TO_VIEWS:
        return Finding(
            "augmentation", "The teacher cannot read the views", "contributing", seen,
            "the student is shown images on which the teacher is wrong, and would not be on the images as they are",
            ("data.augment.randaugment=0", "data.augment.padding=2", "train the teacher with these views"),
        )  # fmt: skip
    return Finding("augmentation", "Augmentation", "fine", seen, "the teacher is asked about many views, and can read them")


# -- extreme options ---------------------------------------------------------------------------------------------------------

LOW_T, HIGH_T = 1.0, 20.0
"""Temperatures outside which no published recipe for image classification that we know of works."""


def options(evidence: Evidence) -> Finding:
    """Are temperature and alpha within what is known to work?"""
    temperature, alpha = evidence.recorded.temperature, evidence.recorded.alpha
    seen = f"method {evidence.config.method['name']}, temperature {temperature:g}, alpha {alpha:g}"
    if not LOW_T <= temperature <= HIGH_T:
        return Finding(
            "options", "Extreme temperature", "contributing", seen,
            "below 1 the targets are harder than the teacher's own answers, far above it all classes look alike",
            (_setting("temperature", 4),),
        )  # fmt: skip
    if alpha == 1 and evidence.recorded.arms["teacher"].val_accuracy < 1 - WRONG_TARGETS:
        return Finding(
            "options", "No labels", "contributing", seen, "nothing corrects the teacher where it is wrong", ("method.alpha=0.7",)
        )
    return Finding("options", "Temperature and alpha", "fine", seen, "both lie within what is used elsewhere")


# -- the measurement --------------------------------------------------------------------------------------------------------

MANY_SEEDS = 30
"""Beyond as many, the gain is too small to look for by more seeds."""


def noise(evidence: Evidence) -> Finding:
    """Could this run have shown a gain at all?"""
    gain, recorded = evidence.recorded.gain, evidence.recorded
    gains = [float(g) for g in gain["gains"]]  # type: ignore[attr-defined]
    n, mean = len(gains), math.fsum(gains) / len(gains)
    error = _difference_error(
        recorded.arms["distilled"].test_accuracy, recorded.arms["baseline"].test_accuracy, recorded.num_test
    )
    about_test = (
        f"the {recorded.num_test:,} test images, the same for all seeds, add a standard error of at most {_plain_points(error)}"
    )
    if n == 1:
        return Finding(
            "noise", "One seed says nothing", "cause", f"gain {_points(mean)} points on one seed; {about_test}",
            "seeds differ by about as much as distillation gains, and one of them has no interval", ("--seeds 0,1,2",),
        )  # fmt: skip
    low, high = float(gain["low"]), float(gain["high"])  # type: ignore[arg-type]
    std = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / (n - 1))
    seen = (
        f"gain {_points(mean)} points [{_points(low)}, {_points(high)}] over {n} seeds, which differ by "
        f"{_plain_points(std)} (one standard deviation); {about_test}"
    )
    if low > 0 or high < 0:
        return Finding("noise", "Seed noise", "fine", seen, "the effect is larger than the noise of the seeds")
    needed = seeds_needed(mean, std)
    many = f"about {needed}" if needed is not None and needed <= MANY_SEEDS else f"more than {MANY_SEEDS}"
    seen += f"; to show an effect of this size in four runs of five takes {many} seeds"
    more = ("--seeds " + ",".join(map(str, range(needed))),) if needed is not None and needed <= MANY_SEEDS else ()
    if mean > 0:
        return Finding(
            "noise", "The gain is smaller than the noise", "cause" if more else "contributing", seen,
            "there may be a gain, but this run cannot tell it from chance", more or ("the other findings first",),
        )  # fmt: skip
    return Finding(
        "noise", "The effect is smaller than the noise", "contributing", seen,
        "this run can tell neither help nor harm; more seeds would at best confirm that it did not help", more,
    )  # fmt: skip


def seeds_needed(gain: float, std: float, largest: int = 10_000) -> int | None:
    """Fewest seeds, at least 2, whose 95 % t interval excludes 0 in 80 % of runs with this true gain; None above ``largest``.

    The usual approximation: ``|gain| >= (t(0.975) + t(0.8)) * std / sqrt(n)`` with n - 1 degrees of freedom.
    """
    from scipy import stats

    for n in range(2, largest + 1):
        if abs(gain) >= (stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) * std / math.sqrt(n):
            return n
        if n > MANY_SEEDS and abs(gain) < 1.9 * std / math.sqrt(largest):
            return None
    return None


# -- all of them ------------------------------------------------------------------------------------------------------------

QUESTIONS: tuple[Callable[[Evidence], Finding | None], ...] = (
    gradient,
    teacher_lead,
    normalisation,
    targets,
    dropout,
    fit,
    pace,
    length,
    agreement,
    teacher_quality,
    capacity,
    teacher_confidence,
    label_smoothing,
    augmentation,
    options,
    noise,
)
"""Most decisive first: the order of findings of one severity."""

NEED_WEIGHTS = {
    "gradient": "share of the gradient from each term",
    "targets": "entropy and dark knowledge of the softened targets",
    "teacher_confidence": "the teacher's confidence on training images",
    "dropout": "what dropout costs on the same images",
    "fit": "training accuracy on images as they are",
    "pace": "whether the distilled student lags on images as they are",
    "teacher_quality": "how many training targets are wrong",
    "capacity": "how far the student follows on the same images",
    "normalisation": "how the images look after normalisation",
    "augmentation": "whether the teacher can read the views",
}
"""Findings that are missing or rest on less without weights, and what is not known then."""


def diagnose(evidence: Evidence) -> list[Finding]:
    """All findings, causes first. Where distillation is shown to have helped there is nothing to explain, so no cause."""
    found = [finding for question in QUESTIONS if (finding := question(evidence)) is not None]
    low = evidence.recorded.gain["low"]
    if low is not None and float(low) > 0:  # type: ignore[arg-type]
        found = [replace(f, severity="contributing") if f.severity == "cause" else f for f in found]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def _generalisation_share(evidence: Evidence) -> float | None:
    """Gap between training and validation accuracy of the plain student over its validation error; None for a tiny error."""
    val = evidence.recorded.arms["baseline"].val_accuracy
    if 1 - val < LOW_ERROR:
        return None
    if evidence.measured is not None:
        train = evidence.measured.fits["baseline"].train_accuracy
    elif "baseline" in evidence.recorded.curves:
        train = evidence.recorded.curves["baseline"].train_accuracy[-1]
    else:
        return None
    return (train - val) / (1 - val)


def _difference_error(one: float, other: float, n: int) -> float:
    """Standard error of the difference of two accuracies on ``n`` images, as if on separate ones: on the same ones it is less."""
    return math.sqrt((one * (1 - one) + other * (1 - other)) / n)


def _onecycle(evidence: Evidence) -> tuple[str, ...]:
    return () if evidence.config.train.schedule == "onecycle" else ("train.schedule=onecycle",)


def _cooler(evidence: Evidence) -> str:
    return _setting("temperature", max(1, evidence.recorded.temperature / 2))


def _longer_teacher(evidence: Evidence) -> str:
    return f"teacher.train.epochs={2 * evidence.config.teacher_train.epochs}"


def _setting(option: str, value: float) -> str:
    return f"method.{option}={value:g}"


def _rise(slope: float | None, error: float | None, tail: float) -> str:
    if slope is None or error is None:
        return ""
    how = "still rose" if slope > max(RISING, 2 * error) and tail > HIGH_TAIL else "changed"
    return f"{how} by {_points(slope)} ± {_plain_points(error)} points per epoch"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # + 0.0: no minus in front of a zero


def _plain_points(difference: float) -> str:
    return f"{100 * difference:.1f}"
