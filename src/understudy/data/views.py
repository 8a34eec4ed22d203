"""Augmentation that can be replayed: views are a pure function of (seed, epoch, image).

A *view* is one variation of an image. :class:`ViewPolicy` draws the parameters of all views of an
epoch at once, from nothing but the seed and the number of the epoch. Teacher outputs for them can
therefore be computed in bulk, stored, and found by any later run that uses the same views.
:func:`render` turns bytes and parameters into normalised images, on the device of the bytes,
without Python per image.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

import torch
from torch import Tensor

from understudy.config.schema import AugmentConfig
from understudy.data import color, draws, geometry, transforms
from understudy.data.rand_augment import OPERATIONS, rand_augment
from understudy.data.spec import ImageSpec


@dataclass(frozen=True, eq=False)
class Views:
    """Parameters of one view for each of N images; ``None`` if the policy does not vary it.

    Attributes:
        top, left: int64 ``[N]``, offset of the crop in the padded image, 0 to 2 * padding.
        flip: bool ``[N]``, mirror horizontally.
        partner: int64 ``[N]``, the image mixed in.
        lam: float32 ``[N]``, the weight of this image in the mixture, and of its label (lambda of
            the mixup and CutMix papers).
        box: int64 ``[N, 4]``, top, left, bottom, right of CutMix's patch.
        operations: int64 ``[N, R]``, photometric operations in order.
        strengths: float32 ``[N, R]`` in [0, 1], of those operations.
        flip_vertically: bool ``[N]``, mirror upside down.
        crop_box: int64 ``[N, 4]``, top, left, bottom, right of a resized crop; float32 once scaled.
        rand_operations: int64 ``[N, R]``, operations of RandAugment in order.
        rand_signs: float32 ``[N, R]``, 1 or -1, directions of those operations.
        jitter: float32 ``[N, 4]``, factors of brightness, contrast and saturation, shift of hue.
        jitter_order: int64 ``[N, 4]``, in which these four follow each other.
        erased_box: int64 ``[N, 4]``, top, left, bottom, right of an erased rectangle; may be empty.
    """

    top: Tensor | None = None
    left: Tensor | None = None
    flip: Tensor | None = None
    partner: Tensor | None = None
    lam: Tensor | None = None
    box: Tensor | None = None
    operations: Tensor | None = None
    strengths: Tensor | None = None
    flip_vertically: Tensor | None = None
    crop_box: Tensor | None = None
    rand_operations: Tensor | None = None
    rand_signs: Tensor | None = None
    jitter: Tensor | None = None
    jitter_order: Tensor | None = None
    erased_box: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> "Views":
        """The views of these images (int64 ``[M]``)."""
        return self._map(lambda values: values[rows])

    def to(self, device: torch.device) -> "Views":
        """The same parameters on ``device``."""
        return self._map(lambda values: values.to(device))

    def scaled(self, grid: ImageSpec, image: ImageSpec, padding: int) -> "Views":
        """The same views of images of another size: the same part of the picture.

        Offsets and rectangles are multiplied by the ratio of the sizes, which is exact where it is
        a whole number. Otherwise crops of padded images, mixed and erased rectangles move to the
        nearest pixel of ``image``, by half a pixel at most; resized crops lie between pixels.

        Args:
            grid: the images that the views were drawn for.
            image: those that they are rendered of.
            padding: pixels on each side of the former that ``top`` and ``left`` count from; they
                then count from :func:`scaled_padding` of it.
        """
        own, down, across = scaled_padding(padding, grid, image), *_ratios(grid, image)
        views = self
        if self.top is not None and self.left is not None:
            top = ((self.top - padding).double() * down).round().long() + own
            left = ((self.left - padding).double() * across).round().long() + own
            views = replace(views, top=top, left=left)
        for name in ("box", "erased_box", "crop_box"):
            box = getattr(self, name)
            if box is not None:
                sides = zip(box.double().unbind(1), (down, across, down, across), strict=True)
                moved = torch.stack([side * ratio for side, ratio in sides], 1)
                moved = moved.float() if name == "crop_box" else moved.round().long()
                views = replace(views, **{name: moved})
        return views

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Views":
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return Views(**{name: change(v) for name, v in held.items() if v is not None})


_DEFAULTS = AugmentConfig()
_LATER_SETTINGS = (
    "vertical_flip",
    "resized_crop",
    "color_jitter",
    "rand_augment_ops",
    "rand_augment_magnitude",
    "erasing",
)
"""Settings that a fingerprint holds only where they are not at their defaults."""


def generator_for(*key: object) -> torch.Generator:
    """A CPU generator whose stream depends on ``key`` alone: purpose, seed, epoch."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def scaled_padding(padding: int, grid: ImageSpec, image: ImageSpec) -> int:
    """Pixels on each side of ``image`` that cover ``padding`` pixels of ``grid``."""
    return math.ceil(padding * max(_ratios(grid, image)))


def _ratios(grid: ImageSpec, image: ImageSpec) -> tuple[float, float]:
    """By how much heights and widths are multiplied."""
    return image.height / grid.height, image.width / grid.width


class ViewPolicy:
    """Draws the views of an epoch.

    Args:
        config: what varies.
        seed: of the run; ``config.view_seed`` replaces it if given.
        num_images: N.
        image: the shape of the images.
    """

    def __init__(self, config: AugmentConfig, seed: int, num_images: int, image: ImageSpec) -> None:
        self.config = config
        self.seed = seed if config.view_seed is None else config.view_seed
        self.num_images = num_images
        self.image = image

    @property
    def num_views(self) -> int | None:
        """How many different views an image has: 162 for padding 4 with flips.

        ``None`` for an endless policy: one that draws real numbers or partners.
        """
        config = self.config
        draws_numbers = config.resized_crop or config.color_jitter or config.erasing
        if draws_numbers or config.mix != "none" or config.photometric or config.rand_augment_ops:
            return None
        side = 2 * config.padding + 1
        return side * side * (1 + config.flip) * (1 + config.vertical_flip)

    @property
    def fingerprint(self) -> str:
        """Hex digest of what determines the set of views; for an endless policy, their sequence.

        Views that repeat are the first ones of those that do not, so they have the same digest.
        """
        content: dict[str, object] = asdict(self.config)
        del content["view_seed"], content["view_epochs"]
        # Caches on disk were named before these settings existed.
        for name in _LATER_SETTINGS:
            if content[name] == getattr(_DEFAULTS, name):
                del content[name]
        # Caches on disk were named when the photometric operations were called randaugment.
        content["randaugment"] = content.pop("photometric")
        content["randaugment_magnitude"] = content.pop("photometric_magnitude")
        content |= {"version": 1, "images": self.num_images, "shape": self.image.shape}
        if self.num_views is None:
            content["seed"] = self.seed
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def drawn_in(self, epoch: int) -> int:
        """The epoch (int, from 0) whose views this epoch has: itself, unless views repeat."""
        every = self.config.view_epochs
        return epoch if every is None else epoch % every

    def epoch(self, epoch: int) -> Views:
        """The views of every image in this epoch (int, from 0), on the CPU."""
        n, config = self.num_images, self.config
        rng = generator_for("views", self.seed, self.drawn_in(epoch))
        views = Views()
        if config.resized_crop:
            box = draws.crop_boxes(n, self.image, config.resized_crop, rng)
            views = replace(views, crop_box=box)
        elif config.padding:
            side = 2 * config.padding + 1
            views = replace(
                views,
                top=torch.randint(side, (n,), generator=rng),
                left=torch.randint(side, (n,), generator=rng),
            )
        if config.flip:
            views = replace(views, flip=torch.rand(n, generator=rng) < 0.5)
        if config.vertical_flip:
            views = replace(views, flip_vertically=torch.rand(n, generator=rng) < 0.5)
        views = self._recolour(views, rng)
        if config.erasing:
            box = draws.erased_boxes(n, self.image, config.erasing, rng)
            views = replace(views, erased_box=box)
        return views if config.mix == "none" else self._mix(views, rng)

    def _recolour(self, views: Views, rng: torch.Generator) -> Views:
        n, config = self.num_images, self.config
        if config.photometric:
            shape = (n, config.photometric)
            views = replace(
                views,
                operations=torch.randint(len(transforms.PHOTOMETRIC), shape, generator=rng),
                strengths=config.photometric_magnitude * torch.rand(shape, generator=rng),
            )
        if config.rand_augment_ops:
            shape = (n, config.rand_augment_ops)
            views = replace(
                views,
                rand_operations=torch.randint(len(OPERATIONS), shape, generator=rng),
                rand_signs=2.0 * torch.randint(2, shape, generator=rng) - 1,
            )
        if config.color_jitter:
            factors, order = draws.jitter_factors(n, config.color_jitter, rng)
            views = replace(views, jitter=factors, jitter_order=order)
        return views

    def _mix(self, views: Views, rng: torch.Generator) -> Views:
        partner = torch.randperm(self.num_images, generator=rng)
        lam = draws.beta(self.num_images, self.config.mix_alpha, rng)
        if self.config.mix == "mixup":
            return replace(views, partner=partner, lam=lam)
        box, lam = draws.mix_boxes(lam, self.image, rng)
        return replace(views, partner=partner, lam=lam, box=box)

    def identity_views(self) -> Views:
        """The view of every image that leaves it unchanged; a finite policy numbers it, too."""
        config = self.config
        middle = None
        if config.padding and not config.resized_crop:
            middle = torch.full((self.num_images,), config.padding)
        no = torch.zeros(self.num_images, dtype=torch.bool)
        return Views(
            top=middle,
            left=middle,
            flip=no if config.flip else None,
            flip_vertically=no if config.vertical_flip else None,
        )

    def view_ids(self, views: Views) -> Tensor:
        """The number of each view in ``[0, num_views)``, int64 ``[N]``; for a finite policy."""
        assert self.num_views is not None, "an endless policy has no view numbers"
        drawn = (views.top, views.flip, views.flip_vertically)
        count = next((len(values) for values in drawn if values is not None), self.num_images)
        ids = torch.zeros(count, dtype=torch.int64)
        if views.top is not None and views.left is not None:
            ids = views.top * (2 * self.config.padding + 1) + views.left
        for flip in (views.flip, views.flip_vertically):
            ids = ids if flip is None else 2 * ids + flip.long()
        return ids

    def views_of(self, ids: Tensor) -> Views:
        """The views with these numbers (int64 ``[M]``): the inverse of :meth:`view_ids`."""
        assert self.num_views is not None, "an endless policy has no view numbers"
        views = Views()
        if self.config.vertical_flip:
            views, ids = replace(views, flip_vertically=ids % 2 == 1), ids // 2
        if self.config.flip:
            views, ids = replace(views, flip=ids % 2 == 1), ids // 2
        if self.config.padding:
            side = 2 * self.config.padding + 1
            views = replace(views, top=ids // side, left=ids % side)
        return views


class Normalise:
    """Bytes to floats: ``(x / 255 - mean) / std`` per channel, one multiply-add over rows."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
    ) -> None:
        self.mean, self.std = mean, std
        self.middle = (255 * torch.tensor(mean)).to(device)
        """float32 ``[C]`` in 0..255: what becomes 0."""
        scale = 1.0 / (255.0 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        # One factor per channel, repeated along the row: a row of width * channels vectorises,
        # three channels do not.
        self._scale = scale.float().repeat(width).to(device)
        self._shift = shift.float().repeat(width).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise ``[B, H, W, C]``, uint8 or float in 0..255.

        Returns:
            float32 ``[B, C, H, W]`` in channels-last memory.
        """
        batch, height, width, channels = images.shape
        rows = images.reshape(batch * height, width * channels)
        floats = torch.addcmul(self._shift, rows.float(), self._scale)
        return floats.view(batch, height, width, channels).permute(0, 3, 1, 2)


def render(
    images: Tensor,
    rows: Tensor,
    views: Views,
    policy: ViewPolicy,
    normalise: Normalise,
    grid: ImageSpec | None = None,
) -> Tensor:
    """Normalised images of some rows under given views.

    Args:
        images: uint8 ``[N, C, H, W]`` in NHWC memory: all of the split.
        rows: int64 ``[B]``, which images.
        views: of those images (already indexed by ``rows``).
        policy: that drew the views.
        normalise: bytes to floats.
        grid: the images that the views were drawn for, if those have another size.

    Returns:
        float32 ``[B, C, H, W]``, channels-last.
    """
    config = policy.config
    if grid is not None:
        image = ImageSpec.of(images.shape[1:])
        views = views.scaled(grid, image, config.padding)
        config = replace(config, padding=scaled_padding(config.padding, grid, image))
    pixels = _augment(images, rows, views, config, grid)
    if views.partner is not None and views.lam is not None:
        # The partner has the crop and flip of the image that it is mixed into, so it replays, too.
        partners = _augment(images, views.partner, views, config, grid)
        if views.box is None:
            pixels = transforms.mixup(pixels, partners, views.lam)
        else:
            pixels = transforms.cutmix(pixels, partners, views.box)
    if views.erased_box is not None:
        pixels = transforms.erase(pixels, views.erased_box, normalise.middle)
    return normalise(pixels)


def _augment(
    images: Tensor, rows: Tensor, views: Views, config: AugmentConfig, grid: ImageSpec | None
) -> Tensor:
    """The images at ``rows``, cropped, mirrored and recoloured.

    Returns:
        ``[B, H, W, C]`` in 0..255: uint8, or float32 after a resized crop, RandAugment or jitter.
    """
    pixels = images.permute(0, 2, 3, 1).index_select(0, rows)
    if views.top is not None and views.left is not None:
        pixels = transforms.crop(pixels, views.top, views.left, config.padding)
    if views.flip is not None:
        pixels = transforms.mirror(pixels, views.flip)
    if views.flip_vertically is not None:
        pixels = transforms.mirror_vertically(pixels, views.flip_vertically)
    if views.crop_box is not None:
        pixels = geometry.resized_crop(pixels, views.crop_box)
    if views.operations is not None and views.strengths is not None:
        pixels = transforms.photometric(pixels, views.operations, views.strengths)
    if views.rand_operations is not None and views.rand_signs is not None:
        magnitude, size = config.rand_augment_magnitude, None if grid is None else grid.size
        pixels = rand_augment(pixels, views.rand_operations, views.rand_signs, magnitude, size)
    if views.jitter is not None and views.jitter_order is not None:
        assert config.color_jitter is not None, "the policy that drew the views"
        has_hue = config.color_jitter[3] > 0
        pixels = color.color_jitter(pixels, views.jitter, views.jitter_order, hue=has_hue)
    return pixels
