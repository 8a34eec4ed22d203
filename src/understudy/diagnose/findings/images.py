"""The images: do the networks see them normalised, and in views that the teacher can read?"""

from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding
from understudy.diagnose.findings.wording import percent

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
    seen = (
        f"normalised training pixels have, in the channels farthest from 0 and 1, a mean of {mean:+.2f} and a standard deviation "
        f"of {std:.2f}"
    )
    views = dict(measured.normalisations)
    own = views.pop("as configured", None)
    if own is not None and views:
        best = max(views, key=lambda name: views[name])
        seen += f"; the given teacher has {percent(own)} as configured, {percent(views[best])} with {best}'s mean and std"
        if views[best] - own > BETTER_VIEW:
            return Finding(
                "normalisation",
                "The teacher sees wrongly normalised images",
                "cause",
                seen,
                "it was trained on images of another normalisation, and is a worse teacher on these",
                (f"teacher.mean and teacher.std of {best}",),
            )
    if abs(mean) > FAR_MEAN or not 1 / FAR_STD < std < FAR_STD:
        return Finding(
            "normalisation",
            "The images are not normalised",
            "contributing",
            seen,
            f"data.mean {list(data.mean)} and data.std {list(data.std)} are not those of these images; small networks "
            "learn slower so",
            ("data.mean and data.std of the training images",),
        )
    return Finding(
        "normalisation", "Normalisation", "fine", seen, "the inputs are centred and scaled"
    )


LOST_TO_VIEWS = 0.1
"""Teacher's accuracy on training images as they are above that on their views: so many targets are spoilt by the views."""


def augmentation(evidence: Evidence) -> Finding | None:
    """Do the views give the teacher something new to say, that it can still read?"""
    augment = evidence.config.data.augment
    names = [f"crop {augment.padding}" if augment.padding else "", "mirror" if augment.flip else ""]
    names += [
        augment.mix if augment.mix != "none" else "",
        f"{augment.photometric} random" if augment.photometric else "",
    ]
    used = ", ".join(name for name in names if name) or "none"
    if used == "none":
        return Finding(
            "augmentation",
            "No augmentation",
            "contributing",
            "views: 1 of each image, the same in every epoch",
            "the teacher says the same about it in every epoch: its knowledge between the images is never asked for",
            ("data.augment.padding=4", "data.augment.flip=true where mirrored images are valid"),
        )
    if evidence.measured is None or evidence.mixed:  # a mixed image has no one right class
        return Finding(
            "augmentation",
            "Augmentation",
            "fine",
            f"views: {used}",
            "the teacher is asked about many views",
        )
    plain, views = (
        evidence.measured.fits["teacher"].train_accuracy,
        evidence.measured.targets.accuracy,
    )
    seen = f"views: {used}; the teacher has {percent(plain)} on training images as they are and {percent(views)} on their views"
    if plain - views > LOST_TO_VIEWS:
        return Finding(
            "augmentation",
            "The teacher cannot read the views",
            "contributing",
            seen,
            "the student is shown images on which the teacher is wrong, and would not be on the images as they are",
            (
                "data.augment.photometric=0",
                "data.augment.padding=2",
                "train the teacher with these views",
            ),
        )
    return Finding(
        "augmentation",
        "Augmentation",
        "fine",
        seen,
        "the teacher is asked about many views, and can read them",
    )
