"""Ranges of activations."""

from dataclasses import replace

import numpy as np
import pytest
from tests.export.c.networks import deployable, examples

from understudy.errors import UnderstudyError
from understudy.export.graph import INPUT, Graph
from understudy.export.int8.calibration import BINS, Range, calibrate, clipped, least_divergence
from understudy.export.settings import QuantisationSettings
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


def test_percentile_cuts_the_tail_and_leaves_zero() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[:100], counts[-1] = 10_000, 50
    found = clipped(Range(0.0, float(BINS)), counts, "percentile")
    assert (found.low, found.high) == (0.0, 100.0)
    assert clipped(Range(-1.0, 1.0), np.eye(1, BINS)[0].astype(int), "percentile").high == 0.0


def test_entropy_cuts_a_few_far_values_and_nothing_of_a_uniform_distribution() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=200_000))
    counts, _ = np.histogram(np.append(values, 40.0), BINS, (0, 40))
    assert 3 < clipped(Range(0.0, 40.0), counts, "entropy").high < 20
    assert least_divergence(np.full(BINS, 100), 255) > 0.98 * BINS


def test_empty_range_stays() -> None:
    assert clipped(Range(0.0, 0.0), np.zeros(BINS, int), "entropy") == Range(0.0, 0.0)


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
