"""Which images calibrate, and which ranges their values give."""

import numpy as np
import pytest
import torch

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError
from understudy.export.calibration import (
    CUT,
    RangeFinder,
    calibration_images,
    check_layers,
    divergence,
    worst_first,
)
from understudy.export.settings import QuantisationSettings


def numbered(labels: list[int]) -> Split:
    """Images whose first pixel is their position."""
    images = torch.zeros(len(labels), 2, 2, 3, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(labels))
    return Split(images.permute(0, 3, 1, 2), torch.tensor(labels))


def chosen(split: Split, **settings: int) -> list[int]:
    images = calibration_images(split, QuantisationSettings(**settings))
    assert images.dtype == np.uint8 and images.flags.c_contiguous
    return images[:, 0, 0, 0].tolist()


def test_every_class_has_its_turn_even_a_rare_one():
    labels = [0] * 90 + [1] * 6 + [2] * 4
    counts = np.bincount([labels[row] for row in chosen(numbered(labels), images=12)])
    assert counts.tolist() == [4, 4, 4]
    assert len(set(chosen(numbered(labels), images=30))) == 30  # 4 + 6 + 20, none twice


def test_seed_chooses_and_few_images_are_all_taken():
    split = numbered([0, 1] * 40)
    assert chosen(split, images=10) == chosen(split, images=10)
    assert set(chosen(split, images=10)) != set(chosen(split, images=10, seed=1))
    assert sorted(chosen(split, images=512)) == list(range(80))


def found(calibration, *parts):
    finder = RangeFinder(calibration)
    for part in parts:
        finder.add(np.asarray(part, np.float32))
    return finder.range()


METHODS = ("minmax", "percentile", "entropy")


def test_minmax_covers_everything():
    assert found("minmax", [[-0.5, 3.0]], [2.0]) == (-0.5, 3.0)


@pytest.mark.parametrize("calibration", METHODS)
def test_zero_is_always_inside(calibration):
    low, high = found(calibration, np.linspace(5, 6, 1000))
    assert low == 0 and high == pytest.approx(6, rel=2e-3)
    low, high = found(calibration, np.linspace(-6, -5, 1000))
    assert low == pytest.approx(-6, rel=2e-3) and high == 0


@pytest.mark.parametrize("calibration", METHODS)
def test_tensor_of_zeros_has_an_empty_range(calibration):
    assert found(calibration, np.zeros(100)) == (0, 0)


def test_percentile_leaves_out_its_share_on_each_side():
    values = np.linspace(-1, 1, 1_000_001)
    low, high = found("percentile", values)
    bin_width = 2 * 2 / 4096  # the limit is the power of two above 1
    assert -low == pytest.approx(1 - CUT, abs=bin_width)
    assert high == pytest.approx(1 - CUT, abs=bin_width)
    far = found("percentile", values, [1000.0] * 20)  # fewer than the share: they do not count
    assert far[1] < 2


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_order_of_the_values_does_not_matter(calibration):
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, scale, 3000) for scale in (0.01, 1, 30)]
    assert found(calibration, *parts) == found(calibration, *parts[::-1])
    assert found(calibration, *parts) == found(calibration, np.concatenate(parts))


def test_entropy_clips_a_long_tail_and_nothing_else():
    rng = np.random.default_rng(0)
    body = np.abs(rng.normal(0, 1, 200_000))
    assert found("entropy", np.linspace(0, 4, 200_000))[1] == 4
    clipped = found("entropy", body, [14.0, 15.0])[1]
    assert 3.5 < clipped < 9


def test_what_a_relu_cut_off_does_not_move_the_entropys_range():
    """Zero is a number of int8: without care, its peak alone would decide."""
    positive = np.abs(np.random.default_rng(0).normal(0, 1, 100_000))
    assert found("entropy", positive, np.zeros(300_000)) == found("entropy", positive)


def test_layer_that_does_not_exist_is_refused():
    check_layers(["fc"], ["conv", "fc"])
    with pytest.raises(UnderstudyError, match=r"no layer 'cnov': did you mean conv\?"):
        check_layers(["fc", "cnov"], ["conv", "fc"])


def test_layers_are_ordered_by_what_their_return_gains():
    expected = np.array([[0.7, 0.3]], np.float32)
    with_float = {"small": [[0.5, 0.5]], "most": [[0.7, 0.3]], "some": [[0.6, 0.4]]}
    order = worst_first(list(with_float), expected, lambda name: np.array(with_float[name]))
    assert order == ["most", "some", "small"]


def test_divergence_by_hand():
    one, other = np.array([[0.5, 0.5], [1, 0]]), np.array([[0.25, 0.75], [1, 0]])
    by_hand = (0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2
    assert divergence(one, other) == pytest.approx(by_hand, rel=1e-5)
    assert divergence(one, one) == 0
