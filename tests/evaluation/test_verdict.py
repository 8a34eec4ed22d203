"""Sentences that claim no more than they may, and state what their interval covers."""

import numpy as np

from understudy.evaluation import paired_gain
from understudy.evaluation.gain import PairedGain, corrected, gain_over_seeds
from understudy.evaluation.verdict import sentence

BASELINE = [0.720, 0.731, 0.715, 0.728]
BETTER = [0.741, 0.745, 0.739, 0.744]


def five_seeds() -> PairedGain:
    """About 20 points on 360 images."""
    rng = np.random.default_rng(0)
    return paired_gain(rng.random((5, 360)) < 0.8, rng.random((5, 360)) < 0.6)


def test_a_claim_has_mean_interval_seeds_and_images() -> None:
    gain = five_seeds()
    assert sentence("distilled", gain) == (
        f"distillation helped by {100 * gain.mean:+.1f} points "
        f"[{100 * gain.low:.1f}, {100 * gain.high:.1f}] over 5 seeds and 360 test images"
    )
    assert sentence("dkd", gain, "validation images").startswith("dkd helped by")
    assert sentence("dkd", gain, "validation images").endswith("and 360 validation images")


def test_an_older_result_is_over_seeds_alone() -> None:
    helped, hurt = gain_over_seeds(BETTER, BASELINE), gain_over_seeds(BASELINE, BETTER)
    assert sentence("distilled", helped) == (
        "distillation helped by +1.9 points [1.1, 2.6] over 4 seeds alone"
    )
    assert sentence("distilled", hurt) == (
        "distillation hurt by -1.9 points [-2.6, -1.1] over 4 seeds alone"
    )
    unclear = sentence("distilled", gain_over_seeds([0.74, 0.72], [0.72, 0.73]))
    assert unclear.startswith("no evidence that distillation helped or hurt: +0.5 points [")
    assert unclear.endswith("] over 2 seeds alone")


def test_without_an_interval_the_reason_is_given() -> None:
    assert sentence("distilled", gain_over_seeds([0.74], [0.72])) == (
        "no evidence that distillation helped or hurt: +2.0 points over 1 seed alone, and one seed "
        "has no interval"
    )
    student = np.zeros((2, 1500), bool)
    student[:, 0] = True
    assert sentence("distilled", paired_gain(student, np.zeros_like(student))) == (
        "no evidence that distillation helped or hurt: +0.1 points over 2 seeds and 1,500 test "
        "images, and seeds with equal gains have no interval; [-0.1, 0.2] over the images alone"
    )
    one = paired_gain(student[:, :1], np.zeros((2, 1), bool))
    assert sentence("kd", one).endswith(
        "over 2 seeds and 1 test image, and one image has no interval"
    )


def test_one_of_many_is_named_as_such() -> None:
    alone = gain_over_seeds([0.53, 0.54, 0.52], [0.5, 0.5, 0.5])
    assert sentence("dkd", alone).startswith("dkd helped")
    among, _ = corrected([alone, alone])
    assert sentence("dkd", among) == (
        "no evidence that dkd helped or hurt: +3.0 points [0.5, 5.5] over 3 seeds alone, not "
        "enough for one of 2 comparisons (Holm)"
    )
