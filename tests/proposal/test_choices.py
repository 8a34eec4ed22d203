import pytest

from understudy.config.schema import ModelConfig
from understudy.data.inspection import SizeRange
from understudy.proposal import choices
from understudy.proposal.networks import student, teachers


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


def test_the_last_map_of_a_network_has_four_to_eight_pixels_a_side() -> None:
    for size in choices.SIZES:
        assert 4 <= size // choices.stem_stride(size) // 8 <= 8


def test_few_images_are_seen_more_often() -> None:
    assert choices.epochs(50_000) == 15
    assert choices.epochs(12_500) == 30
    assert choices.epochs(200) == 80
    assert choices.epochs(10_000_000) == 10


def test_networks_of_other_libraries_are_left_as_they_are() -> None:
    assert student("timm:resnet18", 96) == ModelConfig("timm:resnet18")
    assert teachers("torchvision:resnet50", 224) == (ModelConfig("torchvision:resnet50"),)
