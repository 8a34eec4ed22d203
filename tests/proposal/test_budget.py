from collections.abc import Callable

import pytest

from understudy.config.schema import ModelConfig
from understudy.errors import UnderstudyError
from understudy.proposal.budget import Work, choose, minutes_of

LARGE, SMALL = ModelConfig("large"), ModelConfig("small")
WORK = Work(num_images=6_000, epochs=20, num_seeds=5, workers=2)
STUDENT = 1_000.0  # images a second: 2 minutes a student, 10 for five rounds of two


def rates(large: float, small: float) -> Callable[[ModelConfig], float]:
    return lambda teacher: large if teacher is LARGE else small


def test_minutes_add_up_by_hand() -> None:
    minutes = minutes_of(WORK, teacher_rate=200, student_rate=STUDENT)
    assert minutes.teacher == pytest.approx(10)
    assert minutes.labels == pytest.approx(10 / 3)
    assert minutes.students == pytest.approx(10)
    assert minutes.total == pytest.approx(23 + 1 / 3)


def test_an_odd_number_of_trainings_leaves_a_core_idle_once() -> None:
    three = Work(6_000, 20, num_seeds=3, workers=4)
    assert minutes_of(three, 200, STUDENT).students == pytest.approx(4)


def test_the_strongest_teacher_that_fits_is_taken() -> None:
    choice = choose((LARGE, SMALL), rates(200, 2_000), STUDENT, WORK, 24)
    assert choice.teacher is LARGE and choice.epochs == 20


def test_a_strong_teacher_is_worth_up_to_half_of_the_epochs() -> None:
    choice = choose((LARGE, SMALL), rates(200, 2_000), STUDENT, WORK, 12)  # of 23.3 minutes
    assert choice.teacher is LARGE and choice.epochs == 10
    choice = choose((LARGE, SMALL), rates(200, 2_000), STUDENT, WORK, 11.5)
    assert choice.teacher is SMALL and choice.epochs == 20


def test_weaker_teachers_are_not_even_timed() -> None:
    timed: list[ModelConfig] = []

    def rate(teacher: ModelConfig) -> float:
        timed.append(teacher)
        return 200

    choose((LARGE, SMALL), rate, STUDENT, WORK, 24)
    assert timed == [LARGE]


def test_short_of_time_the_epochs_shrink_in_proportion() -> None:
    choice = choose((LARGE, SMALL), rates(50, 2_000), STUDENT, WORK, 8.5)
    assert choice.teacher is SMALL and choice.epochs == 15
    assert choice.minutes.total <= 8.5


def test_a_time_that_is_too_short_is_refused_with_the_time_it_takes() -> None:
    with pytest.raises(UnderstudyError, match=r"give --minutes 6, .* --seeds"):
        choose((SMALL,), rates(50, 2_000), STUDENT, WORK, 1)
