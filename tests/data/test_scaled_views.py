"""The same view at two sizes: both networks see the same part of the picture, coloured alike."""

import pytest
import torch
from tests.worlds import tiny_config, tiny_split
from torch import Tensor

from understudy.config.schema import AugmentConfig
from understudy.data.dataset import Split
from understudy.data.geometry import warp
from understudy.data.loader import TrainBatches
from understudy.data.rand_augment import OPERATIONS
from understudy.data.spec import ImageSpec
from understudy.data.views import Normalise, ViewPolicy, Views, render, scaled_padding

CPU = torch.device("cpu")
SMALL = ImageSpec(3, 6, 10)
COMMUTING = {
    "padded crop": {"padding": 2, "flip": False},
    "mirrored": {"padding": 2},
    "upside down": {"padding": 0, "vertical_flip": True},
    "photometric": {"padding": 1, "photometric": 3},
    "jitter": {"padding": 0, "color_jitter": (0.4, 0.4, 0.4, 0.1)},
    "erased": {"padding": 1, "erasing": 1.0},
    "mixup": {"padding": 1, "mix": "mixup"},
    "cutmix": {"padding": 1, "mix": "cutmix"},
}


def small_images(count: int = 40) -> Tensor:
    """uint8 ``[N, H, W, C]``."""
    rng = torch.Generator().manual_seed(0)
    shape = (count, SMALL.height, SMALL.width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)


def enlarged(images: Tensor, down: int, across: int) -> Tensor:
    return images.repeat_interleave(down, 1).repeat_interleave(across, 2).contiguous()


def shown(
    images: Tensor, policy: ViewPolicy, views: Views, grid: ImageSpec | None = None
) -> Tensor:
    """The pixels of all views, ``[N, C, H, W]`` in 0..255."""
    planes, rows = images.permute(0, 3, 1, 2), torch.arange(len(images))
    plain = Normalise((0.0,) * 3, (1 / 255,) * 3, planes.shape[3], CPU)
    return render(planes, rows, views, policy, plain, grid)


def reduced(planes: Tensor, down: int, across: int) -> Tensor:
    return torch.nn.functional.avg_pool2d(planes, (down, across))


@pytest.mark.parametrize("ratio", [(2, 2), (3, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("settings", COMMUTING.values(), ids=COMMUTING)
def test_the_large_view_reduced_is_the_small_view(settings, ratio: tuple[int, int]) -> None:
    images = small_images()
    policy = ViewPolicy(AugmentConfig(**settings), 0, len(images), SMALL)
    for epoch in range(3):
        views = policy.epoch(epoch)
        large = shown(enlarged(images, *ratio), policy, views, SMALL)
        assert large.shape[2:] == (6 * ratio[0], 10 * ratio[1])
        small = shown(images, policy, views)
        torch.testing.assert_close(reduced(large, *ratio), small, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["translate_x", "translate_y", "posterize", "equalize", "color"])
def test_an_operation_of_rand_augment_is_the_same_at_both_sizes(name: str) -> None:
    images = small_images(8)
    config = AugmentConfig(padding=0, flip=False, rand_augment_ops=1, rand_augment_magnitude=20)
    policy = ViewPolicy(config, 0, len(images), SMALL)
    chosen = torch.full((8, 1), OPERATIONS.index(name))
    views = Views(rand_operations=chosen, rand_signs=torch.tensor([[1.0], [-1.0]] * 4))
    large = reduced(shown(enlarged(images, 2, 2), policy, views, SMALL), 2, 2)
    small = shown(images, policy, views)
    # Half a step of rounding, and for `equalize` a table of four times as many pixels.
    assert (large - small).abs().max() <= (20 if name == "equalize" else 0.51)


def ramp(image: ImageSpec, grid: ImageSpec) -> Tensor:
    """float ``[1, H, W, C]``: each pixel has the place of its centre, in pixels of ``grid``."""
    y = (torch.arange(image.height) + 0.5) * grid.height / image.height - 0.5
    x = (torch.arange(image.width) + 0.5) * grid.width / image.width - 0.5
    down, across = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((down, across, down + across), 2)[None]


@pytest.mark.parametrize("size", [(24, 40), (18, 30), (17, 29)], ids=str)
def test_a_resized_crop_shows_the_same_places_at_any_size(size: tuple[int, int]) -> None:
    grid, image = ImageSpec(3, 12, 20), ImageSpec(3, *size)
    policy = ViewPolicy(AugmentConfig(flip=False, resized_crop=(0.3, 0.9)), 0, 1, grid)
    for epoch in range(20):
        views = policy.epoch(epoch)
        small = shown(ramp(grid, grid), policy, views)
        large = shown(ramp(image, grid), policy, views, grid)
        again = torch.nn.functional.interpolate(small, image.size, mode="bilinear")
        inner = (..., slice(4, -4), slice(4, -4))  # places outside of the crop are clamped
        torch.testing.assert_close(large[inner], again[inner], rtol=0, atol=0.02)


def test_a_warp_moves_large_images_as_far_as_small_ones() -> None:
    grid, image = ImageSpec(3, 12, 20), ImageSpec(3, 36, 60)
    matrix = torch.tensor([[[0.9, -0.2, 1.0], [0.3, 1.1, -2.0]]])
    small = warp(ramp(grid, grid).permute(0, 3, 1, 2), matrix)
    large = warp(ramp(image, grid).permute(0, 3, 1, 2), matrix, grid.size)
    middle = (..., slice(4, 8), slice(8, 12))
    torch.testing.assert_close(reduced(large, 3, 3)[middle], small[middle], rtol=0, atol=1e-3)


@pytest.mark.parametrize("image", [ImageSpec(3, 21, 37), ImageSpec(3, 5, 9)], ids=str)
def test_no_edge_moves_by_more_than_half_a_pixel(image: ImageSpec) -> None:
    config = AugmentConfig(padding=2, mix="cutmix", erasing=1.0)
    views = ViewPolicy(config, 0, 500, SMALL).epoch(0)
    own, scaled = scaled_padding(2, SMALL, image), views.scaled(SMALL, image, 2)
    down, across = image.height / SMALL.height, image.width / SMALL.width
    assert ((scaled.top - own) - (views.top - 2) * down).abs().max() <= 0.5 + 1e-6
    assert ((scaled.left - own) - (views.left - 2) * across).abs().max() <= 0.5 + 1e-6
    ratios = torch.tensor([down, across, down, across])
    for name in ("box", "erased_box"):
        before, after = getattr(views, name), getattr(scaled, name)
        assert after.dtype == torch.int64
        assert (after - before * ratios).abs().max() <= 0.5 + 1e-6
    assert scaled.top.min() >= 0 and scaled.top.max() <= 2 * own


def test_everything_else_of_a_view_stays_as_it_was_drawn() -> None:
    config = AugmentConfig(mix="mixup", photometric=1, rand_augment_ops=1, vertical_flip=True)
    views = ViewPolicy(config, 0, 20, SMALL).epoch(0)
    scaled = views.scaled(SMALL, ImageSpec(3, 12, 20), 4)
    for name in ("flip", "flip_vertically", "partner", "lam", "operations", "strengths"):
        assert getattr(scaled, name) is getattr(views, name)
    assert scaled.rand_operations is views.rand_operations


def test_batches_at_another_size_draw_the_views_of_the_small_images() -> None:
    split, config = tiny_split(24, 8), tiny_config(padding=2)
    large = Split(
        enlarged(split.images.permute(0, 2, 3, 1), 2, 2).permute(0, 3, 1, 2), split.labels
    )
    small_batches = TrainBatches(split, config, 8, 3, CPU)
    for streaming in (False, True):
        batches = TrainBatches(large, config, 8, 3, CPU, grid=split.image, streaming=streaming)
        assert batches.policy.fingerprint == small_batches.policy.fingerprint
        views = small_batches.policy.epoch(2)
        pairs = zip(batches.epoch(2, views), small_batches.epoch(2, views), strict=True)
        for one, other in pairs:
            assert torch.equal(one.index, other.index)
            torch.testing.assert_close(reduced(one.images, 2, 2), other.images)
