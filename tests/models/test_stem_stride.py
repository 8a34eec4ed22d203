"""Networks for larger images: a stride in the first convolution."""

import pytest
import torch

from understudy.models import build_model

NAMES = ["tiny_wide", "tiny_large", "tiny_res", "tiny_dw", "fast_teacher", "resnet8", "wrn_16_1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stride_in_the_stem_makes_all_maps_smaller_by_it(name: str) -> None:
    kernel = {"stem_kernel": 3} if name == "fast_teacher" else {}
    plain = build_model(name, 4, image_size=64, options=kernel).eval()
    strided = build_model(name, 4, image_size=64, options={"stem_stride": 2, **kernel}).eval()
    images = torch.randn(2, 3, 64, 64)
    for full, half in zip(
        plain.outputs(images).features, strided.outputs(images).features, strict=True
    ):
        assert half.shape == (*full.shape[:2], full.shape[2] // 2, full.shape[3] // 2)
    strided.load_state_dict(plain.state_dict())  # the same parameters


@pytest.mark.parametrize("name", NAMES)
def test_without_it_the_weights_are_drawn_as_before(name: str) -> None:
    torch.manual_seed(3)
    plain = build_model(name, 4, image_size=32)
    torch.manual_seed(3)
    explicit = build_model(name, 4, image_size=32, options={"stem_stride": 1})
    for one, other in zip(plain.parameters(), explicit.parameters(), strict=True):
        assert torch.equal(one, other)
