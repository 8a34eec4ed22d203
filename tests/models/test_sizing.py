"""Networks of the table at any size, shape, number of channels and of classes."""

import pytest
import torch

from understudy.config.networks import ModelConfig
from understudy.data.spec import ImageSpec
from understudy.models import MODELS, build_model
from understudy.models.sizing import for_size, stem_stride

SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
SHAPES = [
    (ImageSpec(1, 16, 16), 2),
    (ImageSpec(3, 16, 50), 3),
    (ImageSpec(1, 33, 47), 1000),
    (ImageSpec(4, 224, 224), 2),
    (ImageSpec(3, 224, 100), 5),
]
LARGE = ("resnet110", "resnet32x4", "wrn_28_10", "wrn_40_2", "resnet18", "wrn_16_4", "wrn_40_1")


def test_the_last_map_of_a_network_has_four_to_eight_pixels_a_side() -> None:
    for size in SIZES:
        assert 4 <= size // stem_stride(size) // 8 <= 8


def test_the_shorter_side_decides() -> None:
    wide = for_size("tiny_res", {}, ImageSpec(3, 32, 224))
    assert wide == ModelConfig("tiny_res")
    assert for_size("tiny_res", {}, ImageSpec(3, 64, 224)).options == {"stem_stride": 2}
    high = for_size("fast_teacher", {"residual": True}, ImageSpec(3, 300, 200))
    assert high.options == {"residual": True, "stem_stride": 4, "stem_kernel": 3}


def test_a_network_without_the_option_stays_as_it_is() -> None:
    large = ImageSpec(3, 224, 224)
    for name in ("founding_student", "timm:resnet18", "mine.models:Small"):
        assert for_size(name, {}, large) == ModelConfig(name)


@pytest.mark.parametrize(("image", "num_classes"), SHAPES, ids=lambda value: str(value))
@pytest.mark.parametrize("name", [name for name in MODELS if name not in LARGE])
def test_every_network_takes_images_of_any_shape(
    name: str, image: ImageSpec, num_classes: int
) -> None:
    """On the meta device: shapes without numbers."""
    model = for_size(name, {}, image)
    with torch.device("meta"):
        network = build_model(name, num_classes, image, options=model.options).eval()
        outputs = network.outputs(torch.zeros(2, *image.shape))
    assert outputs.logits.shape == (2, num_classes)
    assert all(min(feature.shape) > 0 for feature in outputs.features)
    if "stem_stride" in model.options or max(image.size) <= 48:
        assert min(outputs.features[-1].shape[2:]) <= 16


@pytest.mark.parametrize("name", ["tiny_res", "tiny_dw", "resnet8", "wrn_16_1"])
def test_a_student_learns_from_tall_grey_images(name: str) -> None:
    image = ImageSpec(1, 40, 17)
    network = build_model(name, 2, image)
    network(torch.randn(4, *image.shape)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
