"""Budgets among the students of a sweep."""

import pytest

from understudy.config.networks import ModelConfig
from understudy.errors import UnderstudyError
from understudy.sweep.space import Choice, Range
from understudy.sweep.students import with_students

CHOSEN = {
    "auto:50k": ModelConfig("tiny_res", {"widths": [4, 4, 4, 4]}),
    "auto:100k": ModelConfig("resnet8"),
    "auto:110k": ModelConfig("resnet8"),
}


@pytest.mark.parametrize("key", ["student", "student.model", "student.model.name"])
def test_networks_take_the_place_of_budgets(key: str) -> None:
    others = (Choice("method.temperature", (1, 2)), Range("train.lr", "float", 0.1, 0.2))
    space = with_students((Choice(key, ("auto:50k", "tiny_dw")), *others), CHOSEN.__getitem__)
    assert space == (
        Choice(
            "student.model",
            (
                {"name": "tiny_res", "options": {"widths": [4, 4, 4, 4]}},
                {"name": "tiny_dw"},
            ),
        ),
        *others,
    )


def test_a_space_without_budgets_is_unchanged() -> None:
    space = (Choice("student.model.name", ("resnet8", "tiny_dw")), Choice("train.lr", (1, 2)))
    assert with_students(space, CHOSEN.__getitem__) == space


def test_two_budgets_of_one_network_are_refused() -> None:
    space = (Choice("student", ("auto:100k", "auto:110k")),)
    with pytest.raises(UnderstudyError, match=r"student: auto:110k is resnet8 .*: leave one out"):
        with_students(space, CHOSEN.__getitem__)


def test_a_time_is_not_swept() -> None:
    space = (Choice("student", ("auto:100k", "auto:5ms")),)
    with pytest.raises(UnderstudyError, match=r"student=auto:5ms: a time is not swept"):
        with_students(space, CHOSEN.__getitem__)
