import pytest

from understudy.config.schema import ModelConfig
from understudy.data.inspection import SizeRange
from understudy.data.spec import ImageSpec
from understudy.evaluation.students import choose_student
from understudy.proposal import choices
from understudy.proposal.networks import STUDENT, student, teachers


def sizes(width: int, height: int) -> SizeRange:
    return SizeRange((1, 1), (width, height), (9999, 9999), 3)


@pytest.mark.parametrize(
    ("median", "on_cpu", "on_gpu"),
    [
        ((28, 28), 32, 32),
        ((32, 32), 32, 32),
        ((100, 64), 64, 64),
        ((300, 300), 96, 224),
        ((4000, 3000), 96, 224),
        ((150, 170), 96, 128),
    ],
)
def test_no_picture_is_enlarged_much_and_a_cpu_gets_small_ones(
    median: tuple[int, int], on_cpu: int, on_gpu: int
) -> None:
    assert choices.image_size(sizes(*median), has_gpu=False) == on_cpu
    assert choices.image_size(sizes(*median), has_gpu=True) == on_gpu


def test_long_pictures_are_padded_because_a_crop_loses_a_third() -> None:
    assert choices.resize_rule(sizes(400, 300)) == "crop"
    assert choices.resize_rule(sizes(450, 300)) == "pad"
    assert choices.resize_rule(sizes(300, 450)) == "pad"


def test_few_images_are_seen_more_often() -> None:
    assert choices.epochs(50_000) == 15
    assert choices.epochs(12_500) == 30
    assert choices.epochs(200) == 80
    assert choices.epochs(10_000_000) == 10


def test_networks_of_other_libraries_are_left_as_they_are() -> None:
    image = ImageSpec(3, 96, 96)
    assert student("timm:resnet18", image, 5) == ModelConfig("timm:resnet18")
    assert teachers("torchvision:resnet50", image) == (ModelConfig("torchvision:resnet50"),)


def test_the_student_is_the_one_of_its_budget() -> None:
    image = ImageSpec(3, 96, 96)
    chosen = student(None, image, 5)
    assert chosen == choose_student(STUDENT, image, 5) == student(STUDENT, image, 5)
    assert chosen.options["stem_stride"] == 2
    assert student("auto:20k", image, 5) != chosen
