"""Views are a function of (seed, epoch, image); a rendered batch equals its images one by one."""

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.worlds import MEAN, STD, tiny_split

from understudy.config.schema import AugmentConfig
from understudy.data.spec import ImageSpec
from understudy.data.transforms import PHOTOMETRIC, crop, mirror
from understudy.data.views import Normalise, ViewPolicy, Views, render

CPU = torch.device("cpu")
POLICIES = {
    "crop-flip": AugmentConfig(padding=2),
    "mixup": AugmentConfig(padding=2, mix="mixup"),
    "cutmix": AugmentConfig(padding=2, mix="cutmix"),
    "photometric": AugmentConfig(padding=2, photometric=2),
    "nothing": AugmentConfig(padding=0, flip=False),
    "upside-down": AugmentConfig(padding=1, vertical_flip=True),
    "resized-crop": AugmentConfig(resized_crop=(0.35, 1.0)),
    "jitter": AugmentConfig(padding=2, color_jitter=(0.4, 0.4, 0.4, 0.1)),
    "rand-augment": AugmentConfig(padding=2, rand_augment_ops=2),
    "erasing": AugmentConfig(padding=2, erasing=0.5),
    "photos": AugmentConfig(
        resized_crop=(0.35, 1.0),
        color_jitter=(0.4, 0.4, 0.4, 0.1),
        rand_augment_ops=2,
        erasing=0.5,
        mix="cutmix",
    ),
}
ENDLESS = [name for name in POLICIES if name not in ("crop-flip", "nothing", "upside-down")]


def make_policy(
    config: AugmentConfig, seed: int = 0, num_images: int = 24, size: int = 8
) -> ViewPolicy:
    return ViewPolicy(config, seed, num_images, ImageSpec(3, size, size))


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
    """The pixels 0..255 that a view shows: rendered with a normalisation that does nothing, ``[B,
    H, W, C]``."""
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


@pytest.mark.parametrize("name", ENDLESS)
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
    assert views.partner is not None and views.lam is not None
    assert views.lam.min() >= 0 and views.lam.max() <= 1
    assert torch.equal(views.partner.sort().values, torch.arange(24)), (
        "every image is a partner once"
    )
    share = views.lam.view(-1, 1, 1, 1)
    expected = pixels * share + pixels[views.partner] * (1 - share)
    torch.testing.assert_close(raw_render(policy, images, torch.arange(24), views), expected)


def test_cutmix_takes_the_patchs_area_from_the_label() -> None:
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
    assert views.partner is not None and views.lam is not None and views.box is not None
    shown = raw_render(policy, images, torch.arange(24), views)[..., 0].round().long()
    for image in range(24):
        partner = int(views.partner[image])
        assert set(shown[image].unique().tolist()) <= {image, partner}
        if partner != image:
            assert (shown[image] == image).float().mean() == views.lam[image]
            top, left, bottom, right = views.box[image].tolist()
            assert (shown[image, top:bottom, left:right] == partner).all()
    assert 0 < views.lam.mean() < 1


def test_the_partner_is_cropped_and_flipped_like_its_image() -> None:
    images, policy = tiny_split().images, make_policy(POLICIES["mixup"])
    views, rows = policy.epoch(0), torch.arange(24)
    assert views.partner is not None and views.lam is not None
    plain = Views(top=views.top, left=views.left, flip=views.flip)
    finite = make_policy(POLICIES["crop-flip"])
    own = raw_render(finite, images, rows, plain)
    partner = raw_render(
        finite, images.permute(0, 2, 3, 1)[views.partner].permute(0, 3, 1, 2), rows, plain
    )
    share = views.lam.view(-1, 1, 1, 1)
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
    # A finite policy's views have numbers: seeds differ in which views they show, not in what view
    # 17 is.
    finite, endless = POLICIES["crop-flip"], POLICIES["mixup"]
    assert make_policy(finite, seed=1).fingerprint == make_policy(finite, seed=2).fingerprint
    assert make_policy(endless, seed=1).fingerprint != make_policy(endless, seed=2).fingerprint
    fixed = AugmentConfig(padding=2, mix="mixup", view_seed=1)
    assert make_policy(endless, seed=1).fingerprint == make_policy(fixed, seed=2).fingerprint


# What is drawn, number for number. Caches and resumed runs depend on it: these may never move.


def generator(key: str) -> torch.Generator:
    """The stream that belongs to a key: the first 63 bits of its BLAKE2b digest are the seed."""
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") // 2
    return torch.Generator().manual_seed(seed)


def test_crops_and_flips_are_drawn_from_seed_and_epoch_in_order() -> None:
    views, rng = (
        make_policy(AugmentConfig(padding=3), seed=11, num_images=500).epoch(5),
        generator("views/11/5"),
    )
    assert torch.equal(views.top, torch.randint(0, 7, (500,), generator=rng))
    assert torch.equal(views.left, torch.randint(0, 7, (500,), generator=rng))
    assert torch.equal(views.flip, torch.rand(500, generator=rng) < 0.5)
    assert views.partner is views.lam is views.box is views.operations is views.strengths is None


def test_operations_are_drawn_with_strengths_up_to_the_magnitude() -> None:
    config = AugmentConfig(padding=0, flip=False, photometric=3, photometric_magnitude=0.4)
    views, rng = make_policy(config, seed=2, num_images=500).epoch(1), generator("views/2/1")
    assert torch.equal(views.operations, torch.randint(0, 8, (500, 3), generator=rng))
    assert torch.equal(views.strengths, 0.4 * torch.rand(500, 3, generator=rng))
    assert set(views.operations.unique().tolist()) == set(range(len(PHOTOMETRIC)))
    assert 0.39 < views.strengths.max() <= 0.4 and views.top is views.left is views.flip is None


def drawn_mixture(
    key: str, alpha: float, num_images: int
) -> tuple[torch.Tensor, np.ndarray, torch.Generator]:
    """Partners and shares of a policy that neither crops nor flips, and its generator after
    them."""
    rng = generator(key)
    partner = torch.randperm(num_images, generator=rng)
    seed = int(torch.randint(0, 2**62, (1,), generator=rng))
    return (
        partner,
        np.random.Generator(np.random.PCG64(seed))
        .beta(alpha, alpha, num_images)
        .astype(np.float32),
        rng,
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixups_partner_is_a_permutation_and_its_share_a_beta_draw(alpha: float) -> None:
    views = make_policy(
        AugmentConfig(padding=0, flip=False, mix="mixup", mix_alpha=alpha), seed=6
    ).epoch(2)
    partner, share, _ = drawn_mixture("views/6/2", alpha, 24)
    assert (
        torch.equal(views.partner, partner)
        and np.array_equal(views.lam, share)
        and views.box is None
    )


def test_cutmixs_box_has_the_other_share_around_a_drawn_centre() -> None:
    """On images of 6 lines and 10 columns, so that the two sides cannot stand in for each other."""
    policy = ViewPolicy(
        AugmentConfig(padding=0, flip=False, mix="cutmix", mix_alpha=0.7),
        6,
        200,
        ImageSpec(3, 6, 10),
    )
    views = policy.epoch(2)
    partner, shares, rng = drawn_mixture("views/6/2", 0.7, 200)
    lines, columns = (
        torch.randint(0, 6, (200,), generator=rng),
        torch.randint(0, 10, (200,), generator=rng),
    )
    assert torch.equal(views.partner, partner)
    for image, (share, y, x) in enumerate(
        zip(shares, lines.tolist(), columns.tolist(), strict=True)
    ):
        side = np.sqrt(np.float32(1) - share)
        half_y, half_x = (
            int(side * np.float32(6) / np.float32(2)),
            int(side * np.float32(10) / np.float32(2)),
        )
        box = [max(y - half_y, 0), max(x - half_x, 0), min(y + half_y, 6), min(x + half_x, 10)]
        assert views.box[image].tolist() == box
        area = (box[2] - box[0]) * (box[3] - box[1])
        assert float(views.lam[image]) == pytest.approx(1 - area / 60), (
            "the label's share is that of the pixels shown"
        )
    assert (views.box[:, 0] == 0).any() and (views.box[:, 2] == 6).any(), "some boxes are clipped"


def test_a_box_is_filled_from_the_partner_and_nothing_else() -> None:
    images = (
        torch.arange(3, dtype=torch.uint8)
        .view(3, 1, 1, 1)
        .expand(3, 5, 7, 3)
        .contiguous()
        .permute(0, 3, 1, 2)
    )
    policy = ViewPolicy(AugmentConfig(padding=0, flip=False, mix="cutmix"), 0, 3, (3, 5, 7))
    partner, box = torch.tensor([1, 2, 0]), torch.tensor([[1, 2, 4, 6], [0, 0, 5, 7], [2, 3, 2, 5]])
    views = Views(partner=partner, lam=torch.tensor([1 - 12 / 35, 0.0, 1.0]), box=box)
    shown = raw_render(policy, images, torch.arange(3), views)[..., 1].round().long()
    expected = torch.zeros(3, 5, 7, dtype=torch.int64) + torch.arange(3).view(3, 1, 1)
    expected[0, 1:4, 2:6] = 1
    expected[1] = 2  # the third box is empty
    assert torch.equal(shown, expected)


def test_views_are_numbered_by_line_then_column_then_flip() -> None:
    policy = make_policy(AugmentConfig(padding=2), num_images=3)
    views = Views(
        top=torch.tensor([0, 3, 4]),
        left=torch.tensor([1, 1, 4]),
        flip=torch.tensor([False, True, True]),
    )
    assert policy.view_ids(views).tolist() == [2, 33, 49], "2 * (5 * top + left) + flip"
    assert make_policy(AugmentConfig(padding=2, flip=False)).view_ids(
        Views(top=views.top, left=views.left)
    ).tolist() == [
        1,
        16,
        24,
    ]
    assert make_policy(AugmentConfig(padding=0)).view_ids(Views(flip=views.flip)).tolist() == [
        0,
        1,
        1,
    ]
    assert make_policy(POLICIES["nothing"]).view_ids(Views()).tolist() == [0] * 24


@pytest.mark.parametrize("config", POLICIES.values(), ids=POLICIES)
def test_the_plain_view_is_the_image_without_augmentation(config: AugmentConfig) -> None:
    images, policy = tiny_split().images, make_policy(config)
    shown = raw_render(policy, images, torch.arange(24), policy.identity_views()).round().byte()
    assert torch.equal(shown, images.permute(0, 2, 3, 1))


def test_the_plain_view_has_the_number_of_the_middle_crop() -> None:
    policy = make_policy(AugmentConfig(padding=4))
    assert policy.view_ids(policy.identity_views()).tolist() == [2 * (4 * 9 + 4)] * 24


def test_an_image_is_cropped_then_flipped_then_varied() -> None:
    """A crop to the upper left leaves zeros there; mirrored after it, they are on the right;
    brightening is last."""
    pixels = some_pixels(2)
    config = AugmentConfig(padding=2, photometric=1)
    policy = ViewPolicy(config, 0, 2, ImageSpec(3, 5, 7))
    top, left, flip = torch.tensor([0, 3]), torch.tensor([0, 4]), torch.tensor([True, False])
    operations, strengths = torch.tensor([[0], [1]]), torch.tensor([[0.5], [0.5]])
    views = Views(top=top, left=left, flip=flip, operations=operations, strengths=strengths)
    padded = np.zeros((2, 9, 11, 3), np.uint8)
    padded[:, 2:7, 2:9] = pixels.numpy()
    first, second = padded[0, 0:5, 0:7][:, ::-1], padded[1, 3:8, 4:11]
    expected = np.stack(
        [np.minimum(np.rint(first * np.float32(1.45)), 255), np.rint(second * np.float32(0.55))]
    )
    shown = raw_render(policy, pixels.permute(0, 3, 1, 2), torch.arange(2), views)
    assert (
        np.abs(shown.numpy() - expected).max() < 1.01
        and np.abs(shown.numpy() - expected).mean() < 0.05
    )
    assert (shown[0, :2] == 0).all() and (shown[0, :, -2:] == 0).all()


def test_the_partner_is_varied_by_the_operations_of_its_image() -> None:
    images, policy = (
        tiny_split().images,
        make_policy(AugmentConfig(padding=0, flip=False, mix="mixup", photometric=1)),
    )
    operations, strengths = torch.tensor([[1]]), torch.tensor([[1.0]])  # darken, to a tenth
    views = Views(
        partner=torch.tensor([5]),
        lam=torch.tensor([0.25]),
        operations=operations,
        strengths=strengths,
    )
    identity = Normalise((0.0,) * 3, (1 / 255,) * 3, 8, CPU)
    shown = render(images, torch.tensor([2]), views, policy, identity)
    expected = 0.25 * (images[2] * 0.1).round() + 0.75 * (images[5] * 0.1).round()
    torch.testing.assert_close(shown[0], expected, rtol=0, atol=1.01)  # a rounding apart


def test_the_views_of_some_rows_are_those_rows_of_every_field() -> None:
    whole = Views(*(torch.arange(6) + 10 * number for number in range(len(fields(Views)))))
    part = whole[torch.tensor([4, 1])]
    assert [getattr(part, f.name).tolist() for f in fields(Views)] == [
        [4 + 10 * n, 1 + 10 * n] for n in range(len(fields(Views)))
    ]
    moved = whole.to(torch.device("meta"))
    assert {getattr(moved, f.name).device.type for f in fields(Views)} == {"meta"}
    assert all(getattr(Views().to(CPU), f.name) is None for f in fields(Views))


def test_the_fingerprint_is_the_one_that_caches_are_filed_under() -> None:
    """Pinned: should it move, every cache of teacher outputs on every disk is lost."""
    finite, endless = (
        AugmentConfig(padding=4),
        AugmentConfig(padding=2, mix="cutmix", photometric=1),
    )
    assert (
        ViewPolicy(finite, 0, 100, ImageSpec(3, 32, 32)).fingerprint
        == "9ad6086684a1a8febcc75e70b10329baffd8e019ae5f93715bc9356838b793ad"
    )
    assert (
        ViewPolicy(endless, 3, 100, ImageSpec(3, 32, 32)).fingerprint
        == "f62b36f82a5e2f517b0a484818a5bcd869b82621986fce0d49a7fb4a8fb9f817"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"vertical_flip": True},
        {"resized_crop": (0.35, 1.0)},
        {"color_jitter": (0.4, 0.4, 0.4, 0.1)},
        {"rand_augment_ops": 2},
        {"rand_augment_ops": 2, "rand_augment_magnitude": 5},
        {"erasing": 0.25},
    ],
)
def test_every_later_setting_moves_the_fingerprint_once_it_is_on(change: dict) -> None:
    off, on = AugmentConfig(padding=2), AugmentConfig(padding=2, **change)
    other = AugmentConfig(padding=2, **change, flip=False)
    prints = {make_policy(config).fingerprint for config in (off, on, other)}
    assert len(prints) == 3


def test_a_resized_crop_takes_the_place_of_the_padded_one() -> None:
    policy = make_policy(AugmentConfig(padding=4, resized_crop=(0.35, 1.0)))
    drawn = policy.epoch(0)
    assert drawn.top is None and drawn.left is None and drawn.crop_box is not None
    assert policy.identity_views().top is None


def test_an_erased_rectangle_becomes_zero_after_normalising_and_mixing() -> None:
    images, policy = tiny_split().images, make_policy(POLICIES["photos"])
    box = torch.tensor([[1, 2, 5, 7]])
    views = Views(erased_box=box, partner=torch.tensor([3]), lam=torch.tensor([0.3]))
    shown = render(images, torch.tensor([2]), views, policy, Normalise(MEAN, STD, 8, CPU))
    inside = shown[0, :, 1:5, 2:7]
    torch.testing.assert_close(inside, torch.zeros_like(inside), rtol=0, atol=1e-5)
    assert (shown[0].abs().sum(0) > 1e-3).sum() > 30, "the rest is left alone"


def test_the_partner_has_the_crop_and_the_colours_of_its_image() -> None:
    """Mixed with lambda 0 an image shows its partner, under its own view."""
    images, policy = tiny_split().images, make_policy(replace(POLICIES["photos"], mix="mixup"))
    views = policy.epoch(0)
    assert views.partner is not None
    rows, alone = torch.arange(24), replace(views, partner=None, lam=None)
    mixed = replace(views, lam=torch.zeros(24))
    shown = raw_render(policy, images, rows, mixed)
    order = views.partner
    identity = Normalise((0.0,) * 3, (1 / 255,) * 3, 8, CPU)
    expected = render(images, order, alone, policy, identity).permute(0, 2, 3, 1)
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-2)


def test_half_of_the_views_of_each_kind_of_flip_are_flipped() -> None:
    policy = make_policy(AugmentConfig(padding=0, vertical_flip=True), num_images=4000)
    assert policy.num_views == 4
    counts = policy.view_ids(policy.epoch(0)).bincount(minlength=4)
    assert counts.min() > 900, "four views, each with the same probability"


@pytest.mark.parametrize("name", POLICIES)
def test_views_that_repeat_are_the_first_ones_in_turn(name: str) -> None:
    config = POLICIES[name]
    once, repeated = make_policy(config), make_policy(replace(config, view_epochs=3))
    assert all(same(repeated.epoch(epoch), once.epoch(epoch % 3)) for epoch in range(7))
    assert repeated.fingerprint == once.fingerprint, "their teacher outputs are shared"


@pytest.mark.parametrize("epochs", [0, -1])
def test_views_repeat_after_at_least_one_epoch(epochs: int) -> None:
    with pytest.raises(ValueError, match="view_epochs must be at least 1"):
        AugmentConfig(view_epochs=epochs)
