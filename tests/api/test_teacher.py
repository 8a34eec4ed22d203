"""A teacher is measured before it teaches, and fed images in its own normalisation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worlds import MEAN, STD, tiny_data, tiny_net, untrained
from torch import Tensor, nn

import understudy
from understudy.api import Student, Teacher
from understudy.api.teacher import as_teachers, freeze
from understudy.data.loader import plain_batches
from understudy.data.spec import ImageSpec
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import Normalisation, record_normalisation
from understudy.teachers.frozen import FrozenTeacher

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "precision": "fp32", "device": "cpu"}


class Brightest(nn.Module):
    """Knows ``tiny_data``: its class is the channel with the largest mean, in [0, 1] units."""

    def __init__(self, mean: tuple[float, ...] = (0.0,) * 3, std: tuple[float, ...] = (1.0,) * 3):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * (images.mean((2, 3)) * self.std + self.mean)


def placed(teacher: Any, **options: Any) -> FrozenTeacher:
    several = isinstance(teacher, list)
    return freeze(as_teachers(teacher), tiny_data(), CPU, "fp32", ensemble=several, **options)[0]


def test_teacher_is_fed_its_own_normalisation() -> None:
    data = tiny_data()
    frozen = placed(Teacher(Brightest(), mean=(0.0,) * 3, std=(1.0,) * 3))
    batch = next(iter(plain_batches(data.val, data.config, 6, CPU)))
    pixels = data.val.images.float() / 255
    torch.testing.assert_close(frozen.outputs(batch).logits, 10 * pixels.mean((2, 3)))


def test_each_member_of_several_is_fed_its_own_normalisation() -> None:
    data = tiny_data()
    own = Teacher(Brightest(), mean=(0.0,) * 3, std=(1.0,) * 3)
    same = Teacher(Brightest(MEAN, STD), mean=MEAN, std=STD)
    batch = next(iter(plain_batches(data.val, data.config, 6, CPU)))
    first, second = placed([own, same]).outputs(batch).members
    torch.testing.assert_close(first.logits, second.logits)


def test_teacher_that_knows_too_little_is_refused_before_training() -> None:
    """Inverted: it is right in no case, as with labels in another order."""
    wrong = Brightest()
    with torch.no_grad():
        wrong.scale.neg_()
    seen: list[Any] = []
    with pytest.raises(
        UnderstudyError, match=r"the teacher Brightest has 0\.0 % on validation"
    ) as e:
        understudy.distill(
            Teacher(wrong, (0.0,) * 3, (1.0,) * 3),
            tiny_net(0),
            tiny_data(),
            on_epoch=seen.append,
            **QUICK,
        )
    assert "below 40.7 %" in str(e.value) and "understudy.Teacher(network, mean=" in str(e.value)
    assert seen == []


def test_min_accuracy_replaces_the_default_threshold() -> None:
    with pytest.raises(UnderstudyError, match=r"below 100\.1 %"):
        placed(Teacher(Brightest(), (0.0,) * 3, (1.0,) * 3, min_accuracy=1.001))
    assert placed(untrained(tiny_net(1))).model is not None


def test_what_was_found_out_is_part_of_the_student() -> None:
    teacher = Teacher(Brightest(), (0.0,) * 3, (1.0,) * 3)
    student = understudy.distill(teacher, tiny_net(0), tiny_data(), outputs="live", **QUICK)
    (check,) = student.teachers
    assert (check.name, check.accuracy, check.source) == ("Brightest", 1.0, "given")
    assert check.normalisation == Normalisation((0.0,) * 3, (1.0,) * 3)
    assert "teacher Brightest: 100.0 % on validation" in repr(student)


def test_unknown_normalisation_is_assumed_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"normalisation of the teacher Brightest is not known"):
        frozen = placed(Brightest(MEAN, STD))
    assert frozen.renormalise is None


def test_wrong_assumed_normalisation_is_caught_by_the_measurement() -> None:
    uneven = Brightest(mean=(0.0, 0.0, 3.0))
    assert placed(Teacher(uneven, mean=(0.0, 0.0, 3.0), std=(1.0,) * 3)).renormalise is not None
    with (
        pytest.warns(UserWarning, match="is not known"),
        pytest.raises(UnderstudyError, match=r"33\.3 % on validation, below 40\.7 %"),
    ):
        placed(uneven)


def test_student_of_an_earlier_training_brings_its_normalisation() -> None:
    earlier = Student(
        network=ForeignClassifier(Brightest(), 3, name="brightest", image_size=8),
        history=(),
        class_names=("a", "b", "c"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        image=ImageSpec(3, 8, 8),
    )
    assert placed(earlier).renormalise is not None


def test_recorded_normalisation_is_used_without_a_warning() -> None:
    network = Brightest()
    record_normalisation(network, Normalisation((0.0,) * 3, (1.0,) * 3))
    assert placed(network).renormalise is not None


def test_size_filter_and_normalisation_of_a_pretrained_cfg_are_those_of_its_own_images() -> None:
    data, network = tiny_data(), Brightest()
    network.pretrained_cfg = {
        **{"mean": (0.0,) * 3, "std": (1.0,) * 3},
        **{"input_size": (3, 24, 24), "interpolation": "bicubic"},
    }
    frozen, (check,) = freeze([Teacher(network)], data, CPU, "fp32")
    assert frozen.own is not None and frozen.renormalise is None
    assert frozen.own.data.image == ImageSpec(3, 24, 24)
    assert "24x24 pixels, bicubic, mean (0.0, 0.0, 0.0)" in str(check)
    network.pretrained_cfg["input_size"] = (3, 8, 8)
    frozen = placed(network)
    assert frozen.own is None and frozen.renormalise is not None


def test_given_size_goes_before_the_recorded_one() -> None:
    network = Brightest()
    network.pretrained_cfg = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "input_size": (3, 24, 24)}
    frozen = placed(Teacher(network, image_size=16, interpolation="bicubic"))
    assert frozen.own is not None and frozen.own.data.image.size == (16, 16)
    assert placed(Teacher(network, image_size=8)).own is None
    with pytest.raises(UnderstudyError, match=r"Teacher: image_size must be at least 1, not 0"):
        Teacher(network, image_size=0)
    with pytest.raises(UnderstudyError, match=r"interpolation must be bilinear or bicubic"):
        Teacher(network, interpolation="nearest")


def test_several_teachers_see_images_of_one_size() -> None:
    large = Teacher(Brightest(), (0.0,) * 3, (1.0,) * 3, image_size=16)
    small = Teacher(Brightest(MEAN, STD), MEAN, STD)
    with pytest.raises(UnderstudyError, match=r"different images \(3x16x16 bilinear, 3x8x8 bilin"):
        placed([large, small])
    both = placed([large, replace(small, image_size=16)])
    assert both.own is not None
    both.prepare(0, Views())
    data = tiny_data(padding=0, flip=False)
    first, second = both.outputs(next(plain_batches(data.train, data.config, 24, CPU))).members
    torch.testing.assert_close(first.logits, second.logits)


def test_outputs_that_cannot_teach_are_refused_before_training() -> None:
    class Softmaxed(Brightest):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).softmax(1)

    class Dead(Brightest):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(0 * images)

    class Lost(Brightest):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).log() - torch.inf

    for network, why in (
        (Softmaxed(), "gives probabilities"),
        (Lost(), "gives NaN or infinity for 6 of 6"),
    ):
        with pytest.raises(UnderstudyError, match=f"the teacher {type(network).__name__} {why}"):
            placed(Teacher(network, (0.0,) * 3, (1.0,) * 3, min_accuracy=0.0))
    with pytest.raises(UnderstudyError, match=r"40\.7 %: it gives the same outputs for all 6"):
        placed(Teacher(Dead(), (0.0,) * 3, (1.0,) * 3))
    assert placed(Teacher(Dead(), (0.0,) * 3, (1.0,) * 3, min_accuracy=0.0)).model is not None


def test_student_at_the_size_of_another_training_learns_from_a_larger_one() -> None:
    earlier = Student(
        network=ForeignClassifier(Brightest(), 3, name="brightest", image_size=24),
        history=(),
        class_names=("a", "b", "c"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        image=ImageSpec(3, 24, 24),
    )
    student = understudy.distill(earlier, tiny_net(0), tiny_data(), **QUICK)
    assert student.teachers[0].size == (24, 24) and student.image.size == (8, 8)


def test_given_normalisation_goes_before_pretrained_cfg_and_record() -> None:
    network = Brightest()
    network.pretrained_cfg = {"mean": (0.9,) * 3, "std": (9.0,) * 3}
    record_normalisation(network, Normalisation((0.8,) * 3, (8.0,) * 3))
    (check,) = freeze([Teacher(network, (0.0,) * 3, (1.0,) * 3)], tiny_data(), CPU, "fp32")[1]
    assert check.normalisation.mean == (0.0,) * 3 and check.source == "given"


def test_teachers_of_another_normalisation_share_no_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    for mean in ((0.0,) * 3, (0.1,) * 3, (0.0,) * 3):
        teacher = Teacher(Brightest(), mean, (1.0,) * 3, min_accuracy=0.0)
        understudy.distill(teacher, tiny_net(0), tiny_data(), **QUICK)
    assert len(list(tmp_path.glob("teacher-outputs/*/views.bin"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.5,) * 3}, "mean and std must be given together"),
        ({"mean": (0.5,) * 3, "std": (0.5,)}, "one per channel"),
        ({"mean": (0.5,) * 3, "std": (0.5, 0.5, 0.0)}, "std must be above 0"),
    ],
)
def test_impossible_teacher_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        Teacher(tiny_net(0), **arguments)


def test_weights_are_refused_for_a_single_teacher() -> None:
    with pytest.raises(UnderstudyError, match="weights are for several teachers"):
        placed(untrained(tiny_net(0)), weights=(1.0,))


def test_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"mean has 1 values, but the images have 3 channels"):
        placed(Teacher(tiny_net(0), (0.5,), (0.5,), min_accuracy=0.0))
