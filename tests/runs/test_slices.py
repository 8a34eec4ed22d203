import numpy as np
import pytest

from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.evaluation.correctness import pack
from understudy.evaluation.gain import paired_gain
from understudy.evaluation.results import Metrics
from understudy.files import from_json, to_json
from understudy.runs.slices import SliceResult, slice_results

RIGHT = np.random.default_rng(0).random((2, 4, 90)) < 0.7  # arm, seed, image
PARTS = Annotations(test_slices=np.arange(90) % 2, slice_names=("mono", "poly", "absent"))
TESTED = {
    arm: [Metrics(accuracy=float(seed.mean()), correct=pack(seed)) for seed in seeds]
    for arm, seeds in zip(("baseline", "distilled"), RIGHT, strict=True)
}
COMPARED = [("distilled", "baseline")]


def test_each_part_is_measured_on_its_own_images() -> None:
    mono, poly = slice_results(PARTS, TESTED, COMPARED)  # absent has no test image
    assert (mono.name, poly.name) == ("mono", "poly") and mono.images == poly.images == 45
    assert poly.accuracy["distilled"].mean == pytest.approx(RIGHT[1][:, 1::2].mean())
    both = (mono.accuracy["baseline"].mean + poly.accuracy["baseline"].mean) / 2
    assert both == pytest.approx(RIGHT[0].mean())


def test_the_gain_of_a_part_is_that_of_its_images_with_holms_correction() -> None:
    _, poly = slice_results(PARTS, TESTED, COMPARED)
    alone = paired_gain(RIGHT[1][:, 1::2], RIGHT[0][:, 1::2])
    gain = poly.comparisons[0].gain
    assert (gain.mean, gain.low, gain.high) == (alone.mean, alone.low, alone.high)
    assert gain.num_compared == 2 and gain.p_holm is not None and alone.p is not None
    assert gain.p_holm >= alone.p


def test_a_data_set_without_parts_has_no_such_results() -> None:
    assert slice_results(NO_ANNOTATIONS, TESTED, COMPARED) == ()


def test_they_round_trip_through_json() -> None:
    for part in slice_results(PARTS, TESTED, COMPARED):
        assert from_json(SliceResult, to_json(part), "results.json", "") == part
