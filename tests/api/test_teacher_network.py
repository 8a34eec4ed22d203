"""A teacher's classes from Python: by names that are given, recorded, or brought by a student."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.worlds import MEAN, STD, TinyNet, tiny_data, tiny_net

from understudy.api import Teacher, distill, train
from understudy.api.teacher_network import teacher_network
from understudy.errors import UnderstudyError
from understudy.models.selected import SelectedClasses

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_named_outputs_are_matched_in_any_order_and_number() -> None:
    data, network = tiny_data(size=16), tiny_net(num_classes=5)
    found = teacher_network(network, ["c", "x", "A", "b", "y"], data)
    assert isinstance(found, SelectedClasses) and found.index.tolist() == [2, 3, 0]
    assert teacher_network(tiny_net(), ["a", "b", "c"], data) is not None


def test_the_names_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("c\nb\na\n")
    teacher = Teacher(tiny_net(), classes=path)
    assert teacher.classes == ("c", "b", "a")


def test_names_that_a_network_records_are_used() -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network.pretrained_cfg = {"label_names": ["b", "c", "a"]}
    found = teacher_network(network, None, tiny_data(size=16))
    assert isinstance(found, SelectedClasses) and found.index.tolist() == [2, 0, 1]


def test_data_without_names_needs_them_for_a_teacher_with_names() -> None:
    numbered = replace(tiny_data(size=16), class_names=("0", "1", "2"))
    with pytest.raises(UnderstudyError, match=r"numbers \(0, 1, 2\).* class_names=\["):
        teacher_network(tiny_net(), ["a", "b", "c"], numbered)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["x", "y", "z"], "has no output for 3 classes of the images: a, b, c"),
        (["a", "b"], "2 classes are named for the teacher TinyNet, which has 3 outputs"),
        ([], "classes must be the names"),
        ([0, 1, 2], "classes must be the names"),
    ],
)
def test_wrong_names_are_one_line(classes: list[str], message: str) -> None:
    data, network = tiny_data(size=16), tiny_net()
    with pytest.raises(UnderstudyError, match=message):
        distill(Teacher(network, MEAN, STD, classes=classes), TinyNet(3), data, epochs=1)


def test_another_number_of_outputs_without_names_is_one_line_with_a_way_out() -> None:
    with pytest.raises(
        UnderstudyError, match=r"has 5 outputs, and the images have 3 classes: name"
    ):
        distill(Teacher(tiny_net(num_classes=5), MEAN, STD), TinyNet(3), tiny_data(size=16))


def test_a_student_that_teaches_brings_its_classes() -> None:
    data = tiny_data(size=16)
    teacher = train(TinyNet(3), data, epochs=4, lr=5e-2, batch_size=8)
    swapped = replace(
        data,
        train=replace(data.train, labels=(data.train.labels + 1) % 3),
        val=replace(data.val, labels=(data.val.labels + 1) % 3),
        class_names=("c", "a", "b"),
        fingerprint="swapped",
    )
    result = distill(teacher, TinyNet(3), swapped, epochs=1, batch_size=8)
    assert result.teachers[0].accuracy == teacher.history[-1].val_accuracy
    other = replace(swapped, class_names=("x", "y", "z"))
    with pytest.raises(UnderstudyError, match=r"has no output for 3 classes"):
        distill(teacher, TinyNet(3), other, epochs=1, batch_size=8)
