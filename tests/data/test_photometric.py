"""Photometric operations on whole batches of bytes: nothing at strength 0, bytes at any strength, each image its own."""

import pytest
import torch

from understudy.data import photometric

NUMBER = {
    operation.__name__.strip("_"): number for number, operation in enumerate(photometric.OPERATIONS)
}


def some_pixels(num_images: int = 4) -> torch.Tensor:
    return torch.randint(
        0, 256, (num_images, 6, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )


def applied(name: str, pixels: torch.Tensor, strength: float) -> torch.Tensor:
    count = len(pixels)
    return photometric.apply(
        pixels, torch.full((count, 1), NUMBER[name]), torch.full((count, 1), strength)
    )


@pytest.mark.parametrize("name", sorted(set(NUMBER) - {"posterise"}))
def test_strength_zero_changes_nothing(name: str) -> None:
    assert torch.equal(applied(name, some_pixels(), 0.0), some_pixels())


@pytest.mark.parametrize("name", NUMBER)
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_full_strength_changes_the_image_into_bytes_again(name: str, strength: float) -> None:
    before = some_pixels()
    after = applied(name, before, strength)
    assert after.dtype == torch.uint8 and after.shape == before.shape
    if name != "stretch":  # random bytes fill the whole range already
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
    assert values["contrast"] == [2, 78, 154, 255] or values["contrast"] == [1, 78, 154, 255], (
        "the mean, 125, stays"
    )
    assert values["flatten"] == [118, 122, 126, 132], (
        "a tenth of the distance from the mean is left"
    )
    assert values["desaturate"] == [60, 100, 140, 200], "grey is grey"
    assert values["posterise"] == [0, 0, 128, 128], "one bit is left"
    assert values["solarise"] == [195, 155, 115, 55], "all inverted"
    assert values["stretch"] == [0, 73, 146, 255], "from 60..200 to 0..255"


def test_posterise_drops_one_bit_at_least() -> None:
    assert torch.equal(applied("posterise", some_pixels(), 0.0), some_pixels() & 0b11111110)


def test_each_image_has_its_own_operations_in_their_order() -> None:
    pixels = some_pixels(3)
    dark, bright = NUMBER["darken"], NUMBER["brighten"]
    operations = torch.tensor([[dark, bright], [bright, dark], [dark, dark]])
    strengths = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    together = photometric.apply(pixels, operations, strengths)
    for row in range(3):
        one = pixels[row : row + 1]
        for number, strength in zip(operations[row].tolist(), strengths[row].tolist(), strict=True):
            one = photometric.apply(one, torch.tensor([[number]]), torch.tensor([[strength]]))
        assert torch.equal(together[row], one[0])
    assert not torch.equal(
        together[0], photometric.apply(pixels, operations.flip(1), strengths.flip(1))[0]
    ), "order matters"


def test_the_same_parameters_give_the_same_bytes() -> None:
    rng = torch.Generator().manual_seed(0)
    operations = torch.randint(len(photometric.OPERATIONS), (4, 3), generator=rng)
    strengths = torch.rand(4, 3, generator=rng)
    first, again = (photometric.apply(some_pixels(), operations, strengths) for _ in range(2))
    assert torch.equal(first, again)
