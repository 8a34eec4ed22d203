"""The time left of a run whose trainings are described here, on a clock that only the test
moves."""

import pytest

from understudy.events import EpochResult, Progress
from understudy.terminal.time_left import TimeLeft, time_left_text


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def result(epoch: int, seconds: float, label_seconds: float = 0.0) -> EpochResult:
    return EpochResult(
        epoch, 0.1, {"loss": 1.0}, 0.5, 1.0, 0.5, seconds, 100 / seconds, label_seconds
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def left(clock: Clock) -> TimeLeft:
    return TimeLeft(clock)


def run_epochs(
    left: TimeLeft, clock: Clock, name: str, epochs: range, seconds: float, label: float = 0.0
) -> None:
    """Epochs of which nothing but training and labelling takes time."""
    for epoch in epochs:
        clock.now += label + seconds
        left.epoch(result(epoch, seconds, label), name)


def test_nothing_is_estimated_before_the_first_epoch(left: TimeLeft):
    left.expect(3, "teacher-seed0")
    assert left.seconds() is None


def test_epochs_left_cost_what_the_latest_one_cost(left: TimeLeft, clock: Clock):
    left.expect(10, "teacher-seed0")
    run_epochs(left, clock, "teacher-seed0", range(4), 5.0)
    assert left.seconds() == pytest.approx(30)


def test_labelling_of_every_epoch_counts(left: TimeLeft, clock: Clock):
    """60 epochs that train for 3 s and label for 15: a quarter of an hour, and not 3 minutes."""
    left.expect(5, "teacher-seed0")
    left.expect(60, "distilled-seed0")
    run_epochs(left, clock, "teacher-seed0", range(5), 3.0)
    run_epochs(left, clock, "distilled-seed0", range(1), 3.0, label=15.0)
    assert left.seconds() == pytest.approx(59 * 18)


def test_labelling_that_stops_is_no_longer_counted(left: TimeLeft, clock: Clock):
    """The views of the first epochs are labelled, those of the others are cached."""
    left.expect(10, "distilled-seed0")
    run_epochs(left, clock, "distilled-seed0", range(2), 3.0, label=15.0)
    run_epochs(left, clock, "distilled-seed0", range(2, 3), 3.0)
    assert left.seconds() == pytest.approx(7 * 3)


def test_labelling_under_way_is_extrapolated(left: TimeLeft, clock: Clock):
    left.expect(1, "baseline-seed0")
    left.expect(2, "distilled-seed0")
    run_epochs(left, clock, "baseline-seed0", range(1), 4.0)
    left.progress(Progress("label", 0, 100, 0), "distilled-seed0")
    clock.now += 10
    left.progress(Progress("label", 25, 100, 0), "distilled-seed0")
    assert left.seconds() == pytest.approx(30 + 4 + 40 + 4)


def test_first_epoch_counts_without_the_start_of_its_process(left: TimeLeft, clock: Clock):
    left.expect(5, "baseline-seed0")
    clock.now += 60  # imports, data
    run_epochs(left, clock, "baseline-seed0", range(1), 2.0)
    assert left.seconds() == pytest.approx(4 * 2)


def test_first_step_is_not_counted(left: TimeLeft, clock: Clock):
    """The first of 11 steps compiles for 20 s; the others take 0.1 s each."""
    left.expect(5, "baseline-seed0")
    clock.now += 20.1
    for step in range(1, 12):
        left.progress(Progress("train", step, 11, 0), "baseline-seed0")
        clock.now += 0.1 if step < 11 else 0.0
    left.epoch(result(0, 21.1), "baseline-seed0")
    assert left.seconds() == pytest.approx(4 * 1.1)


def test_validation_between_epochs_counts(left: TimeLeft, clock: Clock):
    left.expect(5, "baseline-seed0")
    for epoch in range(2):
        clock.now += 2.0 + 1.0
        left.epoch(result(epoch, 2.0), "baseline-seed0")
    assert left.seconds() == pytest.approx(3 * 3)


def test_epochs_read_from_a_checkpoint_cost_what_they_took(left: TimeLeft):
    left.expect(10, "baseline-seed0")
    for epoch in range(5):
        left.epoch(result(epoch, 7.0), "baseline-seed0")
    assert left.seconds() == pytest.approx(5 * 7)


def test_trainings_side_by_side_share_the_time(left: TimeLeft, clock: Clock):
    for seed in range(4):
        left.expect(10, f"baseline-seed{seed}")
    for epoch in range(2):
        clock.now += 2.0
        for seed in range(2):
            left.epoch(result(epoch, 2.0), f"baseline-seed{seed}")
    assert left.seconds() == pytest.approx((2 * 8 + 2 * 10) * 2 / 2)


def test_place_that_is_free_for_the_moment_is_taken_again(left: TimeLeft, clock: Clock):
    """Both trainings of a wave have ended; two more come."""
    for seed in range(2):
        left.expect(1, f"baseline-seed{seed}")
        left.expect(5, f"distilled-seed{seed}")
        left.progress(Progress("train", 1, 10, 0), f"baseline-seed{seed}")
    clock.now += 1.8
    for seed in range(2):
        left.epoch(result(0, 2.0), f"baseline-seed{seed}")
    assert left.seconds() == pytest.approx(2 * 5 * 2.0 / 2)


def test_last_training_is_not_divided_among_workers(left: TimeLeft, clock: Clock):
    for seed, epochs in enumerate((2, 10)):
        left.expect(epochs, f"baseline-seed{seed}")
    for epoch in range(2):
        clock.now += 2.0
        for seed in (1, 0):
            left.epoch(result(epoch, 2.0), f"baseline-seed{seed}")
    assert left.seconds() == pytest.approx(8 * 2)


def test_another_seed_of_an_arm_costs_the_same(left: TimeLeft, clock: Clock):
    left.expect(2, "teacher-seed0")
    left.expect(3, "distilled-seed0")
    left.expect(3, "distilled-seed1")
    run_epochs(left, clock, "teacher-seed0", range(2), 100.0)
    run_epochs(left, clock, "distilled-seed0", range(3), 1.0)
    assert left.seconds() == pytest.approx(3 * 1)


def test_trainings_that_have_no_name_yet_cost_what_recent_ones_cost(left: TimeLeft, clock: Clock):
    left.expect(20)
    left.expect(-2)
    left.expect(2, "0000-seed0")
    run_epochs(left, clock, "0000-seed0", range(2), 3.0)
    assert left.seconds() == pytest.approx(18 * 3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s left"),
        (45.4, "45 s left"),
        (119.0, "119 s left"),
        (121.0, "about 2 min left"),
        (3000.0, "about 50 min left"),
        (9000.0, "about 2.5 h left"),
    ],
)
def test_time_left_has_a_fitting_unit(seconds: float, text: str):
    assert time_left_text(seconds) == text
