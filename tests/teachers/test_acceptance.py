"""When a given teacher is good enough to teach."""

import pytest
import torch

from understudy.errors import UnderstudyError
from understudy.teachers.acceptance import least_teacher_accuracy, require_accuracy


def equal_classes(num_classes: int) -> torch.Tensor:
    return torch.arange(5 * num_classes) % num_classes


@pytest.mark.parametrize(
    ("num_classes", "least"), [(2, 5 / 9), (3, 11 / 27), (10, 0.2), (100, 0.02), (1000, 0.002)]
)
def test_threshold_is_a_ninth_of_the_way_from_chance_to_one_or_twice_chance(
    num_classes: int, least: float
) -> None:
    assert least_teacher_accuracy(equal_classes(num_classes)) == pytest.approx(least)


def test_chance_is_the_share_of_the_most_frequent_class() -> None:
    skewed = torch.tensor([1] * 91 + [0] * 9)
    assert least_teacher_accuracy(skewed) == pytest.approx(0.92)


def test_teacher_of_two_classes_passes_95_percent_not_chance() -> None:
    least = least_teacher_accuracy(equal_classes(2))
    require_accuracy("the teacher", 0.95, least, "check it")
    with pytest.raises(UnderstudyError) as caught:
        require_accuracy("the teacher", 0.5, least, "check it")
    assert str(caught.value) == "the teacher has 50.0 % on validation, below 55.6 %: check it"


def logits_for(labels: torch.Tensor, wrong: list[int]) -> torch.Tensor:
    """Outputs of a network of two classes that is wrong on these images."""
    classes = labels.clone()
    classes[wrong] = 1 - classes[wrong]
    return torch.nn.functional.one_hot(classes, 2).float()


@pytest.mark.parametrize("rare", [50, 20, 9, 5, 3])
def test_teacher_of_two_classes_passes_95_percent_however_skewed_they_are(rare: int) -> None:
    labels = torch.tensor([1] * rare + [0] * (100 - rare))
    teacher = logits_for(labels, [0, 96, 97, 98, 99])  # one of the rare class, four of the other
    least = least_teacher_accuracy(labels, teacher)
    require_accuracy("the teacher", 0.95, least, "check it")


@pytest.mark.parametrize("rare", [50, 20, 9, 5, 3])
def test_the_same_class_for_every_image_passes_nowhere(rare: int) -> None:
    labels = torch.tensor([1] * rare + [0] * (100 - rare))
    constant = torch.tensor([[1.0, 0.0]]).expand(100, 2)
    least = least_teacher_accuracy(labels, constant)
    with pytest.raises(UnderstudyError):
        require_accuracy("the teacher", 1 - rare / 100, least, "check it")


def test_threshold_itself_is_enough() -> None:
    require_accuracy("the teacher", 0.2, 0.2, "check it")
