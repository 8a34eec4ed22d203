"""Transforms of batches of bytes: photometric operations against their formulas, mixup, CutMix."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from understudy.data.transforms import PHOTOMETRIC, crop, cutmix, mixup, photometric

NUMBER = {operation.__name__: number for number, operation in enumerate(PHOTOMETRIC)}


def some_pixels(num_images: int = 4) -> torch.Tensor:
    return torch.randint(
        0, 256, (num_images, 6, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )


def applied(name: str, pixels: torch.Tensor, strength: float) -> torch.Tensor:
    count = len(pixels)
    return photometric(
        pixels, torch.full((count, 1), NUMBER[name]), torch.full((count, 1), strength)
    )


def test_crops_are_cut_from_each_image_with_zeros_around() -> None:
    pixels = some_pixels(3)
    top, left = torch.tensor([0, 1, 4]), torch.tensor([3, 2, 0])
    cut = crop(pixels, top, left, padding=2)
    for row in range(3):
        padded = np.pad(pixels[row].numpy(), ((2, 2), (2, 2), (0, 0)))
        y, x = int(top[row]), int(left[row])
        assert np.array_equal(cut[row].numpy(), padded[y : y + 6, x : x + 5])


@pytest.mark.parametrize("name", sorted(set(NUMBER) - {"posterise"}))
def test_strength_zero_changes_nothing(name: str) -> None:
    assert torch.equal(applied(name, some_pixels(), 0.0), some_pixels())


@pytest.mark.parametrize("name", NUMBER)
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_full_strength_changes_the_image_into_bytes_again(name: str, strength: float) -> None:
    before = some_pixels()
    after = applied(name, before, strength)
    assert after.dtype == torch.uint8 and after.shape == before.shape
    if name != "autocontrast":  # random bytes fill the whole range already
        assert not torch.equal(after, before)
    assert torch.equal(before, some_pixels()), "the input is left alone"


def test_what_the_operations_do() -> None:
    grey = (
        torch.tensor([60, 100, 140, 200], dtype=torch.uint8)
        .view(1, 2, 2, 1)
        .expand(1, 2, 2, 3)
        .contiguous()
    )
    values = {name: applied(name, grey, 1.0)[0, :, :, 0].flatten().tolist() for name in NUMBER}
    assert values["brighten"] == [114, 190, 255, 255], "times 1.9, held at 255"
    assert values["darken"] == [6, 10, 14, 20], "times 0.1"
    assert values["increase_contrast"] == [2, 78, 154, 255] or values["increase_contrast"] == [
        1,
        78,
        154,
        255,
    ], "the mean, 125, stays"
    assert values["reduce_contrast"] == [118, 122, 126, 132], (
        "a tenth of the distance from the mean is left"
    )
    assert values["desaturate"] == [60, 100, 140, 200], "grey is grey"
    assert values["posterise"] == [0, 0, 128, 128], "one bit is left"
    assert values["solarise"] == [195, 155, 115, 55], "all inverted"
    assert values["autocontrast"] == [0, 73, 146, 255], "from 60..200 to 0..255"


def reference(name: str, x: np.ndarray, s: float) -> np.ndarray:
    """One image ``[H, W, 3]`` in double precision, before it is held to 0..255 and rounded."""
    mean = x.mean()
    if name in ("brighten", "darken"):
        return x * (1 + 0.9 * s if name == "brighten" else 1 - 0.9 * s)
    if name in ("increase_contrast", "reduce_contrast"):
        return mean + (x - mean) * (1 + 0.9 * s if name == "increase_contrast" else 1 - 0.9 * s)
    if name == "desaturate":
        return (1 - s) * x + s * x.mean(axis=2, keepdims=True)
    if name == "posterise":
        bits = round(1 + 6 * s)
        return x - x % 2**bits
    if name == "solarise":
        return np.where(x >= 256 - 256 * s, 255 - x, x)
    low, high = x.min(axis=(0, 1)), x.max(axis=(0, 1))
    return (1 - s) * x + s * 255 * (x - low) / (high - low)


def tinted_pixels() -> torch.Tensor:
    """Channels of unequal range, so that no two images, channels or axes are alike."""
    scale, shift = torch.tensor([0.3, 0.5, 0.7]), torch.tensor([20, 60, 40])
    return (some_pixels(5) * scale + shift).to(torch.uint8)


@pytest.mark.parametrize("strength", [0.25, 0.6, 0.9])
@pytest.mark.parametrize("name", NUMBER)
def test_each_operation_equals_its_formula_image_by_image(name: str, strength: float) -> None:
    pixels = tinted_pixels()
    found = applied(name, pixels, strength).numpy().astype(int)
    for before, after in zip(pixels.numpy().astype(float), found, strict=True):
        expected = np.rint(np.clip(reference(name, before, strength), 0, 255)).astype(int)
        assert np.abs(after - expected).max() <= 1 and (after == expected).mean() > 0.95, (
            "a rounding apart at most"
        )


def test_at_full_strength_three_operations_are_pillows() -> None:
    pixels = tinted_pixels()
    images = [Image.fromarray(one.numpy()) for one in pixels]
    for name, pillow, away in (
        ("posterise", lambda image: ImageOps.posterize(image, 1), 0),
        ("solarise", lambda image: ImageOps.solarize(image, 0), 0),
        ("autocontrast", ImageOps.autocontrast, 1),  # Pillow rounds down
    ):
        expected = np.stack([np.asarray(pillow(image)) for image in images]).astype(int)
        assert np.abs(applied(name, pixels, 1.0).numpy().astype(int) - expected).max() <= away, name


@pytest.mark.parametrize("name", NUMBER)
def test_a_stronger_operation_changes_more(name: str) -> None:
    pixels = tinted_pixels()
    changes = [
        (applied(name, pixels, s).float() - pixels.float()).abs().mean().item()
        for s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert changes == sorted(changes) and changes[-1] > 2 * changes[1] and changes[-1] > 5


def test_an_image_of_one_colour_is_stretched_to_black() -> None:
    assert (
        applied("autocontrast", torch.full((1, 2, 2, 3), 90, dtype=torch.uint8), 1.0) == 0
    ).all()


def test_two_neighbouring_values_are_stretched_to_the_full_range() -> None:
    pixels = torch.tensor([90, 91], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    assert applied("autocontrast", pixels, 1.0)[0, 0, :, 0].tolist() == [0, 255]


def test_values_are_rounded_and_held_after_each_operation() -> None:
    """200 is brightened to 255, not to 380, and that is darkened to a tenth: 25.5, which may round
    either way."""
    pixel = torch.full((1, 1, 1, 3), 200, dtype=torch.uint8)
    operations, strengths = torch.tensor([[NUMBER["brighten"], NUMBER["darken"]]]), torch.ones(1, 2)
    assert photometric(pixel, operations, strengths).flatten().tolist() in (
        [26] * 3,
        [25] * 3,
    )


def test_the_numbers_of_the_operations_stay() -> None:
    """Views that are stored refer to them."""
    assert list(NUMBER) == [
        "brighten",
        "darken",
        "increase_contrast",
        "reduce_contrast",
        "desaturate",
        "posterise",
        "solarise",
        "autocontrast",
    ]


def test_posterise_drops_one_bit_at_least() -> None:
    assert torch.equal(applied("posterise", some_pixels(), 0.0), some_pixels() & 0b11111110)


def test_each_image_has_its_own_operations_in_their_order() -> None:
    pixels = some_pixels(3)
    dark, bright = NUMBER["darken"], NUMBER["brighten"]
    operations = torch.tensor([[dark, bright], [bright, dark], [dark, dark]])
    strengths = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    together = photometric(pixels, operations, strengths)
    for row in range(3):
        one = pixels[row : row + 1]
        for number, strength in zip(operations[row].tolist(), strengths[row].tolist(), strict=True):
            one = photometric(one, torch.tensor([[number]]), torch.tensor([[strength]]))
        assert torch.equal(together[row], one[0])
    assert not torch.equal(
        together[0], photometric(pixels, operations.flip(1), strengths.flip(1))[0]
    ), "order matters"


def test_the_same_parameters_give_the_same_bytes() -> None:
    rng = torch.Generator().manual_seed(0)
    operations = torch.randint(len(PHOTOMETRIC), (4, 3), generator=rng)
    strengths = torch.rand(4, 3, generator=rng)
    first, again = (photometric(some_pixels(), operations, strengths) for _ in range(2))
    assert torch.equal(first, again)


def test_mixup_weights_the_image_by_lambda() -> None:
    pixels, partners = some_pixels(), some_pixels().flip(0)
    mixed = mixup(pixels, partners, torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert torch.equal(mixed[0], partners[0].float()) and torch.equal(mixed[3], pixels[3].float())
    assert torch.equal(mixed[1], 0.25 * pixels[1].float() + 0.75 * partners[1].float())


def test_cutmix_takes_the_box_from_the_partner() -> None:
    pixels, partners = torch.zeros(2, 6, 5, 3), torch.ones(2, 6, 5, 3)
    boxes = torch.tensor([[1, 2, 4, 5], [0, 0, 0, 5]])
    mixed = cutmix(pixels, partners, boxes)
    assert mixed[0, 1:4, 2:5].eq(1).all() and mixed[0].sum() == 3 * 3 * 3
    assert mixed[1].eq(0).all(), "an empty box changes nothing"
