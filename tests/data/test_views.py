"""Views are a function of (seed, epoch, image), and rendering them in batches equals doing it image by image."""

from dataclasses import fields

import pytest
import torch
from PIL import Image
from tests.tiny_data import MEAN, STD, tiny_split

from understudy.config.schema import AugmentConfig
from understudy.data.views import Normalise, ViewPolicy, Views, crop, mirror, render

CPU = torch.device("cpu")
POLICIES = {
    "crop-flip": AugmentConfig(padding=2),
    "mixup": AugmentConfig(padding=2, mix="mixup"),
    "cutmix": AugmentConfig(padding=2, mix="cutmix"),
    "randaugment": AugmentConfig(padding=2, randaugment=2),
    "nothing": AugmentConfig(padding=0, flip=False),
}


def make_policy(
    config: AugmentConfig, seed: int = 0, num_images: int = 24, size: int = 8
) -> ViewPolicy:
    return ViewPolicy(config, seed, num_images, (3, size, size))


def same(one: Views, two: Views) -> bool:
    pairs = [(getattr(one, f.name), getattr(two, f.name)) for f in fields(Views)]
    return all(
        a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs
    )


def some_pixels(num_images: int = 6, height: int = 5, width: int = 7) -> torch.Tensor:
    """uint8 ``[B, H, W, C]``, taller than wide so that a swap of axes shows."""
    return torch.randint(
        1,
        256,
        (num_images, height, width, 3),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(1),
    )


def raw_render(
    policy: ViewPolicy, images: torch.Tensor, rows: torch.Tensor, views: Views
) -> torch.Tensor:
    """The pixels 0..255 that a view shows: rendered with a normalisation that does nothing, ``[B, H, W, C]``."""
    identity = Normalise((0.0,) * 3, (1 / 255,) * 3, images.shape[3], CPU)
    return render(images, rows, views[rows], policy, identity).permute(0, 2, 3, 1)


@pytest.mark.parametrize("config", POLICIES.values(), ids=POLICIES)
def test_an_epochs_views_depend_on_seed_and_epoch_alone(config: AugmentConfig) -> None:
    first = make_policy(config, seed=3).epoch(5)
    torch.rand(7)  # whatever else draws random numbers meanwhile
    assert same(first, make_policy(config, seed=3).epoch(5))
    if config != POLICIES["nothing"]:
        assert not same(first, make_policy(config, seed=3).epoch(6))
        assert not same(first, make_policy(config, seed=4).epoch(5))


@pytest.mark.parametrize("config", POLICIES.values(), ids=POLICIES)
def test_drawing_views_leaves_the_global_generator_alone(config: AugmentConfig) -> None:
    before = torch.get_rng_state()
    make_policy(config).epoch(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_view_seed_makes_all_seeds_show_the_same_views() -> None:
    fixed = AugmentConfig(padding=2, view_seed=9)
    assert same(make_policy(fixed, seed=1).epoch(0), make_policy(fixed, seed=2).epoch(0))
    assert same(
        make_policy(fixed, seed=1).epoch(0), make_policy(AugmentConfig(padding=2), seed=9).epoch(0)
    )


@pytest.mark.parametrize(
    ("padding", "flip", "count"),
    [(4, True, 162), (4, False, 81), (1, True, 18), (0, True, 2), (0, False, 1)],
)
def test_view_numbers_and_views_are_one_to_one(padding: int, flip: bool, count: int) -> None:
    policy = make_policy(AugmentConfig(padding=padding, flip=flip), num_images=count)
    assert policy.num_views == count
    ids = torch.arange(count)
    assert torch.equal(policy.view_ids(policy.views_of(ids)), ids)
    drawn = policy.epoch(0)
    assert same(policy.views_of(policy.view_ids(drawn)), drawn)


def test_every_view_of_a_finite_policy_comes_up() -> None:
    policy = make_policy(AugmentConfig(padding=1), num_images=2000)
    counts = policy.view_ids(policy.epoch(0)).bincount(minlength=18)
    assert len(counts) == 18
    assert counts.min() > 2000 / 18 / 2, "each of the 18 views has the same probability"


@pytest.mark.parametrize("name", ["mixup", "cutmix", "randaugment"])
def test_an_endless_policy_has_no_view_numbers(name: str) -> None:
    policy = make_policy(POLICIES[name])
    assert policy.num_views is None
    with pytest.raises(AssertionError, match="no view numbers"):
        policy.view_ids(policy.epoch(0))


def test_crop_equals_padding_and_cropping_image_by_image() -> None:
    pixels, padding = some_pixels(), 2
    top, left = torch.tensor([0, 4, 2, 1, 3, 0]), torch.tensor([0, 4, 2, 4, 1, 3])
    _, height, width, _ = pixels.shape
    for one, result, y, x in zip(
        pixels, crop(pixels, top, left, padding), top.tolist(), left.tolist(), strict=True
    ):
        canvas = Image.new("RGB", (width + 2 * padding, height + 2 * padding))
        canvas.paste(Image.fromarray(one.numpy()), (padding, padding))
        expected = canvas.crop((x, y, x + width, y + height))
        assert Image.fromarray(result.numpy()).tobytes() == expected.tobytes()
    assert torch.equal(
        crop(pixels, torch.full((6,), padding), torch.full((6,), padding), padding), pixels
    ), "the middle crop"


def test_crop_reads_the_same_bytes_as_the_gather_used_on_a_gpu() -> None:
    pixels, padding = some_pixels(), 3
    rng = torch.Generator().manual_seed(0)
    top, left = (torch.randint(7, (6,), generator=rng) for _ in range(2))
    padded = torch.nn.functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    image = torch.arange(6)[:, None, None]
    y, x = top[:, None] + torch.arange(5), left[:, None] + torch.arange(7)
    assert torch.equal(crop(pixels, top, left, padding), padded[image, y[..., None], x[:, None, :]])


@pytest.mark.parametrize("channels", [1, 3])
def test_mirror_reverses_the_columns_of_the_chosen_images_only(channels: int) -> None:
    pixels = some_pixels()[..., :channels].contiguous()
    flip = torch.tensor([True, False, False, True, True, False])
    expected = torch.where(flip.view(-1, 1, 1, 1), pixels.flip(2), pixels)
    assert torch.equal(mirror(pixels.clone(), flip), expected)


def test_rendering_does_not_touch_the_data_set() -> None:
    images = tiny_split().images
    before = images.clone()
    for config in POLICIES.values():
        policy = make_policy(config)
        raw_render(policy, images, torch.arange(24), policy.epoch(0))
    assert torch.equal(images, before)


def test_normalisation_is_x_over_255_minus_mean_over_std() -> None:
    pixels = some_pixels()
    result = Normalise(MEAN, STD, 7, CPU)(pixels)
    mean, std = torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)
    expected = ((pixels.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", POLICIES.values(), ids=POLICIES)
def test_rendered_images_are_floats_in_channels_last_memory(config: AugmentConfig) -> None:
    policy = make_policy(config)
    rows = torch.tensor([5, 2, 9])
    images = render(
        tiny_split().images, rows, policy.epoch(0)[rows], policy, Normalise(MEAN, STD, 8, CPU)
    )
    assert images.shape == (3, 3, 8, 8) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_without_variation_an_image_is_shown_as_it_is() -> None:
    images, policy = tiny_split().images, make_policy(POLICIES["nothing"])
    rows = torch.tensor([3, 0])
    assert torch.equal(
        raw_render(policy, images, rows, policy.epoch(0)).round().byte(),
        images.permute(0, 2, 3, 1)[rows],
    )


def test_mixup_adds_image_and_partner_in_the_labels_shares() -> None:
    images, policy = (
        tiny_split().images,
        make_policy(AugmentConfig(padding=0, flip=False, mix="mixup")),
    )
    views, pixels = policy.epoch(0), images.permute(0, 2, 3, 1).float()
    assert views.partner is not None and views.share is not None
    assert views.share.min() >= 0 and views.share.max() <= 1
    assert torch.equal(views.partner.sort().values, torch.arange(24)), (
        "every image is a partner once"
    )
    share = views.share.view(-1, 1, 1, 1)
    expected = pixels * share + pixels[views.partner] * (1 - share)
    torch.testing.assert_close(raw_render(policy, images, torch.arange(24), views), expected)


def test_cutmix_takes_a_patch_from_the_partner_and_its_area_from_the_label() -> None:
    # Image i is all of brightness i, so that a pixel says where it came from.
    images = (
        torch.arange(24, dtype=torch.uint8)
        .view(24, 1, 1, 1)
        .expand(24, 8, 8, 3)
        .contiguous()
        .permute(0, 3, 1, 2)
    )
    policy = make_policy(AugmentConfig(padding=0, flip=False, mix="cutmix"))
    views = policy.epoch(0)
    assert views.partner is not None and views.share is not None and views.box is not None
    shown = raw_render(policy, images, torch.arange(24), views)[..., 0].round().long()
    for image in range(24):
        partner = int(views.partner[image])
        assert set(shown[image].unique().tolist()) <= {image, partner}
        if partner != image:
            assert (shown[image] == image).float().mean() == views.share[image]
            top, left, bottom, right = views.box[image].tolist()
            assert (shown[image, top:bottom, left:right] == partner).all()
    assert 0 < views.share.mean() < 1


def test_the_partner_shows_the_crop_and_flip_of_the_image_it_is_mixed_into() -> None:
    images, policy = tiny_split().images, make_policy(POLICIES["mixup"])
    views, rows = policy.epoch(0), torch.arange(24)
    assert views.partner is not None and views.share is not None
    plain = Views(top=views.top, left=views.left, flip=views.flip)
    finite = make_policy(POLICIES["crop-flip"])
    own = raw_render(finite, images, rows, plain)
    partner = raw_render(
        finite, images.permute(0, 2, 3, 1)[views.partner].permute(0, 3, 1, 2), rows, plain
    )
    share = views.share.view(-1, 1, 1, 1)
    torch.testing.assert_close(
        raw_render(policy, images, rows, views), own * share + partner * (1 - share)
    )


def test_the_fingerprint_follows_the_policy_and_the_images() -> None:
    prints = [make_policy(config).fingerprint for config in POLICIES.values()]
    prints += [
        make_policy(POLICIES["crop-flip"], num_images=25).fingerprint,
        make_policy(POLICIES["crop-flip"], size=9).fingerprint,
    ]
    prints += [
        make_policy(AugmentConfig(padding=3)).fingerprint,
        make_policy(AugmentConfig(padding=2, flip=False)).fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_the_seed_is_in_the_fingerprint_of_an_endless_policy_only() -> None:
    # A finite policy's views have numbers: seeds differ in which views they show, not in what view 17 is.
    finite, endless = POLICIES["crop-flip"], POLICIES["mixup"]
    assert make_policy(finite, seed=1).fingerprint == make_policy(finite, seed=2).fingerprint
    assert make_policy(endless, seed=1).fingerprint != make_policy(endless, seed=2).fingerprint
    fixed = AugmentConfig(padding=2, mix="mixup", view_seed=1)
    assert make_policy(endless, seed=1).fingerprint == make_policy(fixed, seed=2).fingerprint
