"""The images: normalised as the networks expect, augmented so that the teacher is still right?"""

from understudy.config.schema import AugmentConfig
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Finding, Outcome, Rule
from understudy.diagnose.findings.format import percent

FAR_MEAN, FAR_STD = 0.75, 2.5
"""Mean and spread (or its inverse) of normalised pixels beyond which data.mean and data.std are not
those of the images: natural data sets differ by less than 0.2 and 1.3."""
BETTER_VIEW = 0.02
"""Accuracy by which another normalisation must beat the configured one of a given teacher: twice
the standard error on 1,000 images."""

NORMALISATION = Rule(
    key="normalisation",
    question="Are the images normalised as the networks expect?",
    looks_at="pixels after `data.mean` and `data.std`; for a given teacher, its accuracy with "
    "other common normalisations",
    contributing="mean beyond ±0.75 or spread beyond a factor of 2.5",
    cause="another normalisation is 2 points better",
    threshold="natural data sets differ by less than 0.2 and 1.3; 2 points are two standard errors "
    "on 1,000 images",
    without_weights="how the images look after normalisation",
    outcomes={
        "wrong": Outcome(
            title="The teacher gets wrongly normalised images",
            severity="cause",
            why="it was trained with another normalisation, and is less accurate with this one",
        ),
        "off": Outcome(
            title="The images are not normalised",
            severity="contributing",
            why="data.mean and data.std are not those of these images; small networks then learn "
            "more slowly",
        ),
        "fine": Outcome(
            title="Normalisation",
            severity="fine",
            why="the inputs are centred and scaled",
        ),
    },
)


def check_normalisation(evidence: Evidence) -> Finding | None:
    """Apply :data:`NORMALISATION`."""
    if evidence.measured is None:
        return None
    measured, data = evidence.measured, evidence.config.data
    mean = max(measured.input_mean, key=abs)
    std = max(measured.input_std, key=lambda s: max(s, 1 / max(s, 1e-9)))
    seen = (
        "normalised training pixels have, in the channels farthest from 0 and 1, a mean of "
        f"{mean:+.2f} and a standard deviation of {std:.2f}"
    )
    others = dict(measured.normalisations)
    configured = others.pop("as configured", None)
    if configured is not None and others:
        best = max(others, key=lambda name: others[name])
        seen += (
            f"; the given teacher has {percent(configured)} as configured, "
            f"{percent(others[best])} with the mean and std of {best}"
        )
        if others[best] - configured > BETTER_VIEW:
            return NORMALISATION.finding("wrong", seen, f"teacher.mean and teacher.std of {best}")
    if abs(mean) > FAR_MEAN or not 1 / FAR_STD < std < FAR_STD:
        seen += f"; data.mean is {list(data.mean)}, data.std {list(data.std)}"
        return NORMALISATION.finding("off", seen, "data.mean and data.std of the training images")
    return NORMALISATION.finding("fine", seen)


LOST_TO_VIEWS = 0.1
"""Teacher's accuracy on unaugmented training images minus that on augmented ones: the share of
targets that augmentation makes wrong."""

AUGMENTATION = Rule(
    key="augmentation",
    question="Are there many views of each image, and is the teacher accurate on them?",
    looks_at="the configuration; the teacher's accuracy on unaugmented and augmented images",
    contributing="no augmentation; or 10 points lost by augmentation",
    threshold="without augmentation the targets are the same in every epoch; with too much of it "
    "the teacher is wrong on the images that the student is trained on",
    without_weights="how accurate the teacher is on augmented images",
    outcomes={
        "none": Outcome(
            title="No augmentation",
            severity="contributing",
            why="an image has the same soft target in every epoch: what the teacher knows about "
            "other views of it is not used",
        ),
        "too_strong": Outcome(
            title="The teacher is inaccurate on augmented images",
            severity="contributing",
            why="the student is trained on views on which the teacher is wrong, although it is "
            "right on the unaugmented images",
        ),
        "unmeasured": Outcome(
            title="Augmentation",
            severity="fine",
            why="there are soft targets for many views of each image",
        ),
        "fine": Outcome(
            title="Augmentation",
            severity="fine",
            why="there are soft targets for many views of each image, and the teacher is accurate "
            "on them",
        ),
    },
)


def check_augmentation(evidence: Evidence) -> Finding | None:
    """Apply :data:`AUGMENTATION`."""
    used = _describe(evidence.config.data.augment)
    if not used:
        return AUGMENTATION.finding(
            "none",
            "views: 1 of each image, the same in every epoch",
            "data.augment.padding=4",
            "data.augment.flip=true if mirrored images are valid",
        )
    if evidence.measured is None or evidence.mixed:  # a mixed image has no single right class
        return AUGMENTATION.finding("unmeasured", f"views: {used}")
    unaugmented = evidence.measured.fits["teacher"].train_accuracy
    augmented = evidence.measured.targets.accuracy
    seen = (
        f"views: {used}; the teacher has {percent(unaugmented)} on unaugmented training images and "
        f"{percent(augmented)} on augmented ones"
    )
    if unaugmented - augmented > LOST_TO_VIEWS:
        return AUGMENTATION.finding(
            "too_strong",
            seen,
            *_weaker(evidence.config.data.augment),
            "train the teacher with these views",
        )
    return AUGMENTATION.finding("fine", seen)


def _weaker(augment: AugmentConfig) -> list[str]:
    """Settings to try where the teacher does not know the views: off what is on, a smaller crop."""
    colours = ("photometric", "rand_augment_ops") if augment.rand_augment_ops else ("photometric",)
    crop = "resized_crop=[0.7, 1.0]" if augment.resized_crop else "padding=2"
    return [*(f"data.augment.{name}=0" for name in colours), f"data.augment.{crop}"]


def _describe(augment: AugmentConfig) -> str:
    """The operations in use, ``crop 4, mirror``; empty if there is none."""
    names = [
        _describe_crop(augment),
        "mirror" if augment.flip else "",
        "upside down" if augment.vertical_flip else "",
        augment.mix if augment.mix != "none" else "",
        f"{augment.photometric} photometric" if augment.photometric else "",
        f"{augment.rand_augment_ops} of RandAugment" if augment.rand_augment_ops else "",
        "colour jitter" if augment.color_jitter else "",
        f"erasing {augment.erasing:g}" if augment.erasing else "",
    ]
    return ", ".join(name for name in names if name)


def _describe_crop(augment: AugmentConfig) -> str:
    if augment.resized_crop:
        low, high = augment.resized_crop
        return f"resized crop {low:g} to {high:g} of the area"
    return f"crop {augment.padding}" if augment.padding else ""
