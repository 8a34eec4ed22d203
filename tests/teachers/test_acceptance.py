"""When a given teacher is good enough to teach."""

import pytest

from understudy.errors import UnderstudyError
from understudy.teachers.acceptance import least_teacher_accuracy, require_accuracy


@pytest.mark.parametrize(
    ("num_classes", "least"), [(2, 0.75), (3, 2 / 3), (4, 0.5), (10, 0.2), (1000, 0.002)]
)
def test_threshold_is_twice_chance_or_halfway_to_one(num_classes: int, least: float) -> None:
    assert least_teacher_accuracy(num_classes) == pytest.approx(least)


def test_teacher_of_two_classes_passes_95_percent_not_chance() -> None:
    require_accuracy("the teacher", 0.95, least_teacher_accuracy(2), "check it")
    with pytest.raises(UnderstudyError) as caught:
        require_accuracy("the teacher", 0.5, least_teacher_accuracy(2), "check it")
    assert str(caught.value) == "the teacher has 50.0 % on validation, below 75.0 %: check it"


def test_threshold_itself_is_enough() -> None:
    require_accuracy("the teacher", 0.2, 0.2, "check it")
