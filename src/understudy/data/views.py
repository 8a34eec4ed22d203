"""Augmentation that can be replayed: views are a pure function of (seed, epoch, image).

A *view* is one variation of an image. :class:`ViewPolicy` draws the parameters of all views of an
epoch at once, from nothing but the seed and the number of the epoch. Teacher outputs for them can
therefore be computed in bulk, stored, and found by any later run that uses the same views.
:func:`render` turns bytes and parameters into normalised images, on the device of the bytes,
without Python per image.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from understudy.config.schema import AugmentConfig
from understudy.data import transforms
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
    """

    top: Tensor | None = None
    left: Tensor | None = None
    flip: Tensor | None = None
    partner: Tensor | None = None
    lam: Tensor | None = None
    box: Tensor | None = None
    operations: Tensor | None = None
    strengths: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> "Views":
        """The views of these images (int64 ``[M]``)."""
        return self._map(lambda values: values[rows])

    def to(self, device: torch.device) -> "Views":
        """The same parameters on ``device``."""
        return self._map(lambda values: values.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Views":
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return Views(**{name: change(v) for name, v in held.items() if v is not None})


def generator_for(*key: object) -> torch.Generator:
    """A CPU generator whose stream depends on ``key`` alone: purpose, seed, epoch."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


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
        if self.config.mix != "none" or self.config.photometric:
            return None
        side = 2 * self.config.padding + 1
        return side * side * (2 if self.config.flip else 1)

    @property
    def fingerprint(self) -> str:
        """Hex digest of what determines the set of views; for an endless policy, their sequence."""
        content: dict[str, object] = asdict(self.config)
        del content["view_seed"]
        # Caches on disk were named when the photometric operations were called randaugment.
        content["randaugment"] = content.pop("photometric")
        content["randaugment_magnitude"] = content.pop("photometric_magnitude")
        content |= {"version": 1, "images": self.num_images, "shape": self.image.shape}
        if self.num_views is None:
            content["seed"] = self.seed
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def epoch(self, epoch: int) -> Views:
        """The views of every image in this epoch (int, from 0), on the CPU."""
        n, config = self.num_images, self.config
        rng = generator_for("views", self.seed, epoch)
        views = Views()
        if config.padding:
            side = 2 * config.padding + 1
            views = replace(
                views,
                top=torch.randint(side, (n,), generator=rng),
                left=torch.randint(side, (n,), generator=rng),
            )
        if config.flip:
            views = replace(views, flip=torch.rand(n, generator=rng) < 0.5)
        if config.photometric:
            shape = (n, config.photometric)
            views = replace(
                views,
                operations=torch.randint(len(transforms.PHOTOMETRIC), shape, generator=rng),
                strengths=config.photometric_magnitude * torch.rand(shape, generator=rng),
            )
        if config.mix != "none":
            views = self._mix(views, epoch, rng)
        return views

    def _mix(self, views: Views, epoch: int, rng: torch.Generator) -> Views:
        n, height, width = self.num_images, self.image.height, self.image.width
        partner = torch.randperm(n, generator=rng)
        # torch's Beta takes no generator; numpy's does, and is stable across platforms.
        numpy_rng = np.random.Generator(
            np.random.PCG64(int(torch.randint(2**62, (1,), generator=rng)))
        )
        drawn = numpy_rng.beta(self.config.mix_alpha, self.config.mix_alpha, n)
        lam = torch.from_numpy(drawn.astype(np.float32))
        if self.config.mix == "mixup":
            return replace(views, partner=partner, lam=lam)
        side = (1 - lam).sqrt()
        centre_y = torch.randint(height, (n,), generator=rng)
        centre_x = torch.randint(width, (n,), generator=rng)
        half_y, half_x = (side * height / 2).long(), (side * width / 2).long()
        top, bottom = (centre_y - half_y).clamp(0, height), (centre_y + half_y).clamp(0, height)
        left, right = (centre_x - half_x).clamp(0, width), (centre_x + half_x).clamp(0, width)
        # The label's weight follows the patch as clipped by the border, as in the paper's code.
        lam = 1 - ((bottom - top) * (right - left)).float() / (height * width)
        box = torch.stack((top, left, bottom, right), 1)
        return replace(views, partner=partner, lam=lam, box=box)

    def identity_views(self) -> Views:
        """The view of every image that leaves it unchanged; a finite policy numbers it, too."""
        middle = None
        if self.config.padding:
            middle = torch.full((self.num_images,), self.config.padding)
        flip = torch.zeros(self.num_images, dtype=torch.bool) if self.config.flip else None
        return Views(top=middle, left=middle, flip=flip)

    def view_ids(self, views: Views) -> Tensor:
        """The number of each view in ``[0, num_views)``, int64 ``[N]``; for a finite policy."""
        assert self.num_views is not None, "an endless policy has no view numbers"
        count = next((len(v) for v in (views.top, views.flip) if v is not None), self.num_images)
        ids = torch.zeros(count, dtype=torch.int64)
        if views.top is not None and views.left is not None:
            ids = views.top * (2 * self.config.padding + 1) + views.left
        return ids if views.flip is None else 2 * ids + views.flip.long()

    def views_of(self, ids: Tensor) -> Views:
        """The views with these numbers (int64 ``[M]``): the inverse of :meth:`view_ids`."""
        assert self.num_views is not None, "an endless policy has no view numbers"
        views = Views()
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
    images: Tensor, rows: Tensor, views: Views, policy: ViewPolicy, normalise: Normalise
) -> Tensor:
    """Normalised images of some rows under given views.

    Args:
        images: uint8 ``[N, C, H, W]`` in NHWC memory: all of the split.
        rows: int64 ``[B]``, which images.
        views: of those images (already indexed by ``rows``).
        policy: that drew the views.
        normalise: bytes to floats.

    Returns:
        float32 ``[B, C, H, W]``, channels-last.
    """
    padding = policy.config.padding
    pixels: Tensor = _augment(images, rows, views, padding)
    if views.partner is not None and views.lam is not None:
        # The partner has the crop and flip of the image that it is mixed into, so it replays, too.
        partners = _augment(images, views.partner, views, padding)
        if views.box is None:
            pixels = transforms.mixup(pixels, partners, views.lam)
        else:
            pixels = transforms.cutmix(pixels, partners, views.box)
    return normalise(pixels)


def _augment(images: Tensor, rows: Tensor, views: Views, padding: int) -> Tensor:
    """The images at ``rows``, cropped, mirrored and recoloured: uint8 ``[B, H, W, C]``."""
    pixels = images.permute(0, 2, 3, 1).index_select(0, rows)
    if views.top is not None and views.left is not None:
        pixels = transforms.crop(pixels, views.top, views.left, padding)
    if views.flip is not None:
        pixels = transforms.mirror(pixels, views.flip)
    if views.operations is not None and views.strengths is not None:
        pixels = transforms.photometric(pixels, views.operations, views.strengths)
    return pixels
