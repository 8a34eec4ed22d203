"""Ranges of activations."""

from dataclasses import replace

import numpy as np
import pytest
from tests.export.c.networks import deployable, examples

from understudy.errors import UnderstudyError
from understudy.export.graph import INPUT, Graph
from understudy.export.int8.calibration import calibrate
from understudy.export.settings import Calibration, QuantisationSettings
from understudy.export.tracing import trace


def traced(name: str) -> Graph:
    subject = deployable(name)
    return trace(subject.network, subject.preprocessing.image)


def test_extremes_of_the_image_are_those_of_its_bytes() -> None:
    subject, images = deployable("uneven"), examples("uneven").train
    settings = QuantisationSettings(images=64)
    ranges = calibrate(traced("uneven"), subject.normalisation, images, settings)
    mean, std = (np.array(part) for part in (subject.normalisation.mean, subject.normalisation.std))
    low, high = (images.images.amin().item() / 255, images.images.amax().item() / 255)
    assert ranges[INPUT].low == pytest.approx(min((low - mean) / std), abs=0.05)
    assert ranges[INPUT].high == pytest.approx(max((high - mean) / std), abs=0.05)


def test_zero_lies_in_every_range() -> None:
    subject = deployable("squeezed")
    ranges = calibrate(
        traced("squeezed"),
        subject.normalisation,
        examples("squeezed").train,
        QuantisationSettings(),
    )
    assert len(ranges) > 8
    assert all(one.low <= 0 <= one.high for one in ranges.values())


def test_seed_chooses_the_images() -> None:
    subject, images = deployable("uneven"), examples("uneven").train
    found = [
        calibrate(
            traced("uneven"),
            subject.normalisation,
            images,
            QuantisationSettings(images=4, seed=seed),
        )
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("rule", ["percentile", "entropy"])
def test_rule_narrows_the_range_of_minmax(rule: Calibration) -> None:
    subject, images = deployable("uneven"), examples("uneven").train
    graph = traced("uneven")
    full, narrow = (
        calibrate(graph, subject.normalisation, images, QuantisationSettings(calibration=one))
        for one in ("minmax", rule)
    )
    assert all(full[name].low <= one.low <= 0 for name, one in narrow.items())
    assert all(full[name].high >= one.high >= 0 for name, one in narrow.items())
    assert full != narrow


def test_layer_that_is_not_finite_is_named() -> None:
    graph, subject = traced("uneven"), deployable("uneven")
    layer = graph["two"]
    broken = Graph(
        graph.image,
        tuple(
            replace(one, bias=np.full_like(one.bias, np.nan)) if one is layer else one
            for one in graph.layers
        ),
    )
    with pytest.raises(UnderstudyError, match="layer two gives numbers that are not finite"):
        calibrate(
            broken, subject.normalisation, examples("uneven").train, QuantisationSettings(images=8)
        )
