"""What is read from a run's files."""

import pytest

from understudy.diagnose.record import training_curve
from understudy.events import EpochResult


def rows(values: dict[int, list[float]]) -> list[EpochResult]:
    """Epochs of several seeds: seed -> validation accuracy by epoch."""
    return [
        EpochResult(
            epoch=e,
            lr=1.0 / (e + 1),
            losses={"loss": 2.0, "ce": 1.0 + seed},
            train_accuracy=0.5,
            val_loss=1.0,
            val_accuracy=value,
            seconds=1.0,
            images_per_second=100.0,
        )
        for seed, accuracies in values.items()
        for e, value in enumerate(accuracies)
    ]


def test_slope_is_of_the_last_third_and_ignores_the_level_of_a_seed():
    rising = [0.1, 0.2, 0.3, 0.31, 0.32, 0.33]
    found = training_curve(rows({0: rising, 1: [v + 0.2 for v in rising]}))
    assert found.slope == pytest.approx(0.01) and found.slope_error == pytest.approx(0, abs=1e-9)
    assert found.val_accuracy[-1] == pytest.approx(0.43) and found.lr_tail == pytest.approx(1 / 6)
    assert found.terms == {"ce": 1.5}


def test_noise_raises_the_error_of_the_slope():
    found = training_curve(rows({0: [0.5, 0.6, 0.4], 1: [0.5, 0.4, 0.6]}))
    assert (
        found.slope == pytest.approx(0)
        and found.slope_error is not None
        and found.slope_error > 0.03
    )


def test_two_epochs_have_no_slope():
    found = training_curve(rows({0: [0.5, 0.6]}))
    assert found.slope is None and found.slope_error is None
