"""Findings about the images."""

import pytest
from tests.diagnose.example_evidence import config, healthy, measured, targets_of
from tests.diagnose.findings.planted import Planted, assert_found

from understudy.config.recipe import load_config
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.findings.finding import Check, Severity
from understudy.diagnose.findings.images import check_augmentation, check_normalisation

PLANTED: list[Planted] = [
    (
        check_normalisation,
        "off",
        "contributing",
        healthy(measured_=measured(input_mean=(2.0, 0.0, 0.0))),
    ),
    (
        check_normalisation,
        "off",
        "contributing",
        healthy(measured_=measured(input_std=(1.0, 0.2, 1.0))),
    ),
    (
        check_normalisation,
        "wrong",
        "cause",
        healthy(measured_=measured(normalisations={"as configured": 0.7, "ImageNet": 0.9})),
    ),
    (
        check_augmentation,
        "none",
        "contributing",
        healthy(config(data={"augment": {"padding": 0, "flip": False}})),
    ),
    (check_augmentation, "too_strong", "contributing", targets_of(accuracy=0.80)),
]


@pytest.mark.parametrize(("check", "outcome", "severity", "evidence"), PLANTED)
def test_planted_problem_is_found(
    check: Check, outcome: str, severity: Severity, evidence: Evidence
):
    assert_found(check, outcome, severity, evidence)


PHOTOS = {
    "resized_crop": [0.35, 1.0],
    "color_jitter": [0.4, 0.4, 0.4, 0.1],
    "rand_augment_ops": 2,
    "erasing": 0.25,
    "vertical_flip": True,
}


def test_views_for_photos_are_named_and_weakened_in_their_own_keys():
    views = config(data={"augment": PHOTOS})
    fine = check_augmentation(healthy(views))
    assert fine is not None and (
        "resized crop 0.35 to 1 of the area, mirror, upside down, 2 of RandAugment, "
        "colour jitter, erasing 0.25" in fine.evidence
    )
    targets = targets_of(accuracy=0.80).measured
    found = check_augmentation(healthy(views, measured_=targets))
    assert found is not None
    settings = [change for change in found.change if "=" in change]
    assert "data.augment.resized_crop=[0.7, 1.0]" in settings
    for setting in settings:
        load_config("digits", [setting])
