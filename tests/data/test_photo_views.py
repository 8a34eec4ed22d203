"""Views for photos against torchvision's own functions on the same parameters, and its draws.

torchvision rounds or cuts an image of bytes to whole grey levels after every operation; here
colours stay floats until they are normalised. So what is compared in floats agrees to rounding of
fp32 (0.01 of 255 grey levels), and what is compared in bytes to one grey level.
"""

import importlib.util
import math

import numpy as np
import pytest
import torch

if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed (extra: torchvision)", allow_module_level=True)

import tests.torchvision_operators  # noqa: F401  (before torchvision)
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from understudy.config.schema import AugmentConfig
from understudy.data import color, draws
from understudy.data.geometry import resized_crop
from understudy.data.rand_augment import OPERATIONS, rand_augment
from understudy.data.spec import ImageSpec
from understudy.data.transforms import erase, mirror_vertically
from understudy.data.views import ViewPolicy

FLOAT, BYTE = 0.01, 1.0
"""Tolerances in grey levels."""


def some_photos(count: int = 6, height: int = 20, width: int = 28, channels: int = 3):
    """uint8 ``[B, H, W, C]``: gradients with noise and a grey corner, which has no hue."""
    rng = torch.Generator().manual_seed(3)
    y = torch.linspace(0, 200, height).view(1, -1, 1, 1)
    noise = 70 * torch.rand((count, height, width, channels), generator=rng)
    tint = 60 * torch.rand((count, 1, 1, channels), generator=rng)
    pixels = (y + noise + tint).clamp(0, 255).byte()
    pixels[:, :4, :4] = 128
    return pixels


def in_torchvision(pixels: torch.Tensor) -> torch.Tensor:
    """One image ``[H, W, C]`` as torchvision's float ``[C, H, W]`` in 0..1."""
    return pixels.permute(2, 0, 1).float() / 255


def from_torchvision(image: torch.Tensor) -> torch.Tensor:
    return 255 * image.permute(1, 2, 0)


def assert_close(found: torch.Tensor, expected: torch.Tensor, grey_levels: float) -> None:
    assert float((found.float() - expected.float()).abs().max()) <= grey_levels


def test_a_resized_crop_is_torchvisions_antialiased_one() -> None:
    pixels = some_photos()
    box = draws.crop_boxes(6, ImageSpec(3, 20, 28), (0.1, 1.0), torch.Generator().manual_seed(0))
    found = resized_crop(pixels, box)
    for one, result, (top, left, bottom, right) in zip(pixels, found, box.tolist(), strict=True):
        size = (top, left, bottom - top, right - left)
        expected = F.resized_crop(in_torchvision(one), *size, [20, 28], antialias=True)
        assert_close(result, from_torchvision(expected), FLOAT)


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    pixels = some_photos()
    whole = torch.tensor([[0, 0, 20, 28]]).expand(6, 4)
    assert_close(resized_crop(pixels, whole), pixels, FLOAT)


def test_a_crop_shows_nothing_of_what_lies_outside_it() -> None:
    pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    pixels[:, 2:5, 3:6] = 200
    found = resized_crop(pixels, torch.tensor([[2, 3, 5, 6]]))
    assert_close(found, torch.full_like(found, 200), FLOAT)


def test_sizes_shapes_and_places_of_crops_are_distributed_as_torchvisions() -> None:
    count, image = 4000, ImageSpec(3, 60, 80)
    boxes = draws.crop_boxes(count, image, (0.2, 1.0), torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    transform = v2.RandomResizedCrop((60, 80), scale=(0.2, 1.0))
    theirs = [transform.make_params([torch.empty(3, 60, 80)]) for _ in range(count)]
    top, left, bottom, right = boxes.T.numpy()
    assert (top >= 0).all() and (left >= 0).all() and (bottom <= 60).all() and (right <= 80).all()
    ours = {
        "top": top,
        "left": left,
        "area": (bottom - top) * (right - left),
        "ratio": np.log((right - left) / (bottom - top)),
    }
    other = {
        "top": [one["top"] for one in theirs],
        "left": [one["left"] for one in theirs],
        "area": [one["height"] * one["width"] for one in theirs],
        "ratio": [math.log(one["width"] / one["height"]) for one in theirs],
    }
    for name, values in ours.items():
        assert distance(values, np.array(other[name])) < LARGEST_DISTANCE, name


LARGEST_DISTANCE = 1.95 * math.sqrt(2 / 4000)
"""Kolmogorov and Smirnov's distance that 4,000 draws of each exceed once in 1,000 times."""


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of the shares of values up to a point, over all points."""
    points = np.union1d(ours, theirs)
    below = [np.searchsorted(np.sort(one), points, side="right") for one in (ours, theirs)]
    return float(np.abs(below[0] / len(ours) - below[1] / len(theirs)).max())


@pytest.mark.parametrize(("height", "width"), [(10, 100), (100, 10)])
def test_where_no_crop_fits_the_centre_is_taken_as_torchvision_does(
    height: int, width: int
) -> None:
    image = ImageSpec(3, height, width)
    boxes = draws.crop_boxes(50, image, (0.9, 1.0), torch.Generator().manual_seed(0))
    transform = v2.RandomResizedCrop((height, width), scale=(0.9, 1.0))
    one = transform.make_params([torch.empty(3, height, width)])
    expected = [one["top"], one["left"], one["top"] + one["height"], one["left"] + one["width"]]
    assert (boxes == torch.tensor(expected)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_torchvisions_operations_in_each_images_own_order(channels: int) -> None:
    pixels = some_photos(channels=channels)
    rng = torch.Generator().manual_seed(4)
    factors, order = draws.jitter_factors(6, (0.4, 0.4, 0.4, 0.2), rng)
    found = color.color_jitter(pixels, factors, order, hue=True)
    operations = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    assert len({tuple(one) for one in order.tolist()}) > 1
    for one, result, own, sequence in zip(
        pixels, found, factors.tolist(), order.tolist(), strict=True
    ):
        expected = in_torchvision(one)
        for part in sequence:
            expected = operations[part](expected, own[part])
        assert_close(result, from_torchvision(expected), FLOAT)


def test_jitter_in_torchvisions_bytes_differs_by_what_it_cuts_off_in_four_operations() -> None:
    pixels = some_photos()
    rng = torch.Generator().manual_seed(4)
    factors, order = draws.jitter_factors(6, (0.2, 0.2, 0.2, 0.05), rng)
    found = color.color_jitter(pixels, factors, order, hue=True)
    operations = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for one, result, own, sequence in zip(
        pixels, found, factors.tolist(), order.tolist(), strict=True
    ):
        expected = one.permute(2, 0, 1)
        for part in sequence:
            expected = operations[part](expected, own[part])
        # Up to one level is cut off by each operation, and a later factor of 1.2 enlarges it.
        assert_close(result, expected.permute(1, 2, 0), 4 * 1.2 * BYTE)


def test_without_hue_the_other_three_are_unchanged() -> None:
    pixels = some_photos()
    factors, order = draws.jitter_factors(6, (0.4, 0.4, 0.4, 0), torch.Generator().manual_seed(4))
    found = [color.color_jitter(pixels, factors, order, hue=hue) for hue in (False, True)]
    assert_close(found[0], found[1], FLOAT)


def test_factors_of_jitter_are_distributed_as_torchvisions() -> None:
    largest = (0.4, 1.5, 0.3, 0.1)
    factors, order = draws.jitter_factors(4000, largest, torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    transform = v2.ColorJitter(*largest)
    theirs = [transform.make_params([]) for _ in range(4000)]
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    for part, name in enumerate(names):
        drawn = np.array([one[name] for one in theirs])
        assert distance(factors[:, part].numpy(), drawn) < LARGEST_DISTANCE, name
    assert (order.sort(1)[0] == torch.arange(4)).all()
    first = order[:, 0].bincount(minlength=4)
    assert first.min() > 900, "each of the four comes first equally often"


ARGUMENTS = {
    "identity": ("Identity", None),
    "shear_x": ("ShearX", 0.3),
    "shear_y": ("ShearY", 0.3),
    "translate_x": ("TranslateX", 150 / 331 * 28),
    "translate_y": ("TranslateY", 150 / 331 * 20),
    "rotate": ("Rotate", 30.0),
    "brightness": ("Brightness", 0.9),
    "color": ("Color", 0.9),
    "contrast": ("Contrast", 0.9),
    "sharpness": ("Sharpness", 0.9),
    "posterize": ("Posterize", None),
    "solarize": ("Solarize", None),
    "auto_contrast": ("AutoContrast", None),
    "equalize": ("Equalize", None),
}
"""Torchvision's name of each operation, and its strength at magnitude 30 where it has a sign."""


def theirs_applied(name: str, image: torch.Tensor, magnitude: int, sign: int) -> torch.Tensor:
    """torchvision's RandAugment on uint8 ``[C, H, W]`` with one operation picked for it."""
    transform = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)
    identity, largest = ARGUMENTS[name]
    strengths, _ = transform._AUGMENTATION_SPACE[identity]
    values = strengths(31, *image.shape[1:])
    value = 0.0 if values is None else float(values[magnitude])
    if largest is not None:
        assert float(values[-1]) == pytest.approx(largest)
        value *= sign
    return transform._apply_image_or_video_transform(
        image, identity, value, interpolation=transform.interpolation, fill=transform._fill
    )


GREY_LEVELS = dict.fromkeys(("identity", "posterize", "solarize", "equalize"), 0.0)
GREY_LEVELS |= dict.fromkeys(("color", "contrast"), 2 * BYTE)
"""Saturation and contrast in bytes cut off the grey as well as the result."""


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_of_rand_augment_is_torchvisions(name: str, magnitude: int) -> None:
    pixels = some_photos()
    signs = torch.tensor([1.0, -1, 1, -1, 1, -1])[:, None]
    operations = torch.full((6, 1), OPERATIONS.index(name))
    found = rand_augment(pixels, operations, signs, magnitude)
    for one, result, sign in zip(pixels, found, signs[:, 0].tolist(), strict=True):
        expected = theirs_applied(name, one.permute(2, 0, 1), magnitude, int(sign))
        assert_close(result, expected.permute(1, 2, 0), GREY_LEVELS.get(name, BYTE))


def test_operations_of_rand_augment_follow_each_other_in_each_images_own_order() -> None:
    pixels = some_photos(4)
    rng = torch.Generator().manual_seed(5)
    operations = torch.randint(len(OPERATIONS), (4, 3), generator=rng)
    signs = 2.0 * torch.randint(2, (4, 3), generator=rng) - 1
    together = rand_augment(pixels, operations, signs, 9)
    alone = pixels
    for step in range(3):
        alone = rand_augment(alone, operations[:, step : step + 1], signs[:, step : step + 1], 9)
    assert torch.equal(together, alone)
    assert torch.equal(together, together.round())
    assert together.min() >= 0 and together.max() <= 255


def test_rand_augment_draws_every_operation_and_direction_equally_often() -> None:
    config = AugmentConfig(rand_augment_ops=2)
    views = ViewPolicy(config, 0, 7000, ImageSpec(3, 8, 8)).epoch(0)
    assert views.rand_operations is not None and views.rand_signs is not None
    counts = views.rand_operations.flatten().bincount(minlength=len(OPERATIONS))
    assert counts.min() > 880 and counts.max() < 1120, "of 1,000 each"
    assert set(views.rand_signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(views.rand_signs.mean())) < 0.05


def test_erasing_is_torchvisions() -> None:
    pixels, fill = some_photos(), torch.tensor([10.0, 20.0, 30.5])
    boxes = draws.erased_boxes(6, ImageSpec(3, 20, 28), 1.0, torch.Generator().manual_seed(0))
    found = erase(pixels, boxes, fill)
    for one, result, (top, left, bottom, right) in zip(pixels, found, boxes.tolist(), strict=True):
        image = one.permute(2, 0, 1).float()
        expected = F.erase(image, top, left, bottom - top, right - left, fill.view(3, 1, 1))
        assert torch.equal(result, expected.permute(1, 2, 0))


def test_erased_rectangles_are_distributed_as_torchvisions() -> None:
    image = ImageSpec(3, 60, 80)
    boxes = draws.erased_boxes(16000, image, 0.25, torch.Generator().manual_seed(1))
    top, left, bottom, right = boxes.T.numpy()
    erased = bottom > top
    assert erased.mean() == pytest.approx(0.25, abs=0.015)
    torch.manual_seed(2)
    transform = v2.RandomErasing(p=1.0)
    theirs = [transform.make_params([torch.empty(3, 60, 80)]) for _ in range(4000)]
    ours = {
        "i": top[erased],
        "j": left[erased],
        "h": (bottom - top)[erased],
        "w": (right - left)[erased],
    }
    for name, values in ours.items():
        drawn = np.array([one[name] for one in theirs])
        assert distance(values, drawn) < LARGEST_DISTANCE, name


def test_mirroring_upside_down_reverses_the_rows_of_the_chosen_images_only() -> None:
    pixels = some_photos(3)
    found = mirror_vertically(pixels.clone(), torch.tensor([True, False, True]))
    assert torch.equal(found[1], pixels[1])
    for row in (0, 2):
        expected = F.vertical_flip(pixels[row].permute(2, 0, 1)).permute(1, 2, 0)
        assert torch.equal(found[row], expected)
