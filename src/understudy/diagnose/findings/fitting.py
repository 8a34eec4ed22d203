"""The student and its training images: does it fit them too little, or too well, and is it dropout's doing?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding, Severity
from understudy.diagnose.findings.settings import onecycle
from understudy.diagnose.findings.teacher import OVERFITTED
from understudy.diagnose.findings.wording import percent, plain_points, points

UNDERFITS = 0.25
"""Generalisation's share of the validation error (train - val over 1 - val) below which fitting is what limits the student."""
LOW_ERROR = 0.03
"""Validation error below which the shares of it are noise."""


def fit(evidence: Evidence) -> Finding | None:
    """Does the plain student under-fit or over-fit?"""
    share, measured, arms = (
        _generalisation_share(evidence),
        evidence.measured,
        evidence.recorded.arms,
    )
    epochs = evidence.config.train.epochs
    curve = evidence.recorded.curves.get("baseline")
    if measured is not None:
        found = measured.fits["baseline"]
        train, val = found.train_accuracy, found.val_accuracy
        how = f"{measured.num_train:,} training images as they are"
    elif curve is not None and not evidence.mixed:
        train, val, how = (
            curve.train_accuracy[-1],
            arms["baseline"].val_accuracy,
            "its last training batches, as they came",
        )
    else:
        return None
    gap = f"a gap of {points(train - val)} points"
    seen = (
        f"the plain student has {percent(train)} on {how}, and {percent(val)} on validation: {gap}"
    )
    if share is None:
        return Finding(
            "fit",
            "Fit of the student",
            "fine",
            seen,
            "its validation error is too small to be divided",
        )
    seen += f", {percent(max(share, 0))} of its validation error"
    if share < UNDERFITS:
        # Training batches are harder than the images as they are, so without weights the share is only a lower bound.
        return Finding(
            "fit",
            "The student under-fits",
            "contributing",
            seen,
            "its error is there on the images it was trained on: it lacks steps or capacity, not the better generalisation "
            "that soft targets give",
            (
                f"train.epochs={2 * epochs}",
                *onecycle(evidence),
                "a wider student: student.model.name=tiny_wide",
            ),
        )
    if train - val > OVERFITTED:
        return Finding(
            "fit",
            "The student over-fits",
            "contributing",
            seen,
            "soft targets help against this, but only on views they are asked about: with few views they are learnt by heart too",
            ("data.augment.padding=4", "data.augment.mix=cutmix", "method.alpha=0.9"),
        )
    return Finding(
        "fit",
        "Fit of the student",
        "fine",
        seen,
        "part of its error is generalisation, which soft targets can mend",
    )


DROPOUT_COSTS = 0.02
"""Training accuracy, in eval mode minus with dropout on, from which the noise counts: twice what seeds differ by here."""
DROPOUT_RUINS = 0.10
"""The same from which it explains a missing gain by itself. In the founding experiment it costs 0.03, and there a better teacher
alone brings the gain (results/founding-causes)."""


def dropout(evidence: Evidence) -> Finding:
    """Does dropout keep a student from fitting that fits too little anyway?"""
    recorded, measured = evidence.recorded, evidence.measured
    if not recorded.dropout:
        return Finding(
            "dropout",
            "Dropout",
            "fine",
            "the student has no active dropout",
            "nothing blurs what it is told",
        )
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
            f"on the same {measured.num_train:,} training images the distilled student has {percent(fit.train_accuracy)} "
            f"without and {percent(fit.dropout_accuracy)} with its dropout ({rates}): {plain_points(cost)} points less"
        )
        underfits = share is not None and share < UNDERFITS
        if cost >= DROPOUT_COSTS and underfits:
            severity: Severity = "cause" if cost >= DROPOUT_RUINS else "contributing"
            return Finding(
                "dropout", "Dropout on a student that under-fits", severity, seen, why, change
            )
        if cost >= DROPOUT_COSTS:
            return Finding(
                "dropout",
                "Dropout blurs what the student is taught",
                "contributing",
                seen,
                "soft targets are a regulariser themselves, and the student cannot match them through this noise",
                change,
            )
        return Finding(
            "dropout", "Dropout", "fine", seen, "its noise costs the student next to nothing"
        )
    perhaps = "it may blur what the student is taught"
    curve = recorded.curves.get("distilled")
    if curve is None or evidence.mixed:
        return Finding(
            "dropout",
            "Dropout",
            "contributing",
            f"the student has dropout: {rates}",
            perhaps,
            change,
        )
    behind = curve.val_accuracy[-1] - curve.train_accuracy[-1]
    seen = (
        f"the student has dropout ({rates}); in the last epoch it had {percent(curve.train_accuracy[-1])} on its training "
        f"batches, with dropout and augmentation, and {percent(curve.val_accuracy[-1])} on validation, without"
    )
    if behind > 0:
        return Finding(
            "dropout", "Dropout on a student that under-fits", "contributing", seen, why, change
        )
    return Finding("dropout", "Dropout", "contributing", seen, perhaps, change)


def _generalisation_share(evidence: Evidence) -> float | None:
    """Gap between training and validation accuracy of the plain student over its validation error; None for a tiny error."""
    val = evidence.recorded.arms["baseline"].val_accuracy
    if 1 - val < LOW_ERROR:
        return None
    if evidence.measured is not None:
        train = evidence.measured.fits["baseline"].train_accuracy
    elif "baseline" in evidence.recorded.curves and not evidence.mixed:
        train = evidence.recorded.curves["baseline"].train_accuracy[-1]
    else:
        return None
    return (train - val) / (1 - val)
